package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/hub/sizing"
	"github.com/lastcall-k8s/lastcall/hub/store"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// office is a hub that nobody runs, with a store that a test fills.
type office struct {
	*Hub
	t   testing.TB
	reg *prometheus.Registry
	now time.Time
	id  int64
}

func newOffice(t testing.TB) *office {
	rows, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "hub.db"), store.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { rows.Close(context.Background()) })
	o := &office{t: t, reg: prometheus.NewRegistry(), now: epoch}
	o.Hub = New(t.Context(), Config{Now: func() time.Time { return o.now }, Store: rows, Gap: time.Minute, Metrics: o.reg, Log: slog.New(slog.DiscardHandler)})
	return o
}

// pod is one that left behind three nodes, the last after so many seconds, each other much sooner. Its server sleeps 5 s.
func left(workload string, t0 time.Time, seconds float64) report.Departure {
	five, grace, code, finished := int64(5), int64(30), int32(0), 8.0
	d := report.Departure{Namespace: "prod", Pod: "x", Workload: workload, Reason: ledger.Delete, T0: t0, T0Source: ledger.FromPod, Complete: true, Expected: 3, Answered: 3,
		Kinds:    []report.Kind{{Kind: kubeProxy, Places: 3, Outcomes: map[ledger.Outcome]int{ledger.Landed: 3}}},
		LastCall: &report.Span{Lo: .99 * seconds, Hi: seconds}, Grace: &grace, Told: &report.Span{Lo: 5, Hi: 6}, Late: report.No,
		Containers: []report.Container{{Name: "server", Serves: true, PreStop: ledger.PreStop{Kind: ledger.PreStopSleep, Seconds: &five}, ExitCode: &code, Finished: &finished}}}
	for _, node := range []string{"c", "a", "b"} {
		d.Slowest = append(d.Slowest, report.Landing{Node: node, Kind: kubeProxy, Backend: "nftables", Family: ledger.IPv4, Landed: &report.Span{Lo: .99 * seconds, Hi: seconds}})
		seconds /= 4
	}
	return d
}

// episode stores one of a workload, an hour after the one before, of one pod for each value.
func (o *office) episode(workload string, values ...float64) report.Episode {
	var ds []report.Departure
	for _, s := range values {
		ds = append(ds, left(workload, o.now, s))
	}
	return o.store(workload, ds...)
}

func (o *office) store(workload string, ds ...report.Departure) report.Episode {
	o.t.Helper()
	o.id++
	e := report.Episode{ID: o.id, Namespace: "prod", Workload: workload, Begun: o.now, Ended: o.now, Left: len(ds), Most: len(ds)}
	for i := range ds {
		ds[i].UID, ds[i].Episode, ds[i].T0 = fmt.Sprintf("%d-%d", o.id, i), o.id, o.now
		if c := ds[i].LastCall; c != nil {
			e.Ended = o.now.Add(time.Duration(c.Hi * float64(time.Second)))
		}
	}
	if err := o.cfg.Store.Commit(o.t.Context(), store.Batch{Departures: ds, Episodes: []report.Episode{e}}); err != nil {
		o.t.Fatal(err)
	}
	o.now = o.now.Add(time.Hour)
	return e
}

func (o *office) advised() {
	o.t.Helper()
	o.now = o.now.Add(time.Second)
	if err := o.adviseFor(o.t.Context(), time.Hour); err != nil {
		o.t.Fatal(err)
	}
}

func (o *office) get(path string, query url.Values, into any) int {
	o.t.Helper()
	w := httptest.NewRecorder()
	o.V1().ServeHTTP(w, httptest.NewRequestWithContext(o.t.Context(), "GET", path+"?"+query.Encode(), nil))
	if into != nil {
		if err := json.Unmarshal(w.Body.Bytes(), into); err != nil {
			o.t.Fatalf("%s: %v", w.Body, err)
		}
	}
	return w.Code
}

