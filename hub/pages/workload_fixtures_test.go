package pages

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/hub/sizing"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// sizedScene is a workload whose advice is that of hub/sizing, of made-up episodes.
type sizedScene struct {
	namespace, workload, container string
	prestop                        ledger.PreStop
	grace                          int64
	values                         []float64 // last calls of the episodes in seconds, the oldest first
	change                         func(*sizing.Episode, int)
	missing                        []report.Missing
	options                        sizing.Options
}

func sleeps(n int64) ledger.PreStop { return ledger.PreStop{Kind: ledger.PreStopSleep, Seconds: &n} }

// lognormal are n values about a median.
func lognormal(seed uint64, n int, median, sigma float64) (values []float64) {
	r := rand.New(rand.NewPCG(seed, 1))
	for range n {
		values = append(values, median*math.Exp(sigma*r.NormFloat64()))
	}
	return values
}

var sizedScenes = []sizedScene{
	{namespace: "lastcall-demo", workload: "deployment/shop", container: "server", prestop: sleeps(5), grace: 30, values: lognormal(3, 41, 3.6, .45)},
	{namespace: "lastcall-demo", workload: "deployment/checkout", container: "server", prestop: ledger.PreStop{Kind: ledger.NoPreStop}, grace: 30, values: driven()},
	{namespace: "prod", workload: "statefulset/db", container: "postgres", prestop: sleeps(15), grace: 60, values: lognormal(5, 44, 4, .4)},
	{namespace: "prod", workload: "daemonset/gateway", container: "envoy", prestop: sleeps(60), grace: 90, values: lognormal(7, 25, 1.2, .3)},
	{namespace: "test", workload: "deployment/api", container: "api", prestop: ledger.PreStop{Kind: ledger.NoPreStop}, grace: 30, values: lognormal(8, 7, 1.6, .6)},
	{namespace: "prod", workload: "deployment/web", container: "web", prestop: ledger.PreStop{Kind: ledger.PreStopHTTP}, grace: 30, values: lognormal(9, 30, 2, .5)},
	{namespace: "prod", workload: "deployment/edge", container: "server", prestop: sleeps(10), grace: 30, values: lognormal(11, 33, 3, .4),
		missing: []report.Missing{{Place: "contour", Kind: "contour", Why: "its replicas listen on localhost only"}}},
	{namespace: "prod", workload: "deployment/assumed", container: "server", prestop: sleeps(5), grace: 30, values: lognormal(12, 33, 3, .4), options: sizing.Options{Unmeasured: 60},
		missing: []report.Missing{{Place: "contour", Kind: "contour", Why: "its replicas listen on localhost only"}}},
	{namespace: "prod", workload: "deployment/deaf", container: "server", prestop: sleeps(5), grace: 10, values: lognormal(13, 22, 1.1, .3), change: deaf},
	{namespace: "prod", workload: "deployment/far", container: "server", prestop: sleeps(2), grace: 30, values: append(lognormal(14, 38, .8, .3), 95.2, .7, .9)},
	{namespace: "prod", workload: "deployment/mixture", container: "server", prestop: sleeps(3), grace: 30, values: lognormal(15, 60, 2, .5), change: mixed},
}

// driven are episodes in which one node was last by far, now and then.
func driven() []float64 {
	values := lognormal(4, 41, 1.4, .35)
	values[10], values[20], values[30], values[38] = 18, 17, 16, 14.5
	return values
}

// deaf does not act on SIGTERM.
func deaf(e *sizing.Episode, _ int) {
	d := &e.Departures[0]
	d.Containers[0].ExitCode, d.Containers[0].Finished = to(int32(137)), to(10.4)
	e.Witnessed = map[string]sizing.Witness{d.UID: {Open: to(0), Cut: to(0)}}
	d.Refused = to(0)
}

// mixed has another regime before, episodes that are not known to the end, and sizes of all kinds.
func mixed(e *sizing.Episode, i int) {
	switch {
	case i < 25:
		e.Regime.Dataplane = "iptables-nft"
	case i == 40:
		e.Departures[0].Kinds[0].Outcomes[ledger.Gap] = 1
	case i == 52, i == 57:
		e.Departures[0].Complete = false
	}
	if i%5 == 0 {
		e.Departures[0].Refused, e.Episode.Refused = to(i), to(i)
	}
}

