package pages

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/ledger"
)

var t0 = time.Date(2026, 11, 22, 9, 6, 56, 721148173, time.UTC)

// atNow is the clock of the tests.
func atNow() time.Time { return t0.Add(3 * time.Minute) }

func to[T any](v T) *T { return &v }

// pod is a departure of which everything but the places is known: no preStop, so told to stop at once.
func pod(uid, name string) report.Departure {
	return report.Departure{
		UID: uid, Namespace: "lastcall-demo", Pod: name, Node: "node-1", Workload: "deployment/shop",
		Revision: "d696c88f8", Reason: ledger.Delete, Episode: 7, T0: t0, T0Source: ledger.FromPod, T0Error: 0.0004,
		Complete: true, Grace: to(int64(30)), Late: report.Unknown, Seen: to(0.0118),
		Containers: []report.Container{{Name: "shop", Serves: true, PreStop: ledger.PreStop{Kind: ledger.NoPreStop},
			ExitCode: to(int32(0)), Finished: to(0.9)}},
		Told: &report.Span{Lo: 0, Hi: 1}, ToldWhy: "container shop has no preStop",
	}
}

// let is a place that let go at hi, learnt of it at seen, with so much slop.
func let(node, backend string, seen, hi, slop float64) report.Landing {
	return report.Landing{
		Node: node, Kind: "kube-proxy", Backend: backend, Family: ledger.IPv4, Seen: &seen,
		Landed:   &report.Span{Lo: hi - slop, Hi: hi},
		Outcomes: map[ledger.Outcome]int{ledger.Landed: 1}, ClockError: 0.0004,
		Stages: &report.Stages{API: min(seen, 0.0118), Watch: max(0, seen-0.0118), Program: hi - seen},
	}
}

// closeRow fills in what follows from the places: latest first, the last call, who was last, late.
func closeRow(d report.Departure, places ...report.Landing) report.Departure {
	slices.SortStableFunc(places, func(a, b report.Landing) int {
		return int(math.Copysign(1, key(b)-key(a)))
	})
	d.Slowest = places
	kind := report.Kind{Kind: "kube-proxy", Places: len(places), Outcomes: map[ledger.Outcome]int{}}
	for _, l := range places {
		for o, n := range l.Outcomes {
			kind.Outcomes[o] += n
		}
		kind.Pending += l.Pending
		if l.Landed != nil {
			if d.LastCall == nil {
				d.LastCall = &report.Span{}
			}
			d.LastCall.Lo, d.LastCall.Hi = max(d.LastCall.Lo, l.Landed.Lo), max(d.LastCall.Hi, l.Landed.Hi)
		}
	}
	d.Kinds, d.Pending = []report.Kind{kind}, kind.Pending
	d.Expected, d.Answered = max(d.Expected, len(places)), max(d.Answered, len(places))
	if d.Pending > 0 || d.LastCall == nil {
		return d
	}
	beyond := places[0].Landed.Lo
	for _, l := range places[1:] {
		if l.Landed != nil && l.Landed.Hi >= beyond {
			d.OneOf = max(d.OneOf, 1) + 1
		}
	}
	if d.OneOf == 0 {
		d.Straggler = &places[0]
	}
	if d.Told != nil {
		switch {
		case d.LastCall.Lo > d.Told.Hi:
			d.Late = report.Yes
		case d.LastCall.Hi < d.Told.Lo:
			d.Late = report.No
		}
		d.Exposure = &report.Span{Lo: max(0, d.LastCall.Lo-d.Told.Hi), Hi: max(0, d.LastCall.Hi-d.Told.Lo)}
	}
	return d
}

func key(l report.Landing) float64 {
	switch {
	case l.Pending > 0:
		return math.MaxFloat64
	case l.Landed != nil:
		return l.Landed.Hi
	}
	return -1
}

// cluster is n nodes that let go between 0.3 and 1.2 s.
func cluster(n int) []report.Landing {
	r := rand.New(rand.NewPCG(1, 2))
	var places []report.Landing
	for i := range n {
		seen := 0.012 + 0.06*r.Float64()
		backend := "nftables"
		if i%3 == 0 {
			backend = "iptables-nft"
		}
		places = append(places, let(fmt.Sprintf("ip-10-3-%d-%d.eu-central-1.compute.internal", i/8, 20+i*7%200), backend,
			seen, seen+0.25+0.9*r.Float64(), 0.001+0.04*r.Float64()*r.Float64()))
	}
	return places
}

// scenes are the departures that the pages are looked at with, by UID.
func scenes() map[string]report.Departure { return maps.Clone(allScenes()) }

