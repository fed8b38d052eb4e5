package pages

import (
	"context"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/hub/sizing"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// fixture is a hub that holds what it was given.
type fixture struct {
	departures map[string]report.Departure
	episodes   []report.Explanation
	places     []report.Place
	advices    sizing.Advices
	workloads  map[string]Workload // by namespace and name, with \x1f between them
	status     report.Status
	err        error // of everything but Status
}

func (f *fixture) Departure(_ context.Context, uid string) (report.Departure, error) {
	d, ok := f.departures[uid]
	if !ok && f.err == nil {
		return d, fmt.Errorf("departure %s: %w", uid, fs.ErrNotExist)
	}
	return d, f.err
}

func (f *fixture) Episode(_ context.Context, id int64) (report.Explanation, error) {
	for _, x := range f.episodes {
		if x.Episode.ID == id {
			return x, f.err
		}
	}
	if f.err != nil {
		return report.Explanation{}, f.err
	}
	for _, w := range f.workloads {
		for _, e := range w.Episodes {
			if e.ID == id {
				return report.Explanation{Episode: e}, nil
			}
		}
		for _, p := range w.Account.Points {
			if p.Episode == id {
				return report.Explanation{Episode: report.Episode{ID: id, Begun: p.Begun}}, nil
			}
		}
	}
	return report.Explanation{}, fmt.Errorf("episode %d: %w", id, fs.ErrNotExist)
}

func (f *fixture) Episodes(_ context.Context, want Filter) ([]report.Episode, error) {
	var out []report.Episode
	for _, x := range f.episodes {
		e := x.Episode
		if (want.Namespace == "" || e.Namespace == want.Namespace) && (want.Workload == "" || e.Workload == want.Workload) &&
			(!want.Late || e.Late > 0) && (want.Before == 0 || e.ID < want.Before) && len(out) < want.Limit {
			out = append(out, e)
		}
	}
	return out, f.err
}

func (f *fixture) Advices(context.Context) (sizing.Advices, error) { return f.advices, f.err }

func (f *fixture) Workload(_ context.Context, namespace, workload string) (Workload, error) {
	w, ok := f.workloads[namespace+"\x1f"+workload]
	if !ok && f.err == nil {
		return w, fmt.Errorf("workload %s: %w", workload, fs.ErrNotExist)
	}
	return w, f.err
}

func (f *fixture) Places(context.Context) ([]report.Place, error) { return f.places, f.err }
func (f *fixture) Status(context.Context) (report.Status, error)  { return f.status, nil }

// hub is a hub that has all scenes and some episodes of them.
func hub() *fixture {
	f := &fixture{departures: scenes()}
	two, unclear, late := f.departures["two"], f.departures["unclear"], f.departures["two"]
	unclear.T0, two.T0 = t0, t0.Add(1155*time.Millisecond)
	late.UID, late.Pod, late.T0 = "three", "shop-d696c88f8-jdt82", t0.Add(556*time.Millisecond)
	f.departures["three"] = late
	f.episodes = []report.Explanation{
		explain(9, report.Rollout, bigRollout()...),
		explain(8, report.Drain, f.departures["stuck"], f.departures["intime"], f.departures["untold"], f.departures["kept"]),
		explain(7, report.Rollout, two, late, unclear),
		explain(6, report.ScaleDown, f.departures["intime"]),
		explain(5, report.UnknownTag, f.departures["shutdown"]),
	}
	for i := range 30 {
		e := explain(int64(4-i), report.Deleted, f.departures["forty"])
		e.Episode.Begun = t0.Add(-time.Duration(i*i) * time.Hour)
		f.episodes = append(f.episodes, e)
	}
	for _, x := range f.episodes {
		for _, d := range x.Departures {
			f.departures[d.UID] = d
		}
	}
	f.departures["two"] = scenes()["two"]
	f.places = []report.Place{
		{Node: "node-1", Kind: "kube-proxy", Backend: "nftables", Family: ledger.IPv4, State: report.PlaceOK, P50: to(0.41), P99: to(1.21), Samples: 41, Last: 12, LastBy: map[string]int{"program": 11, "watch": 1}, ClockError: to(0.0004)},
		{Node: "node-2", Kind: "kube-proxy", Backend: "iptables-nft", Family: ledger.IPv4, State: report.PlaceOK, P50: to(0.38), P99: to(1.02), Samples: 41, Last: 29, LastBy: map[string]int{"program": 29}, ClockError: to(0.0011)},
		{Node: "ip-10-3-7-21.eu-central-1.compute.internal", Kind: "kube-proxy", Backend: "iptables-nft", Family: ledger.IPv4, State: report.PlaceStuck, Why: "kube-proxy has not synced for 5 minutes: look at its log, and restart it", Pending: 2, Oldest: to(312.4), P50: to(0.44), P99: to(95.2), Samples: 40, Last: 3, LastBy: map[string]int{"program": 3}},
		{Node: "node-9", Kind: "kube-proxy", Backend: "ipvs", State: report.PlaceNotMeasured, Why: "kube-proxy runs in IPVS mode, which cannot be timed"},
		{Node: "node-10", Kind: "kube-proxy", State: report.PlaceNotMeasured, Why: "no agent: the DaemonSet does not tolerate gpu=true:NoSchedule"},
	}
	f.workloads, f.advices = workloadScenes()
	f.status = report.Status{Version: "v0.2.0", StoreBytes: 1 << 20, Departures: 1234, Oldest: t0.Add(-20 * 24 * time.Hour), Lag: 0.3, Agents: []report.Agent{
		{Node: "node-1", State: report.AgentFollowing, Measured: true, NodeReady: true, Backend: "nftables"},
		{Node: "node-2", State: report.AgentFollowing, Measured: true, NodeReady: true, Backend: "iptables-nft"},
		{Node: "node-9", State: report.AgentFollowing, Measured: false, NodeReady: true, Backend: "ipvs", NotReady: "found kube-proxy in IPVS mode, which is not measured"},
		{Node: "node-10", State: report.AgentMissing, NodeReady: true, Taints: []string{"gpu=true:NoSchedule"}},
	}}
	return f
}

// bigRollout is 24 pods in 70 seconds.
func bigRollout() []report.Departure {
	r := rand.New(rand.NewPCG(5, 6))
	var out []report.Departure
	for i := range 24 {
		d := pod(fmt.Sprintf("big-%d", i), fmt.Sprintf("checkout-6f7d9c5b4-%05x", r.Uint32()&0xfffff))
		d.Workload, d.T0 = "deployment/checkout", t0.Add(time.Duration(i)*2900*time.Millisecond)
		d.Told, d.ToldWhy = &report.Span{Lo: 5, Hi: 6}, "container shop sleeps 5 s"
		places := cluster(6)
		if i%7 == 3 {
			places = append(places, let("ip-10-3-7-21", "iptables-nft", 0.06, 6+4*r.Float64(), 0.05))
		}
		out = append(out, closeRow(d, places...))
	}
	return out
}

// explain makes an episode of departures.
func explain(id int64, tag report.Tag, departures ...report.Departure) report.Explanation {
	slices.SortStableFunc(departures, func(a, b report.Departure) int { return int(math.Copysign(1, worst(b)-worst(a))) })
	first := departures[0]
	e := report.Episode{ID: id, Namespace: first.Namespace, Workload: first.Workload, Tag: tag, Begun: t0, Ended: t0, Left: len(departures), Worst: first.UID}
	for i := range departures {
		d := &departures[i]
		d.Episode = id
		switch {
		case d.Kept:
			e.Kept++
		case d.Late == report.Yes:
			e.Late++
		case d.Late == report.Unknown:
			e.Unknown++
		}
		if d.Pending > 0 {
			e.Pending++
			e.Open = true
		}
		if d.LastCall != nil {
			if e.LastCall == nil || d.LastCall.Hi > e.LastCall.Hi {
				e.LastCall = d.LastCall
			}
			if end := d.T0.Add(time.Duration(d.LastCall.Hi * float64(time.Second))); end.After(e.Ended) {
				e.Ended = end
			}
		}
	}
	e.Most = min(3, e.Left)
	return report.Explanation{Episode: e, Departures: departures}
}

func worst(d report.Departure) float64 {
	switch {
	case d.Pending > 0:
		return d.Age
	case d.LastCall != nil:
		return d.LastCall.Hi
	}
	return 0
}