// workloadScenes are the workloads that the pages are looked at with, and those of which there is nothing but episodes.
func workloadScenes() (map[string]Workload, sizing.Advices) {
	ws, all := map[string]Workload{}, sizing.Advices{}
	for i, s := range sizedScenes {
		w := s.sized(int64(1000 * (i + 1)))
		ws[s.namespace+"\x1f"+s.workload] = w
		all.Items = append(all.Items, *w.Advice)
	}
	all.Read, all.Of, all.Dropped = len(all.Items), len(all.Items)+1, 6000
	unread := ws["prod\x1fstatefulset/db"]
	unread.Advice, unread.Account = nil, sizing.Account{}
	unread.Episodes = slices.Clone(unread.Episodes[:6])
	unread.Episodes[0].Open = true
	ws["prod\x1fdeployment/unread"] = unread
	unread.Dropped = 6000
	ws["prod\x1fdeployment/dropped"] = unread
	unread.Sized, unread.Dropped = false, 0
	ws["prod\x1fpod/alone"] = unread
	return ws, all
}

func (s sizedScene) sized(first int64) Workload {
	r := rand.New(rand.NewPCG(uint64(first), 2))
	in := sizing.Input{Workload: sizing.Workload{Namespace: s.namespace, Name: s.workload, Grace: &s.grace}, NotMeasured: s.missing}
	in.Workload.Containers = []report.Container{{Name: s.container, Serves: true, PreStop: s.prestop}}
	w := Workload{Sized: true}
	at := atNow().Add(-time.Duration(len(s.values)) * 17 * time.Hour)
	for i, v := range s.values {
		at = at.Add(time.Duration(8+16*r.Float64()) * time.Hour)
		d := pod(fmt.Sprintf("%d-%d", first, i), "shop-1")
		d.Namespace, d.Workload, d.T0, d.Grace = s.namespace, s.workload, at, &s.grace
		d.Containers = []report.Container{{Name: s.container, Serves: true, PreStop: s.prestop, ExitCode: to(int32(0)), Finished: to(1.5 + float64(orInt(s.prestop.Seconds)))}}
		d.Told = &report.Span{Lo: float64(orInt(s.prestop.Seconds)), Hi: float64(orInt(s.prestop.Seconds)) + 1}
		last := "node-3"
		if v > 12 && s.workload == "deployment/checkout" {
			last = "ip-10-3-7-21"
		}
		others := v * (.6 + .38*r.Float64())
		if last != "node-3" {
			others = 2 * r.Float64()
		}
		names := []string{"node-1", "node-2", last}
		if last == "node-3" {
			r.Shuffle(3, func(i, j int) { names[i], names[j] = names[j], names[i] })
		}
		d = closeRow(d, let(names[0], "nftables", .02, v/4, .01), let(names[1], "nftables", .02, others, .01), let(names[2], "nftables", .02, v, .02))
		e := sizing.Episode{Explanation: explain(first+int64(i), []report.Tag{report.Rollout, report.Drain, report.Rollout, report.Deleted}[i%4], d)}
		e.Episode.Begun, e.Episode.Ended, e.Episode.Most = at, at.Add(time.Duration(v*float64(time.Second))), 1
		e.Regime = sizing.RegimeOf(e.Explanation)
		if s.change != nil {
			s.change(&e, i)
		}
		in.Episodes = append(in.Episodes, e)
		w.Episodes = append(w.Episodes, e.Episode)
	}
	in.Now = &in.Episodes[len(in.Episodes)-1].Regime
	slices.Reverse(w.Episodes)
	w.Episodes = w.Episodes[:min(len(w.Episodes), WorkloadEpisodes)]
	a := sizing.Advise(in, sizing.Pool{}, s.options)
	a.AsOf, a.Template = at, true
	a.Backtest = &sizing.Backtest{Tested: 12, Exceeded: 1}
	w.Advice, w.Account = &a, sizing.AccountOf(in, sizing.Pool{}, s.options, a.Recommendation, 100)
	return w
}

func orInt(n *int64) int64 {
	if n == nil {
		return 0
	}
	return *n
}
