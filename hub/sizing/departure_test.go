package sizing

import (
	"testing"
	"time"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/ledger"
)

func TestDepart(t *testing.T) {
	type change = func(*report.Departure)
	outcomes := func(o map[ledger.Outcome]int) change {
		return func(d *report.Departure) { d.Kinds[0].Outcomes = o }
	}
	reason := func(r ledger.Reason) change { return func(d *report.Departure) { d.Reason = r } }
	pending := func(age float64) change {
		return func(d *report.Departure) {
			d.Complete, d.Pending, d.Age, d.Answered = false, 1, age, 2
			d.Slowest = append([]report.Landing{{Node: "node-9", Kind: "kube-proxy", Pending: 1}}, d.Slowest...)
		}
	}
	for name, c := range map[string]struct {
		seconds float64
		change  change
		out     Out
		want    float64
		whole   bool
		stuck   bool
	}{
		"deleted":                {4, nil, "", 4, true, false},
		"evicted":                {4, reason(ledger.Evict), "", 4, true, false},
		"preempted":              {4, reason(ledger.Preempt), "", 4, true, false},
		"by force":               {4, reason(ledger.Force), OutReason, 0, false, false},
		"completed":              {4, reason(ledger.Completed), OutReason, 0, false, false},
		"node lost":              {4, reason(ledger.NodeLost), OutReason, 0, false, false},
		"unready":                {4, reason(ledger.Unready), OutReason, 0, false, false},
		"node shut down":         {4, reason(ledger.NodeShutdown), OutHopeless, 0, false, false},
		"evicted by its kubelet": {4, reason(ledger.KubeletEvict), OutHopeless, 0, false, false},
		"kept":                   {4, func(d *report.Departure) { d.Kept = true }, OutKept, 0, false, false},
		"no T0":                  {4, func(d *report.Departure) { d.T0, d.T0Source = time.Time{}, ledger.T0Unknown }, OutNoT0, 0, false, false},
		"never ready":            {0, func(d *report.Departure) { d.Kinds, d.LastCall, d.Slowest = []report.Kind{}, nil, nil }, OutNothing, 0, false, false},
		"never programmed":       {0, func(d *report.Departure) { outcomes(map[ledger.Outcome]int{ledger.Absent: 3})(d); d.LastCall = nil }, OutNothing, 0, false, false},
		"gone before T0":         {0, nil, "", 0, true, false},
		"one of three is missing": {4, func(d *report.Departure) {
			d.Answered = 2
			d.Missing = []report.Missing{{Place: "node-3", Why: "no agent"}}
		}, OutCoverage, 0, false, false},
		"a kind of places cannot be read": {4, func(d *report.Departure) {
			d.Missing = []report.Missing{{Place: "envoy", Kind: "envoy", Why: "2 of 2 replicas cannot be read"}}
		}, "", 4, false, false},
		"only the clock is missing": {4, func(d *report.Departure) { d.Missing = []report.Missing{{Place: "node-3", Why: "clock unusable"}} }, OutCoverage, 0, false, false},
		"nobody knows who should":   {4, func(d *report.Departure) { d.Expected, d.Answered = 0, 0 }, OutCoverage, 0, false, false},
		"not watched at one":        {4, outcomes(map[ledger.Outcome]int{ledger.Landed: 2, ledger.Gap: 1}), OutCoverage, 0, false, false},
		"not watched at 1 of 5000": {4, func(d *report.Departure) {
			d.Expected, d.Answered = 5000, 5000
			outcomes(map[ledger.Outcome]int{ledger.Landed: 4999, ledger.Gap: 1})(d)
		}, "", 4, false, false},
		"3 of 5000 missing":                     {4, func(d *report.Departure) { d.Expected, d.Answered, d.MissingMore = 5000, 4997, 3 }, "", 4, false, false},
		"50 of 5000 missing":                    {4, func(d *report.Departure) { d.Expected, d.Answered, d.MissingMore = 5000, 4950, 50 }, "", 4, false, false},
		"51 of 5000 missing":                    {4, func(d *report.Departure) { d.Expected, d.Answered, d.MissingMore = 5000, 4949, 51 }, OutCoverage, 0, false, false},
		"no clock could tell":                   {4, func(d *report.Departure) { d.LastCall = nil; d.Slowest = nil }, "", 0, false, false},
		"to a second":                           {3.2, func(d *report.Departure) { d.T0Source = ledger.FromDeletion }, "", 4, true, false},
		"pending for 20 s":                      {4, pending(20), "", 20, false, false},
		"pending for 2 s":                       {4, pending(2), "", 4, false, false},
		"pending for 301 s":                     {4, pending(301), "", 4, true, true},
		"nobody has answered":                   {0, func(d *report.Departure) { d.Complete, d.Answered, d.Kinds, d.LastCall = false, 0, nil, nil }, "", 0, false, false},
		"expired":                               {4, outcomes(map[ledger.Outcome]int{ledger.Landed: 2, ledger.Expired: 1}), "", 4, true, true},
		"landed after 400 s":                    {400, nil, "", 300, true, true},
		"landed after 700 s, others not listed": {700, func(d *report.Departure) { d.Slowest, d.Within99 = d.Slowest[:1], ptr(8.0) }, "", 8, false, true},
	} {
		var changes []func(*report.Departure)
		if c.change != nil {
			changes = append(changes, c.change)
		}
		s, out := depart(row(c.seconds, changes...), Options{}.filled())
		if out != c.out || s.Seconds != c.want || s.Whole != c.whole || s.isStuck != c.stuck {
			t.Errorf("%s: %+v, out %q; want %g, whole %v, stuck %v, out %q", name, s, out, c.want, c.whole, c.stuck, c.out)
		}
	}
}

