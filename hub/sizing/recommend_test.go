package sizing

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/ledger"
)

func said(r Recommendation) string {
	return fmt.Sprintf("%s from %s n %d", r.Number(), r.Basis, r.Class.N)
}

func with(es []Episode, change func(i int, e *Episode)) []Episode {
	for i := range es {
		change(i, &es[i])
	}
	return es
}

// TestRecommend: which episodes make the number, and when there is none.
func TestRecommend(t *testing.T) {
	pool := func(n int, largest float64) (es []Episode) {
		for i, s := range ascending(n, largest) {
			e := episode(i, row(s))
			e.Episode.ID += 1000
			e.Episode.Workload = "deployment/other"
			es = append(es, e)
		}
		return es
	}
	minSync := func(from int, s string) func(int, *Episode) {
		return func(i int, e *Episode) {
			if i >= from {
				e.Regime.MinSync = s
			}
		}
	}
	most := func(of func(i int) int) func(int, *Episode) {
		return func(i int, e *Episode) { e.Episode.Most = of(i) }
	}
	open := func(last int) func(int, *Episode) {
		return func(i int, e *Episode) { e.Episode.Open = i == last }
	}
	missing := func(n int) func(int, *Episode) {
		return func(i int, e *Episode) {
			if i < n {
				d := &e.Departures[0]
				d.Expected, d.Answered, d.Missing = 1000, 999, []report.Missing{{Place: "node-9", Why: "no agent"}}
				e.Regime = RegimeOf(e.Explanation)
			} else {
				e.Departures[0].Expected, e.Departures[0].Answered = 1000, 1000
				e.Regime = RegimeOf(e.Explanation)
			}
		}
	}
	for name, c := range map[string]struct {
		in   Input
		pool []Episode
		o    Options
		want string
	}{
		"nothing":                       {in: shop(), want: "unknown from none n 0"},
		"18":                            {in: shop(ascending(18, 9)...), want: "unknown from none n 18"},
		"19":                            {in: shop(ascending(19, 9)...), want: "9 s from own n 19"},
		"whole seconds, rounded up":     {in: shop(ascending(19, 9.01)...), want: "10 s from own n 19"},
		"no more than was seen":         {in: shop(ascending(19, 9.0000000001)...), want: "9 s from own n 19"},
		"gone before T0":                {in: shop(times(19, 0)...), want: "0 s from own n 19"},
		"no less than was seen":         {in: shop(ascending(100, 20)...), want: "20 s from own n 100"},
		"the bound alone":               {in: shop(ascending(100, 20)...), o: Options{BoundOnly: true}, want: "20 s from own n 100"},
		"the bound alone, lower":        {in: shop(ascending(100, 100)...), o: Options{BoundOnly: true}, want: "96 s from own n 100"},
		"another quantile":              {in: shop(ascending(9, 9)...), o: Options{Quantile: 0.9}, want: "9 s from own n 9"},
		"a quantile that is none":       {in: shop(ascending(19, 9)...), o: Options{Quantile: 95}, want: "9 s from own n 19"},
		"99 %":                          {in: shop(ascending(98, 9)...), o: Options{Quantile: 0.99}, want: "unknown from none n 98"},
		"pool":                          {in: shop(1, 2), pool: pool(30, 12), want: "12 s from pool n 30"},
		"pool, and more was seen":       {in: shop(1, 20), pool: pool(30, 12), want: "20 s from pool n 30"},
		"own before pool":               {in: shop(ascending(19, 9)...), pool: pool(30, 12), want: "9 s from own n 19"},
		"a pool that is too small":      {in: shop(1, 2), pool: pool(18, 12), want: "unknown from none n 2"},
		"a pool of another regime":      {in: shop(1, 2), pool: with(pool(30, 12), minSync(0, "10s")), want: "unknown from none n 2"},
		"a pool of larger bursts":       {in: shop(1, 2), pool: with(pool(30, 12), most(func(int) int { return 5 })), want: "12 s from pool n 30"},
		"a pool of smaller bursts":      {in: Input{Episodes: with(shop(1, 2).Episodes, most(func(int) int { return 5 }))}, pool: pool(30, 12), want: "unknown from none n 2"},
		"without one of its own":        {in: shop(), pool: pool(30, 12), want: "unknown from none n 0"},
		"the regime changed":            {in: Input{Episodes: with(shop(ascending(60, 9)...).Episodes, minSync(42, "10s"))}, want: "unknown from none n 18"},
		"the regime changed long ago":   {in: Input{Episodes: with(shop(ascending(60, 9)...).Episodes, minSync(41, "10s"))}, want: "9 s from own n 19"},
		"the regime has just changed":   {in: Input{Now: &Regime{Dataplane: "iptables-nft", Places: "kube-proxy", Nodes: 3}, Episodes: shop(ascending(60, 9)...).Episodes}, want: "unknown from none n 0"},
		"twice the nodes":               {in: Input{Now: &Regime{Dataplane: "nftables", Places: "kube-proxy", Nodes: 6}, Episodes: shop(ascending(60, 9)...).Episodes}, want: "9 s from own n 60"},
		"more nodes than twice":         {in: Input{Now: &Regime{Dataplane: "nftables", Places: "kube-proxy", Nodes: 7}, Episodes: shop(ascending(60, 9)...).Episodes}, want: "unknown from none n 0"},
		"trials":                        {in: Input{Trials: true, Episodes: shop(ascending(19, 9)...).Episodes}, want: "9 s from measure n 19"},
		"two classes, the larger bound": {in: Input{Episodes: with(shop(ascending(40, 40)...).Episodes, most(func(i int) int { return 1 + i/20*5 }))}, want: "40 s from own n 20"},
		"a smaller class is too few":    {in: Input{Episodes: with(shop(ascending(22, 22)...).Episodes, most(func(i int) int { return 1 + min(i/3, 1) }))}, want: "22 s from own n 19"},
		"a larger class is too few":     {in: Input{Episodes: with(shop(ascending(22, 22)...).Episodes, most(func(i int) int { return 1 + i/19*4 }))}, want: ">= 22 s from own n 19"},
		"no class has enough":           {in: Input{Episodes: with(shop(ascending(40, 40)...).Episodes, most(func(i int) int { return []int{1, 5, 50}[i%3] }))}, want: "unknown from none n 14"},
		"the newest says nothing":       {in: Input{Episodes: append(shop(ascending(19, 9)...).Episodes, episode(30, row(4, func(d *report.Departure) { d.Kept, d.Slowest = true, nil })))}, want: "9 s from own n 19"},
		"one may still grow":            {in: Input{Episodes: with(shop(ascending(19, 9)...).Episodes, open(18))}, want: ">= 9 s from own n 19"},
		"one of many may still grow":    {in: Input{Episodes: with(shop(ascending(39, 9)...).Episodes, open(38))}, want: "9 s from own n 39"},
		"never measured":                {in: Input{NotMeasured: []report.Missing{{Place: "contour", Why: "not measured"}}, Episodes: shop(ascending(19, 12)...).Episodes}, want: ">= 12 s from own n 19"},
		"never measured, 60 s assumed":  {in: Input{NotMeasured: []report.Missing{{Place: "contour", Why: "not measured"}}, Episodes: shop(ascending(19, 12)...).Episodes}, o: Options{Unmeasured: 60}, want: "72 s (12 + 60 assumed) from own n 19"},
		"missing in few":                {in: Input{Episodes: with(shop(ascending(41, 12)...).Episodes, missing(1))}, want: "12 s from own n 41"},
		"missing in too many":           {in: Input{Episodes: with(shop(ascending(41, 12)...).Episodes, missing(3))}, want: ">= 12 s from own n 41"},
		"missing, 60 s assumed":         {in: Input{Episodes: with(shop(ascending(41, 12)...).Episodes, missing(3))}, o: Options{Unmeasured: 60}, want: "72 s (12 + 60 assumed) from own n 41"},
	} {
		if got := said(Recommend(c.in, PoolOf(c.pool, c.o), c.o)); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// TestPoolChains: episodes of several workloads that overlap, or follow within the gap, are one.
func TestPoolChains(t *testing.T) {
	at := func(id int64, from, to time.Duration, s float64, most int) Episode {
		e := episode(0, row(s))
		e.Episode.ID, e.Episode.Begun, e.Episode.Ended, e.Episode.Most = id, epoch.Add(from), epoch.Add(to), most
		return e
	}
	es := []Episode{
		at(5, 500*time.Second, 510*time.Second, 1, 1),
		at(1, 0, 100*time.Second, 4, 6), at(2, 30*time.Second, 50*time.Second, 9, 5),
		at(3, 159*time.Second, 170*time.Second, 2, 3), at(4, 230*time.Second, 235*time.Second, 3, 1),
	}
	p := PoolOf(es, Options{})
	var got []string
	for _, m := range p.of(es[0].Regime, time.Time{}, Options{}.filled()) {
		got = append(got, fmt.Sprintf("%g of %d, %d at once", m.Seconds, m.entered, m.most))
	}
	if want := []string{"9 of 3, 11 at once", "3 of 1, 1 at once", "1 of 1, 1 at once"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if got := p.of(es[0].Regime, epoch.Add(51*time.Second), Options{}.filled()); len(got) != 1 || got[0].Seconds != 9 || got[0].most != 5 {
		t.Errorf("what had ended by then: %+v", got)
	}
	if want := "9"; fmt.Sprint(p.of(es[0].Regime, time.Time{}, Options{}.filled())[0].without(Place{Kind: "kube-proxy", Node: "node-1"}).Seconds) != want {
		t.Error("a place that was not last changes nothing")
	}
	if got := p.of(es[0].Regime, time.Time{}, Options{}.filled())[0].without(Place{Kind: "kube-proxy", Node: "node-3"}).Seconds; got != 6.75 {
		t.Errorf("without node-3 %g", got)
	}
}

// TestStuck: what never lets go is outside of the number and counted beside it.
func TestStuck(t *testing.T) {
	in := shop(ascending(41, 9)...)
	for i := range 2 {
		d := &in.Episodes[i].Departures[0]
		d.Complete, d.Pending, d.Age = false, 1, 400
		d.Slowest = append([]report.Landing{{Node: "node-7", Kind: "kube-proxy", Pending: 1}}, d.Slowest...)
	}
	r := Recommend(in, Pool{}, Options{})
	if said(r) != "9 s from own n 41" || r.Episodes.Stuck != 2 || len(r.Stuck) != 1 || r.Stuck[0].Node != "node-7" || r.Stuck[0].Episodes != 2 {
		t.Errorf("%s, %+v, %+v", said(r), r.Episodes, r.Stuck)
	}
}

// TestDriver: a place is blamed if without it a much smaller number would do, and it was not one accident.
func TestDriver(t *testing.T) {
	slow := func(n int, s float64) Input {
		in := shop(times(30, 4)...)
		for i := range n {
			d := row(s)
			d.Slowest = []report.Landing{landing("node-7", s-1, s), landing("node-1", 3, 4), landing("node-2", 2, 3)}
			in.Episodes[3*i+1] = episode(3*i+1, d)
		}
		return in
	}
	for name, c := range map[string]struct {
		in    Input
		want  string
		owner Owner
	}{
		"nobody":            {shop(times(30, 4)...), "none", App},
		"three times":       {slow(3, 20), "node-7 4 s 3 of 30", Platform},
		"once":              {slow(1, 20), "node-7 4 s 1 of 30", App},
		"not much":          {slow(3, 7), "none", App},
		"much, but no time": {shop(times(30, 1.2)...), "none", App},
	} {
		r := Recommend(c.in, Pool{}, Options{})
		got := "none"
		if d := r.Driver; d != nil {
			got = fmt.Sprintf("%s %d s %d of %d", d.Node, d.Seconds, d.Episodes, d.Of)
		}
		if got != c.want || r.Verdicts[0].Code != TooShort || r.Verdicts[0].Owner != c.owner {
			t.Errorf("%s: %s, %+v; want %s, owner %s", name, got, r.Verdicts[0], c.want, c.owner)
		}
	}
}

// TestNever: whatever the rows say, there is no number from too little, no number below what was seen, and nothing is called
// fitting or too long that is not known to be.
func TestNever(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	codes := map[Code]int{}
	for range 1500 {
		in := anything(r)
		var p []Episode
		if r.IntN(3) == 0 {
			p = anything(r).Episodes
		}
		o := Options{Quantile: []float64{0, 0.5, 0.9}[r.IntN(3)]}
		rec := Recommend(in, PoolOf(p, o), o)
		check(t, rec)
		if _, err := json.Marshal(rec); err != nil {
			t.Fatal(err)
		}
		for _, v := range rec.Verdicts {
			codes[v.Code]++
			if v.Says() == "" || v.ToDo() == "" {
				t.Fatalf("nothing is said of %+v", v)
			}
		}
		// A place that is taken away never raises the number, and another long episode never lowers it.
		if rec.Seconds == nil {
			continue
		}
		more := in
		worst := row(rec.Class.Largest + 10)
		if rec.Largest != nil {
			worst = row(max(rec.Class.Largest, rec.Largest.Seconds) + 10)
		}
		e := episode(1000, worst)
		e.Regime, e.Episode.Most = rec.Regime, 1
		more.Episodes = append(slices.Clone(in.Episodes), e)
		now := rec.Regime
		more.Now = &now
		if again := Recommend(more, PoolOf(p, o), o); again.Seconds == nil || *again.Seconds < *rec.Seconds {
			t.Fatalf("%s became %s", said(rec), said(again))
		}
		own, pooled := samplesOf(in, rec, PoolOf(p, o), o)
		for _, node := range []string{"node-1", "node-2", "node-3", "node-7", "none"} {
			if n := rec.without(Place{Kind: "kube-proxy", Node: node}, own, pooled, o.filled()); n > *rec.Seconds {
				t.Fatalf("without %s it is %d, with it %s", node, n, said(rec))
			}
		}
	}
	for _, c := range []Code{TooShort, Fits, LongerThanNeeded, TooFew, Unreadable, NotAllMeasured, NothingLeft, TooLate, Kept, StuckPlace} {
		if codes[c] == 0 {
			t.Errorf("%s never occurred: %v", c, codes)
		}
	}
}

// samplesOf are the samples that a recommendation was made of.
func samplesOf(in Input, rec Recommendation, p Pool, o Options) (own, pooled []measured) {
	for _, e := range in.Episodes {
		if m := measure(e, o.filled()); m.entered > 0 && m.regime.differs(rec.Regime) == "" {
			own = append(own, m)
		}
	}
	return own, p.of(rec.Regime, time.Time{}, o.filled())
}

func check(t *testing.T, rec Recommendation) {
	t.Helper()
	answers := 0
	for _, v := range rec.Verdicts {
		switch v.Code {
		case TooShort, Fits, LongerThanNeeded, TooFew, Unreadable, NotAllMeasured, NothingLeft, TooLate, Kept:
			answers++
		}
		if v.Code == Fits || v.Code == LongerThanNeeded {
			if rec.AtLeast || rec.Seconds == nil || rec.Present.PreStop == nil || *rec.Present.PreStop < *rec.Seconds {
				t.Fatalf("%s: %+v, %s", v.Code, rec, v.Says())
			}
		}
	}
	if answers != 1 {
		t.Fatalf("%d answers in %+v", answers, rec.Verdicts)
	}
	if (rec.Seconds == nil) != (rec.Basis == BasisNone) {
		t.Fatalf("%s", said(rec))
	}
	if rec.Seconds == nil {
		return
	}
	if rec.Class.N < rec.Needed || !rec.Class.Enough {
		t.Fatalf("a number from %d of %d: %s", rec.Class.N, rec.Needed, said(rec))
	}
	if rec.Largest != nil && float64(*rec.Seconds) < rec.Largest.Seconds-1e-6 || float64(*rec.Seconds) < rec.Class.Seconds-1e-6 {
		t.Fatalf("%s: less than was seen, %+v", said(rec), rec.Largest)
	}
	if g := rec.Grace; g.Seconds != nil && rec.Present.Grace != nil && *g.Seconds < *rec.Present.Grace || g.Seconds != nil && *g.Seconds < *rec.Seconds {
		t.Fatalf("grace %+v for %s", g, said(rec))
	}
}

// anything is a workload with rows of all kinds.
func anything(r *rand.Rand) Input {
	in := Input{Workload: Workload{Namespace: "prod", Name: []string{"deployment/shop", "statefulset/db", "daemonset/log", "", "\x1b[2J"}[r.IntN(5)]}}
	if r.IntN(2) == 0 {
		in.Workload.Grace = ptr(int64(r.IntN(60)))
	}
	hook := anyHook(r)
	n := r.IntN(45)
	reasons := []ledger.Reason{ledger.Delete, ledger.Delete, ledger.Delete, ledger.Evict, ledger.Preempt}
	odd := r.IntN(4)
	if odd == 3 {
		reasons = []ledger.Reason{ledger.NodeShutdown, ledger.KubeletEvict, ledger.Force}
	}
	for i := range n {
		var rows []report.Departure
		for range 1 + r.IntN(3) {
			rows = append(rows, row(20*r.Float64()*r.Float64(), func(d *report.Departure) {
				d.Reason = reasons[r.IntN(len(reasons))]
				d.Late = []report.Late{report.Yes, report.No, report.Unknown}[r.IntN(3)]
				d.Containers[0].PreStop = hook
				d.Kept = odd == 2 && r.IntN(20) > 0
				if odd == 0 {
					return
				}
				switch r.IntN(25) {
				case 0:
					d.Complete, d.Pending, d.Age, d.Answered = false, 1, 600*r.Float64(), 2
					d.Slowest = append([]report.Landing{{Node: "node-7", Kind: "kube-proxy", Pending: 1}}, d.Slowest...)
				case 1:
					d.T0, d.T0Source = time.Time{}, ledger.T0Unknown
				case 2:
					d.Missing = []report.Missing{{Place: "node-9", Why: "no agent"}}
					d.Expected, d.Answered = 1000, 999
				case 3:
					d.Kinds[0].Outcomes = map[ledger.Outcome]int{ledger.Outcomes[r.IntN(len(ledger.Outcomes))]: 3}
				case 4:
					d.Slowest = d.Slowest[:r.IntN(2)]
				case 5:
					d.LastCall = nil
				case 6:
					d.Containers[0].Serves = false
				}
			}))
		}
		e := episode(i, rows...)
		if odd == 0 {
			e.Episode.Most = 1
		} else {
			e.Episode.Most = []int{1, 1, 1, 5, 30}[r.IntN(5)]
		}
		e.Regime.Nodes = 3
		in.Episodes = append(in.Episodes, e)
	}
	if r.IntN(6) == 0 {
		in.NotMeasured = []report.Missing{{Place: "contour", Why: "not measured"}}
	}
	return in
}

func anyHook(r *rand.Rand) ledger.PreStop {
	n := ptr(int64(r.IntN(60)))
	return []ledger.PreStop{{Kind: ledger.NoPreStop}, {Kind: ledger.PreStopSleep, Seconds: n}, {Kind: ledger.PreStopExec, Seconds: n, Rest: true},
		{Kind: ledger.PreStopExec}, {Kind: ledger.PreStopHTTP}, {Kind: ledger.PreStopOther}}[r.IntN(6)]
}

// TestWorth: what consumers' answers are worth stands beside the number, and makes it no lower bound: the lag is in the samples.
func TestWorth(t *testing.T) {
	in := shop(ascending(19, 12)...)
	for i := range in.Episodes {
		for j := range in.Episodes[i].Departures {
			d := &in.Episodes[i].Departures[j]
			d.Kinds = append(d.Kinds, report.Kind{Kind: "ingress-nginx", Places: 1, Fidelity: "config", LagBound: 1}, report.Kind{Kind: "traefik", Places: 1, Fidelity: "dataplane"})
		}
	}
	r := Recommend(in, Pool{}, Options{})
	want := []Worth{{"ingress-nginx", "config", 1}, {"traefik", "dataplane", 0}}
	if !slices.Equal(r.Consumers, want) || r.AtLeast {
		t.Errorf("%+v, at least %v", r.Consumers, r.AtLeast)
	}
	const line = "ingress-nginx: its replicas show what their dataplane will follow, within 1 s, which is in the number; traefik: its replicas show where the next connection goes"
	if !slices.Contains(r.Argument(), Line{"CONSUMERS", line}) {
		t.Errorf("%+v", r.Argument())
	}
	if r := Recommend(shop(ascending(19, 12)...), Pool{}, Options{}); r.Consumers != nil {
		t.Errorf("%+v of kube-proxy alone", r.Consumers)
	}
}

// TestNotWatched: which places were not watched as pods left is said, it alone makes no firm number a lower bound, and a consumer's replica is
// none of the nodes of which 99 % are to answer.
func TestNotWatched(t *testing.T) {
	in := shop(ascending(59, 12)...)
	for i := range 2 {
		d := &in.Episodes[i].Departures[0]
		d.Kinds = append(d.Kinds, report.Kind{Kind: "envoy", Places: 2, Fidelity: "dataplane", Outcomes: map[ledger.Outcome]int{ledger.Landed: 1, ledger.Gap: 1}})
	}
	r := Recommend(in, Pool{}, Options{})
	want := "envoy: a replica had not been seen to send to the pod before it left (2 departures)"
	if got := r.missingWords(); got != want {
		t.Errorf("missing %q, want %q", got, want)
	}
	if r.AtLeast || r.Seconds == nil || r.Episodes.Unknown != 2 {
		t.Errorf("at least %t, %d not known to the end", r.AtLeast, r.Episodes.Unknown)
	}
}