// TestAdvices: what the hub recommends for all workloads, by own episodes and by those of others, from rows alone.
func TestAdvices(t *testing.T) {
	o := newOffice(t)
	for i := range 41 {
		o.episode("deployment/shop", 11.7*float64(i+1)/41)
	}
	for range 3 {
		o.episode("statefulset/db", 2)
	}
	o.episode("pod/alone", 2)
	o.episode("service/"+report.CanaryPrefix+"x7k2p", 9, 9, 9) // neither sized nor pooled
	o.advised()
	o.advised() // the pool is there now, and has grown from nothing
	var all sizing.Advices
	if code := o.get("/v1/recommendations", nil, &all); code != 200 || all.Of != 2 || all.Read != 2 || len(all.Items) != 2 {
		t.Fatalf("%d %+v", code, all)
	}
	shop, db := all.Items[0], all.Items[1]
	if shop.Workload != "deployment/shop" || shop.Number() != "12 s" || shop.Basis != sizing.BasisOwn || shop.Class.N != 41 || shop.Verdicts[0].Code != sizing.TooShort {
		t.Errorf("%+v", shop)
	}
	if *shop.Present.PreStop != 5 || shop.Containers[0].Name != "server" || shop.AsOf.IsZero() || shop.Regime.Dataplane != "nftables" || shop.Regime.Nodes != 3 || shop.Regime.Version != "" {
		t.Errorf("configuration %+v of %v, regime %+v", shop.Containers, shop.AsOf, shop.Regime)
	}
	if d := shop.Driver; d == nil || d.Node != "c" || d.Seconds > 3 {
		t.Errorf("driver %+v: who was last is not read off the rows", d)
	}
	if db.Basis != sizing.BasisPool || db.Class.Own != 3 || db.Class.N != maxPooled+3 {
		t.Errorf("%+v", db)
	}
	if code := o.get("/v1/recommendations", url.Values{"namespace": {"none"}}, &all); code != 200 || len(all.Items) != 0 {
		t.Errorf("%d %+v", code, all)
	}
	// The series say the same, and no pod has one.
	if err := testutil.GatherAndCompare(o.reg, strings.NewReader(`
# HELP lastcall_hub_workloads_dropped Workloads that are not sized because there are too many: those that no pod has left for longest.
# TYPE lastcall_hub_workloads_dropped gauge
lastcall_hub_workloads_dropped 0
# HELP lastcall_workload_grace_period_seconds terminationGracePeriodSeconds, as of when pods of it last left.
# TYPE lastcall_workload_grace_period_seconds gauge
lastcall_workload_grace_period_seconds{namespace="prod",workload="db",workload_type="statefulset"} 30
lastcall_workload_grace_period_seconds{namespace="prod",workload="shop",workload_type="deployment"} 30
# HELP lastcall_workload_prestop_recommended_seconds How long preStop should sleep; absent while there is no number.
# TYPE lastcall_workload_prestop_recommended_seconds gauge
lastcall_workload_prestop_recommended_seconds{container="server",namespace="prod",workload="db",workload_type="statefulset"} 12
lastcall_workload_prestop_recommended_seconds{container="server",namespace="prod",workload="shop",workload_type="deployment"} 12
# HELP lastcall_workload_prestop_seconds How long the container that serves sleeps in preStop, as of when pods of it last left; absent if nobody can tell.
# TYPE lastcall_workload_prestop_seconds gauge
lastcall_workload_prestop_seconds{container="server",namespace="prod",workload="db",workload_type="statefulset"} 5
lastcall_workload_prestop_seconds{container="server",namespace="prod",workload="shop",workload_type="deployment"} 5
# HELP lastcall_workload_recommendation_info 1; basis says what the recommendation rests on: own, pool, none, and whether the number is a lower bound.
# TYPE lastcall_workload_recommendation_info gauge
lastcall_workload_recommendation_info{basis="own",lower_bound="false",namespace="prod",workload="shop",workload_type="deployment"} 1
lastcall_workload_recommendation_info{basis="pool",lower_bound="false",namespace="prod",workload="db",workload_type="statefulset"} 1
`), "lastcall_hub_workloads_dropped", "lastcall_workload_grace_period_seconds", "lastcall_workload_prestop_recommended_seconds", "lastcall_workload_prestop_seconds", "lastcall_workload_recommendation_info"); err != nil {
		t.Error(err)
	}
	if got, err := testutil.GatherAndLint(o.reg); err != nil || len(got) > 0 {
		t.Error(got, err)
	}
}