// TestLast: the last place is named only if it was last beyond doubt; without it, the next one counts.
func TestLast(t *testing.T) {
	for name, c := range map[string]struct {
		places []report.Landing
		top    string
		next   float64
	}{
		"last beyond doubt":                 {[]report.Landing{landing("a", 9, 10), landing("b", 1, 2)}, "a", 2},
		"perhaps the other":                 {[]report.Landing{landing("a", 1.5, 10), landing("b", 1, 2)}, "", 10},
		"both families":                     {[]report.Landing{landing("a", 9, 10), landing("a", 8, 9), landing("b", 1, 2)}, "a", 2},
		"one family beyond doubt":           {[]report.Landing{landing("a", 1, 10), landing("a", 8, 9), landing("b", 1, 2)}, "a", 2},
		"nobody else is listed":             {[]report.Landing{landing("a", 9, 10), landing("a", 8, 9)}, "", 10},
		"others are pending or cannot tell": {[]report.Landing{{Node: "p", Kind: "kube-proxy", Pending: 1}, {Node: "u", Unusable: true, Landed: &report.Span{Hi: 11}}, landing("a", 9, 10), landing("b", 1, 2)}, "a", 2},
	} {
		top, next := last(report.Departure{Slowest: c.places}, Options{}.filled(), 10)
		if top.Node != c.top || next != c.next {
			t.Errorf("%s: %q, %g; want %q, %g", name, top.Node, next, c.top, c.next)
		}
	}
}

// TestConsumerInRegime: consumers are among the kinds of places, and what their replicas show is no mode of kube-proxy. Two replicas on
// one node are two places.
func TestConsumerInRegime(t *testing.T) {
	replica := func(name string, lo, hi float64) report.Landing {
		return report.Landing{Node: "node-1", Kind: "traefik", Replica: name, Backend: "dataplane", Family: ledger.IPv4, Landed: &report.Span{Lo: lo, Hi: hi}}
	}
	d := row(2, func(d *report.Departure) {
		d.Slowest = append([]report.Landing{replica("edge/x", 3.9, 4), replica("edge/y", 2.9, 3)}, d.Slowest...)
		d.Kinds = append(d.Kinds, report.Kind{Kind: "traefik", Places: 2, Outcomes: map[ledger.Outcome]int{ledger.Landed: 2}})
		d.LastCall = &report.Span{Lo: 3.9, Hi: 4}
	})
	if r := RegimeOf(report.Explanation{Departures: []report.Departure{d}}); r.Dataplane != "nftables" || r.Places != "kube-proxy+traefik" {
		t.Errorf("%+v", r)
	}
	s, out := depart(d, Options{}.filled())
	if want := (Place{"traefik", "node-1", "edge/x"}); out != "" || s.top != want || s.next != 3 || !s.Whole {
		t.Errorf("out %q, top %+v, next %g, whole %v", out, s.top, s.next, s.Whole)
	}
}