var allScenes = sync.OnceValue(func() map[string]report.Departure {
	s := map[string]report.Departure{}
	add := func(d report.Departure) { s[d.UID] = d }

	add(closeRow(pod("two", "shop-d696c88f8-7dgrq"), let("node-1", "nftables", 0.0464, 1.0212, 0.0011), let("node-2", "iptables-nft", 0.0468, 1.2081, 0.0097)))

	add(closeRow(pod("unclear", "shop-d696c88f8-cwp7k"), let("node-1", "nftables", 0.0265, 0.1295, 0.0098), let("node-2", "iptables-nft", 0.0118, 0.0628, 0.0165)))

	d := pod("forty", "shop-d696c88f8-jdt82")
	d.Expected, d.Answered = 41, 40
	d.Missing = []report.Missing{{Place: "ip-10-3-9-9.eu-central-1.compute.internal", Why: "no agent: the DaemonSet does not tolerate gpu=true:NoSchedule"}, {Place: "traefik", Why: "not measured"}}
	add(closeRow(d, append(cluster(39), let("ip-10-3-7-21.eu-central-1.compute.internal", "iptables-nft", 0.05, 4.8, 0.06))...))

	d = pod("far", "shop-d696c88f8-zz9xk")
	add(closeRow(d, append(cluster(39), let("ip-10-3-7-21.eu-central-1.compute.internal", "iptables-nft", 0.05, 95.2, 0.4))...))

	add(inTime())
	add(thousands())
	add(stuck())
	add(waiting())
	add(mixture())

	d = pod("untold", "shop-d696c88f8-q4m2n")
	d.Told, d.ToldWhy = nil, "container shop runs a command before it stops, and nobody has seen it end"
	d.Containers[0].PreStop = ledger.PreStop{Kind: ledger.PreStopExec}
	d.Containers[0].ExitCode, d.Containers[0].Finished = nil, nil
	add(closeRow(d, let("node-1", "nftables", 0.02, 0.41, 0.004), let("node-2", "nftables", 0.03, 0.412, 0.005), let("node-3", "nftables", 0.03, 0.2, 0.004)))

	d = pod("kept", "single-0")
	d.Kept = true
	d.Containers[0].Finished, d.Containers[0].ExitCode = to(30.4), to(int32(137))
	d = closeRow(d, let("node-1", "nftables", 30.6, 30.9, 0.002), let("node-2", "nftables", 30.61, 31.2, 0.003))
	d.Late, d.Exposure = report.Unknown, nil
	d.Kinds[0].Retained, d.Seen = 2, to(30.6)
	for i := range d.Slowest {
		l := &d.Slowest[i]
		l.Stages = &report.Stages{API: 30.6, Watch: *l.Seen - 30.6, Program: l.Landed.Hi - *l.Seen}
	}
	add(d)

	d = pod("quick", "edge-7c9d")
	d.Told, d.Grace, d.Containers[0].Finished, d.Seen = &report.Span{Lo: 0, Hi: 0.004}, nil, to(0.0225), to(0.003)
	add(closeRow(d, let("node-1", "nftables", 0.004, 0.0181, 0.0009), let("node-2", "nftables", 0.003, 0.0197, 0.0011)))

	d = pod("slow", "batch-0")
	d.Told, d.ToldWhy, d.Grace = &report.Span{Lo: 120, Hi: 121}, "container shop sleeps 120 s", to(int64(1800))
	d.Containers[0].PreStop = ledger.PreStop{Kind: ledger.PreStopSleep, Seconds: to(int64(120))}
	d.Containers[0].Finished = to(900.0)
	add(closeRow(d, let("node-1", "iptables-nft", 4, 1004, 12), let("node-2", "iptables-nft", 40, 1743, 60), let("node-3", "iptables-nft", 12, 420, 8)))

	d = pod("shutdown", "shop-d696c88f8-xx1xx")
	d.Reason, d.T0, d.T0Source, d.T0Error, d.Seen, d.Told, d.Containers = ledger.NodeShutdown, time.Time{}, ledger.T0Unknown, 0, nil, nil, nil
	d.ToldWhy = "nobody knows when it began"
	add(d)
	return s
})

// inTime sleeps 10 s, which is enough.
func inTime() report.Departure {
	d := pod("intime", "shop-d696c88f8-b7k2p")
	d.Told, d.ToldWhy = &report.Span{Lo: 10, Hi: 11}, "container shop sleeps 10 s"
	d.Containers[0].PreStop = ledger.PreStop{Kind: ledger.PreStopSleep, Seconds: to(int64(10))}
	d.Containers[0].Finished = to(12.2)
	d.Containers = append(d.Containers, report.Container{Name: "istio-proxy", Sidecar: true,
		PreStop: ledger.PreStop{Kind: ledger.PreStopExec, Seconds: to(int64(15)), Rest: true}, ExitCode: to(int32(143)), Finished: to(16.0)})
	return closeRow(d, cluster(12)...)
}