// TestGraceRecommended: there is a series where the grace period is too short for the sleep as recommended and the drain that was seen,
// and nowhere else.
func TestGraceRecommended(t *testing.T) {
	o := newOffice(t)
	for range 20 {
		for workload, grace := range map[string]int64{"deployment/fits": 30, "deployment/short": 14} {
			d := left(workload, o.now, 11.7)
			d.Grace = &grace
			o.store(workload, d)
		}
	}
	o.advised()
	if a := o.Advices().Items; len(a) != 2 || !a[1].Grace.DrainObserved || *a[1].Grace.Seconds < 15 || *a[1].Grace.Seconds > 30 {
		t.Fatalf("%+v", a)
	}
	if err := testutil.GatherAndCompare(o.reg, strings.NewReader(fmt.Sprintf(`
# HELP lastcall_workload_grace_period_recommended_seconds How long it must be for preStop as recommended and the longest drain that was seen; absent while it is as long as that.
# TYPE lastcall_workload_grace_period_recommended_seconds gauge
lastcall_workload_grace_period_recommended_seconds{namespace="prod",workload="short",workload_type="deployment"} %d
`, *o.Advices().Items[1].Grace.Seconds)), "lastcall_workload_grace_period_recommended_seconds"); err != nil {
		t.Error(err)
	}
}

// TestAdvice: the answer for one workload takes the asker's options, and the configuration as the asker sees it.
func TestAdvice(t *testing.T) {
	o := newOffice(t)
	for i := range 41 {
		o.episode("deployment/shop", 11.7*float64(i+1)/41)
	}
	q := func(more ...string) url.Values {
		v := url.Values{"namespace": {"prod"}, "workload": {"deployment/shop"}}
		for i := 0; i < len(more); i += 2 {
			v.Set(more[i], more[i+1])
		}
		return v
	}
	live := `{"containers":[{"name":"logger","prestop":{"kind":"none"}},{"name":"server","prestop":{"kind":"sleep","seconds":12}}],"grace_seconds":40,"replicas":3}`
	for _, c := range []struct {
		name, want string
		query      url.Values
	}{
		{"as it is", "12 s own 41 too-short 5 30 false", q()},
		{"one in ten may take longer", "12 s own 41 too-short 5 30 false", q("quantile", "0.9")},
		{"for what nobody measures", "72 s (12 + 60 assumed) own 41 too-short 5 30 false", q("unmeasured", "60s")},
		{"too few for that", "unknown none 41 too-short 5 30 false", q("quantile", "0.99")},
		{"of the last twenty hours", "12 s own 20 too-short 5 30 false", q("since", "20h")},
		{"of the last ten", "unknown none 10 too-short 5 30 false", q("since", "10h")},
		{"as somebody sees it now", "12 s own 41 fits 12 40 true", q("live", live)},
	} {
		var a sizing.Advice
		if code := o.get("/v1/recommend", c.query, &a); code != 200 {
			t.Errorf("%s: %d", c.name, code)
			continue
		}
		got := fmt.Sprintf("%s %s %d %s %d %d %v", a.Number(), a.Basis, a.Class.N, a.Verdicts[0].Code, *a.Present.PreStop, *a.Present.Grace, a.Live)
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	for _, c := range []struct {
		code  int
		query url.Values
	}{
		{404, url.Values{"namespace": {"prod"}, "workload": {"deployment/none"}}}, {404, q("since", "1ms")},
		{400, url.Values{"workload": {"deployment/shop"}}}, {400, url.Values{"namespace": {"prod"}}},
		{400, q("quantile", "1")}, {400, q("quantile", "0.4")}, {400, q("quantile", "NaN")}, {400, q("quantile", "x")},
		{400, q("unmeasured", "-1s")}, {400, q("unmeasured", "60")}, {400, q("unmeasured", "48h")}, {400, q("since", "yesterday")},
		{400, q("live", "{}")}, {400, q("live", "[")}, {400, q("live", `{"containers":[{"name":"x"}],"grace_seconds":-1}`)},
	} {
		var e map[string]string
		if code := o.get("/v1/recommend", c.query, &e); code != c.code || e["error"] == "" {
			t.Errorf("%v: %d %v, want %d", c.query, code, e, c.code)
		}
	}
}

// TestBacktest: each episode that ends is held, once, against what those before it recommended.
func TestBacktest(t *testing.T) {
	o := newOffice(t)
	for range 25 {
		o.episode("deployment/shop", 4)
	}
	o.advised()
	ended := func(seconds float64) {
		e := &episode{Episode: o.episode("deployment/shop", seconds)}
		o.advice.tell([]*episode{e})
		o.advised()
		o.advice.tell([]*episode{e}) // how its pods ended came later
		o.advised()
	}
	counters := func(want string) {
		t.Helper()
		if err := testutil.GatherAndCompare(o.reg, strings.NewReader(`
# HELP lastcall_recommendation_exceeded_total Episodes that took longer than had been recommended before they began. 1 in n + 1 does by right, of n episodes before.
# TYPE lastcall_recommendation_exceeded_total counter
lastcall_recommendation_exceeded_total{namespace="prod",workload="shop",workload_type="deployment"} `+want+"\n"), "lastcall_recommendation_exceeded_total"); err != nil {
			t.Error(err)
		}
	}
	ended(3)
	counters("0")
	ended(9)
	counters("1")
	ended(9)
	counters("1")
	ended(12)
	counters("2")
	// One that had a stuck place ends after the one that followed it.
	slow, next := o.episode("deployment/shop", 13), o.episode("deployment/shop", 3)
	for _, e := range []report.Episode{next, slow} {
		o.advice.tell([]*episode{{Episode: e}})
		o.advised()
	}
	counters("3")
	b := o.Advices().Items[0].Backtest
	if b == nil || b.Tested != 6 || b.Exceeded != 3 || len(b.Worst) != 3 || b.Worst[1].Seconds != 12 || b.Worst[1].Recommended != 9 || b.Worst[2].Recommended != 4 {
		t.Errorf("%+v", b)
	}
}

// TestAdviceBounded: of too many workloads those that nothing has left for longest are dropped, and counted.
func TestAdviceBounded(t *testing.T) {
	o := newOffice(t)
	o.advice.most = 5
	var b store.Batch
	for i := range 8 {
		at := epoch.Add(time.Duration(i) * time.Second)
		b.Episodes = append(b.Episodes, report.Episode{ID: int64(i + 1), Namespace: "prod", Workload: fmt.Sprintf("deployment/%d", i), Begun: at, Ended: at})
	}
	if err := o.cfg.Store.Commit(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	o.advised()
	all := o.Advices()
	if all.Of != 5 || all.Read != 5 || all.Dropped != 3 || o.advice.of[workloadKey{"prod", "deployment/2"}] != nil || o.advice.of[workloadKey{"prod", "deployment/3"}] == nil {
		t.Errorf("%d of %d, %d dropped", all.Read, all.Of, all.Dropped)
	}
}

// TestAdviceCancelled: whoever is stopped midway forgets nothing.
func TestAdviceCancelled(t *testing.T) {
	o := newOffice(t)
	e := o.episode("deployment/shop", 4)
	o.advised()
	o.advice.tell([]*episode{{Episode: e}})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	k := workloadKey{"prod", "deployment/shop"}
	if err := o.adviseOne(ctx, k); !errors.Is(err, context.Canceled) {
		t.Errorf("err %v", err)
	}
	if !o.advice.again[k] || len(o.advice.closed[k]) != 1 {
		t.Errorf("again %v, closed %v", o.advice.again, o.advice.closed)
	}
	if err := o.advise(ctx); err != nil {
		t.Errorf("a cancelled advise: %v", err)
	}
}

// TestRegime: in a cluster of two modes, those among the latest places of a large row are chance; of a small one they are all.
func TestRegime(t *testing.T) {
	both := present{Regime: sizing.Regime{Dataplane: "iptables-nft+nftables", Nodes: 200}, known: true}
	for _, c := range []struct {
		name string
		p    present
		all  bool // the row lists all places
		want string
	}{
		{"a small cluster", both, true, "nftables"},
		{"a large one of two modes", both, false, "iptables-nft+nftables"},
		{"a large one that changed since", present{Regime: sizing.Regime{Dataplane: "iptables-nft"}, known: true}, false, "nftables"},
		{"a large one that nobody knows", present{}, false, "nftables"},
	} {
		d := left("deployment/shop", epoch, 4)
		if !c.all {
			d.Strip = &report.Strip{Width: 1, Counts: []int{200}}
		}
		s := sizing.Episode{Explanation: report.Explanation{Departures: []report.Departure{d}}}
		c.p.trim(&s)
		if s.Regime.Dataplane != c.want || s.Regime.Places != kubeProxy || s.Regime.Nodes != 3 || len(s.Departures[0].Slowest) != 3 || s.Departures[0].Strip != nil {
			t.Errorf("%s: %+v", c.name, s.Regime)
		}
	}
	// What kube-proxy says of itself is part of it: another version, or one that does not say, makes another regime.
	d := left("deployment/shop", epoch, 4)
	d.Local, d.Proxies = true, &report.Proxies{Versions: "v1.35.4, v1.36.3", MinSync: "1s"}
	s := sizing.Episode{Explanation: report.Explanation{Departures: []report.Departure{d}}}
	both.trim(&s)
	d.Proxies = &report.Proxies{Versions: "v1.36.3", MinSync: "10s, 1s"}
	s.Departures = append(s.Departures, d)
	both.trim(&s)
	if s.Regime.Version != "v1.35.4, v1.36.3" || s.Regime.MinSync != "10s, 1s" || s.Regime.Policies != "local" {
		t.Errorf("%+v", s.Regime)
	}
	now := both.now([]sizing.Episode{{Regime: sizing.Regime{Dataplane: "nftables", Places: kubeProxy, Nodes: 3}}, {}})
	if now == nil || now.Dataplane != "iptables-nft+nftables" || now.Nodes != 200 || now.Places != kubeProxy {
		t.Errorf("now %+v", now)
	}
	if now := (present{}).now([]sizing.Episode{{Regime: sizing.Regime{Dataplane: "nftables"}}}); now != nil {
		t.Errorf("nothing is known, but %+v", now)
	}
}

// TestPresent: agents that were not heard make the cluster's modes unknown, nodes without one do not.
func TestPresent(t *testing.T) {
	o := newOffice(t)
	for name, backend := range map[string]string{"a": "nftables", "b": "iptables-nft", "c": ""} {
		n := o.join.at(name)
		n.expected, n.backend = true, backend
		if backend != "" {
			n.agent.pod, n.families = "agent", []ledger.Family{ledger.IPv4}
		}
	}
	o.join.at("gone").backend = "iptables-legacy"
	if p := o.present(); !p.known || p.Dataplane != "iptables-nft+nftables" || p.Nodes != 3 || p.Version != "" || p.MinSync != "" {
		t.Errorf("%+v", p)
	}
	o.join.at("a").proxy = ledger.Proxy{Version: "v1.29.3+k3s1", MinSync: "1s"}
	if p := o.present(); p.Version != "unknown, v1.29.3+k3s1" || p.MinSync != "1s, unknown" {
		t.Errorf("of two kube-proxies one says what it is: %+v", p)
	}
	o.join.at("b").proxy = ledger.Proxy{Version: "v1.29.3+k3s1", MinSync: "10s"}
	if p := o.present(); p.Version != "v1.29.3+k3s1" || p.MinSync != "10s, 1s" {
		t.Errorf("%+v", p)
	}
	o.join.at("c").agent.pod = "agent"
	if p := o.present(); p.known {
		t.Errorf("%+v", p)
	}
}

// TestWitnessOf: what does not follow from the connections beyond doubt is not known.
func TestWitnessOf(t *testing.T) {
	at := func(s float64) *float64 { return &s }
	bounds := func(least, most int) *report.Bounds { return &report.Bounds{Least: least, Most: most} }
	for _, c := range []struct {
		name string
		d    report.Draining
		exit int32
		part []string // what was missed
		want string
	}{
		{"closed one by one", report.Draining{Closed: 5, CutAfterTold: bounds(0, 0), LastAccepted: at(3), Last: at(7.5)}, 0, nil, "cut 0, drain 4.5"},
		{"all cut when told", report.Draining{Cut: 5, CutAfterTold: bounds(4, 5), LastAccepted: at(5), Last: at(5.2)}, 0, nil, "cut 4, drain 0.2"},
		{"cut about when told", report.Draining{Cut: 2, CutAfterTold: bounds(0, 2), LastAccepted: at(5), Last: at(5.2)}, 0, nil, "drain 0.2"},
		{"cut with the stop, after seconds without", report.Draining{Closed: 9, Cut: 3, OpenAtTold: bounds(0, 3), CutAfterTold: bounds(0, 3), LastAccepted: at(5), Last: at(5.2)}, 0, nil, "cut 3, drain 0.2"},
		{"two cut with the stop", report.Draining{Closed: 9, Cut: 2, OpenAtTold: bounds(0, 2), CutAfterTold: bounds(0, 2), LastAccepted: at(5), Last: at(5.2)}, 0, nil, "drain 0.2"},
		{"cut with the stop, and before that", report.Draining{Closed: 9, Cut: 4, OpenAtTold: bounds(0, 3), CutAfterTold: bounds(0, 3), LastAccepted: at(5), Last: at(5.2)}, 0, nil, "drain 0.2"},
		{"cut with the stop, and nothing is known of before", report.Draining{Closed: 3, Cut: 3, OpenAtTold: bounds(0, 6), CutAfterTold: bounds(0, 3), LastAccepted: at(5), Last: at(5.2)}, 0, nil, "drain 0.2"},
		{"cut all the time", report.Draining{Cut: 9, CutAfterTold: bounds(4, 5), LastAccepted: at(5), Last: at(5.2)}, 0, nil, "drain 0.2"},
		{"an end not seen", report.Draining{Closed: 5, Unended: 1, CutAfterTold: bounds(0, 0), LastAccepted: at(3), Last: at(7.5)}, 0, nil, "cut 0"},
		{"some missed", report.Draining{Closed: 5, CutAfterTold: bounds(0, 0), LastAccepted: at(3), Last: at(7.5)}, 0, []string{"rate"}, ""},
		{"nobody knows when it was told", report.Draining{Cut: 5}, 0, nil, ""},
		{"killed with one open", report.Draining{Cut: 1, CutAfterTold: bounds(1, 1), LastAccepted: at(3), Last: at(30.1)}, 137, nil, "open 1"},
		{"killed, the end not seen", report.Draining{Unended: 3, LastAccepted: at(3), Last: at(4)}, 137, nil, "open 3"},
		{"killed with nothing open", report.Draining{Closed: 7, CutAfterTold: bounds(0, 0), LastAccepted: at(3), Last: at(6)}, 137, nil, "open 0"},
		{"killed, some missed", report.Draining{Closed: 7, LastAccepted: at(3), Last: at(6)}, 137, []string{"rate"}, ""},
	} {
		d := left("deployment/shop", epoch, 4)
		d.Containers[0].ExitCode = &c.exit
		d.Connections = &report.Connections{Own: true, Drain: &c.d, Incomplete: c.part}
		w, ok := witnessOf(d)
		var got []string
		if w.Open != nil {
			got = append(got, fmt.Sprint("open ", *w.Open))
		}
		if w.Cut != nil {
			got = append(got, fmt.Sprint("cut ", *w.Cut))
		}
		if w.Drain != nil {
			got = append(got, fmt.Sprintf("drain %.1f", *w.Drain))
		}
		if s := strings.Join(got, ", "); s != c.want || ok != (c.want != "") {
			t.Errorf("%s: %q, want %q", c.name, s, c.want)
		}
	}
	d := left("deployment/shop", epoch, 4)
	d.Connections = &report.Connections{Drain: &report.Draining{Closed: 5, CutAfterTold: bounds(0, 0)}}
	if w, ok := witnessOf(d); ok {
		t.Errorf("its own node did not tell, but %+v", w)
	}
}

// TestAdviceOfNow: the rollout that is going on is in the answer, as something that may still grow.
func TestAdviceOfNow(t *testing.T) {
	f := newFleet(t, "a")
	f.start()
	f.agents[0].leave("1", true)
	f.agents[0].leave("2", false)
	f.until("both are in the answer", func() (bool, string) {
		a, err := f.hub.Advice(t.Context(), Ask{Namespace: "shop", Workload: "deployment/web"})
		d := a.Departures
		return err == nil && d.Late+d.InTime+d.Unknown == 2 && a.Episodes.Unknown == 1, fmt.Sprintf("%v %+v", err, a.Recommendation)
	})
	a, err := f.hub.Advice(t.Context(), Ask{Namespace: "shop", Workload: "deployment/web"})
	if err != nil {
		t.Fatal(err)
	}
	if a.Seconds != nil || a.Basis != sizing.BasisNone || a.Regime.Dataplane != "nftables" || *a.Present.PreStop != 0 || *a.Present.Grace != 30 || a.Containers[0].Name != "web" {
		t.Errorf("%+v", a)
	}
}

// TestProxies: what agents say of kube-proxy in their hello is in the rows of then and in the regime of now, and in no more than so many
// words.
func TestProxies(t *testing.T) {
	f := newFleet(t, "a", "b")
	f.agents[0].hello.Proxy = ledger.Proxy{Version: "v1.36.3", MinSync: "1s"}
	f.agents[1].hello.Proxy = ledger.Proxy{Version: strings.Repeat("v", 1000), MinSync: strings.Repeat("1", 1000)}
	f.start()
	f.agents[0].leave("1", true)
	d := f.complete("1")
	if d.Proxies == nil || d.Proxies.Versions != "v1.36.3, "+strings.Repeat("v", 64) || d.Proxies.MinSync != strings.Repeat("1", 32)+", 1s" {
		t.Errorf("%+v", d.Proxies)
	}
	if p := f.hub.present(); p.Version != d.Proxies.Versions || p.MinSync != d.Proxies.MinSync {
		t.Errorf("%+v", p)
	}
	var s proxySet
	for i := range 100 {
		s.add(ledger.Proxy{Version: fmt.Sprint(i)})
	}
	if n := len(s.versions); n != maxProxies {
		t.Errorf("%d versions", n)
	}
}

// TestHistoryInMemory: a departure that was not stored yet is in the history of now, and in that of what is over it is not.
func TestHistoryInMemory(t *testing.T) {
	o := newOffice(t)
	w := newWorld(t, "a", "b")
	w.compare(2 * ms)
	o.join = w.j
	w.deleted("a", 0, 30, ledger.Container{Name: "web", Ports: []uint16{8080}, PreStop: ledger.PreStop{Kind: ledger.NoPreStop}})
	w.seen("a", 20*ms)
	w.landed("a", 20*ms, 98*ms, 100*ms)
	o.now = epoch.Add(2 * time.Second)
	k := workloadKey{"shop", "deployment/web"}
	o.join.rows["u"].episode = 7
	o.chain.open[k] = &episode{Episode: report.Episode{ID: 7, Namespace: k.namespace, Workload: k.workload, Open: true, Begun: epoch, Ended: epoch, Left: 1}}
	in, of, err := o.history(t.Context(), k, time.Time{}, true)
	if err != nil || len(in.Episodes) != 1 || len(in.Episodes[0].Departures) != 1 || len(in.Workload.Containers) != 1 || !of.at.Equal(epoch) {
		t.Errorf("%+v as of %+v: %v", in, of, err)
	}
	if in, _, err := o.history(t.Context(), k, time.Time{}, false); err != nil || len(in.Episodes) != 0 {
		t.Errorf("%+v: %v", in, err)
	}
}

// TestTemplate: after a change the verdict is about what the workload's pods do from now on, not about those that left to make
// room for them; and a pod that left after the workload was read is newer than that.
func TestTemplate(t *testing.T) {
	o := newOffice(t)
	for i := range 41 {
		o.episode("deployment/shop", 11.7*float64(i+1)/41)
	}
	read := func(e report.Episode, seconds int64) {
		t.Helper()
		grace, replicas := int64(45), 3
		e.Template = &report.Template{At: e.Ended, Grace: &grace, Replicas: &replicas,
			Containers: []report.Container{{Name: "server", PreStop: ledger.PreStop{Kind: ledger.PreStopSleep, Seconds: &seconds}}, {Name: "logger"}}}
		if err := o.cfg.Store.Commit(t.Context(), store.Batch{Episodes: []report.Episode{e}}); err != nil {
			t.Fatal(err)
		}
	}
	is := func(when, want string, at time.Time) {
		t.Helper()
		var a sizing.Advice
		if code := o.get("/v1/recommend", url.Values{"namespace": {"prod"}, "workload": {"deployment/shop"}}, &a); code != 200 {
			t.Fatalf("%s: %d", when, code)
		}
		o.advice.again[workloadKey{"prod", "deployment/shop"}] = true
		o.advised()
		table := o.Advices().Items[0]
		for _, a := range []sizing.Advice{a, table} {
			if got := fmt.Sprintf("%s %d %d %v", a.Verdicts[0].Code, *a.Present.PreStop, *a.Present.Grace, a.Template); got != want || !a.AsOf.Equal(at) {
				t.Errorf("%s: %s as of %v, want %s of %v", when, got, a.AsOf, want, at)
			}
		}
	}
	is("before", "too-short 5 30 false", o.now.Add(-time.Hour))
	rollout := o.episode("deployment/shop", 3)
	read(rollout, 12)
	is("rolled out with 12 s", "fits 12 45 true", rollout.Ended)
	o.episode("deployment/shop", 3) // a drain, of which nobody asks
	is("a pod left since", "too-short 5 30 false", o.now.Add(-time.Hour))
}

// TestWorkloadPages: the pages draw what is kept, without reading rows; a workload that is not sized yet comes next.
func TestWorkloadPages(t *testing.T) {
	o := newOffice(t)
	for i := range 41 {
		o.episode("deployment/shop", 11.7*float64(i+1)/41)
	}
	o.episode("pod/alone", 2)
	get := func(path string) (int, string) {
		w := httptest.NewRecorder()
		o.Pages().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", path, nil))
		return w.Code, strings.ReplaceAll(w.Body.String(), "\u00a0", " ")
	}
	says := func(path, want string) {
		t.Helper()
		if code, body := get(path); code != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: %d, does not say %q", path, code, want)
		}
	}
	if _, err := o.toAdvise(t.Context(), o.now); err != nil { // it knows of them, and has read none
		t.Fatal(err)
	}
	says("/workloads", "it has read 0 of 1 workloads")
	says("/workloads/prod/deployment/shop", "reads this workload next")
	if !o.advice.again[workloadKey{"prod", "deployment/shop"}] {
		t.Error("it is not next")
	}
	o.advised()
	says("/workloads", `href="./workloads/prod/deployment/shop"`)
	says("/workloads/prod/deployment/shop", "preStop must sleep 12 s; it sleeps 5 s in the last pod that left.")
	says("/workloads/prod/deployment/shop", "without c 3 s would do")
	says("/workloads/prod/deployment/shop", "n = 41")
	says("/workloads/prod/pod/alone", "Nothing owns this pod")
	if code, _ := get("/workloads/prod/deployment/none"); code != 404 {
		t.Errorf("no such workload: %d", code)
	}
	a := o.advice.of[workloadKey{"prod", "deployment/shop"}].account
	if a.Of != 41 || len(a.Points) != 41 || len(a.Places) != 1 || a.Places[0].Node != "c" || a.Places[0].Episodes != 41 || *a.Places[0].Without != 3 {
		t.Errorf("account %d of %d points, places %+v", len(a.Points), a.Of, a.Places)
	}
}