// thousands is a departure of a large cluster: a distribution, and the 32 slowest.
func thousands() report.Departure {
	r := rand.New(rand.NewPCG(3, 4))
	strip := report.Strip{Width: 0.02, Counts: make([]int, 160)}
	var places []report.Landing
	for i := range 4997 {
		seen := 0.015 + 0.15*r.Float64()
		hi := seen + 0.2 + 0.25*math.Abs(r.NormFloat64())
		if i%400 == 0 {
			hi += 1.5 * r.Float64()
		}
		l := let(fmt.Sprintf("ip-10-%d-%d-%d", i/2500, i/250%10, i%250), "nftables", seen, hi, 0.001+0.01*r.Float64())
		places = append(places, l)
		strip.Counts[min(int(hi/strip.Width), len(strip.Counts)-1)]++
	}
	d := pod("thousands", "shop-d696c88f8-5k5k5")
	d.Expected, d.Answered = 5000, 4997
	d.Missing = []report.Missing{{Place: "ip-10-1-9-17", Why: "agent does not answer"}, {Place: "ip-10-0-3-4", Why: "no agent"}, {Place: "ip-10-0-3-5", Why: "clock unusable"}}
	d = closeRow(d, places...)
	d.Within99 = to(d.Slowest[50].Landed.Hi)
	d.Slowest, d.Strip = d.Slowest[:32], &strip
	return d
}

// stuck has a node that does not let go.
func stuck() report.Departure {
	d := pod("stuck", "shop-d696c88f8-hh4hh")
	d.Age, d.Late = 312.4, report.Yes
	p := let("ip-10-3-7-21.eu-central-1.compute.internal", "iptables-nft", 0.05, 1, 0)
	p.Landed, p.Stages, p.Outcomes, p.Pending = nil, nil, nil, 2
	return closeRow(d, append(cluster(7), p)...)
}

// waiting has just begun: most nodes have not let go yet, one has not answered.
func waiting() report.Departure {
	d := pod("waiting", "shop-d696c88f8-ww2ww")
	d.Age, d.Complete, d.Expected, d.Answered = 0.82, false, 6, 5
	d.Containers[0].Finished, d.Containers[0].ExitCode = nil, nil
	places := []report.Landing{let("node-1", "nftables", 0.03, 0.41, 0.002), let("node-2", "nftables", 0.03, 0.52, 0.002)}
	for i := range 3 {
		p := let(fmt.Sprintf("node-%d", i+3), "iptables-nft", 0.03+0.02*float64(i), 1, 0)
		p.Landed, p.Stages, p.Outcomes, p.Pending = nil, nil, nil, 1
		places = append(places, p)
	}
	return closeRow(d, places...)
}

// mixture has every outcome, both families, stages that are not known and a clock that is not usable.
func mixture() report.Departure {
	var places []report.Landing
	for i, o := range ledger.Outcomes[1:] {
		l := let(fmt.Sprintf("node-%d", i+3), "nftables", 0.03, 1, 0)
		l.Landed, l.Stages, l.Outcomes = nil, nil, map[ledger.Outcome]int{o: 1}
		places = append(places, l)
	}
	several := let("node-9", "iptables-nft", 0.04, 1, 0)
	several.Landed, several.Stages = nil, nil
	several.Outcomes = map[ledger.Outcome]int{ledger.Absent: 3, ledger.Gap: 1, ledger.Restored: 2, ledger.Replaced: 1}
	wide := let("node-1", "nftables", 0.04, 0.9, 0.35)
	wide.Outcomes = map[ledger.Outcome]int{ledger.Landed: 2, ledger.Absent: 1}
	six := let("node-1", "nftables", 0.04, 0.74, 0.01)
	six.Family = ledger.IPv6
	rearmed := let("node-2", "iptables-nft", 0.04, 0.6, 0.6)
	rearmed.Seen, rearmed.Stages = nil, nil
	clock := let("node-10", "nftables", 0.07, 0.7, 0.25)
	clock.ClockError, clock.Unusable = 0.12, true
	d := pod("mixture", "shop-d696c88f8-mm3mm")
	d.Told, d.ToldWhy = &report.Span{Lo: 0.6, Hi: 1.4}, "its preStop hook was over when the container ended, at the latest"
	return closeRow(d, append(places, several, wide, six, rearmed, clock)...)
}

// uids are those of the scenes, sorted.
func uids() []string { return slices.Sorted(maps.Keys(scenes())) }
