package main

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/hub/sizing"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// advise: advise FILE SCENE... writes what sizing makes of scenes: of one its advice, of several a hub's answer for all workloads.
func advise(ts *testscript.TestScript, _ bool, args []string) {
	var all sizing.Advices
	for _, s := range args[1:] {
		in, ok := scenes[s]
		if !ok {
			ts.Fatalf("no scene %s", s)
		}
		a := sizing.Advise(in(), sizing.Pool{}, sizing.Options{})
		a.AsOf = sceneTime.Add(-time.Hour)
		a.Backtest = &sizing.Backtest{Tested: 12, Exceeded: 1}
		all.Items = append(all.Items, a)
	}
	all.Read, all.Of = len(all.Items), len(all.Items)
	var v any = all
	if len(all.Items) == 1 {
		v = all.Items[0]
	}
	text, err := json.Marshal(v)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), text, 0o600))
}

var sceneTime = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// scenes are workloads with their episodes.
var scenes = map[string]func() sizing.Input{
	"short": func() sizing.Input { return scene("prod", "deployment/shop", "server", sleeps(5), ascending(41, 11.7)) },
	"fits": func() sizing.Input {
		return scene("prod", "statefulset/db", "postgres", sleeps(15), ascending(41, 11.7))
	},
	"long": func() sizing.Input { return scene("prod", "daemonset/gateway", "envoy", sleeps(60), ascending(25, 3)) },
	"few": func() sizing.Input {
		return scene("test", "deployment/api", "api", ledger.PreStop{Kind: ledger.NoPreStop}, ascending(7, 4.2))
	},
	"http": func() sizing.Input {
		return scene("prod", "deployment/web", "web", ledger.PreStop{Kind: ledger.PreStopHTTP}, ascending(41, 11.7))
	},
	"driver": func() sizing.Input {
		values := ascending(41, 3)
		values[10], values[20], values[30] = 18, 17, 16
		return scene("prod", "deployment/checkout", "server", ledger.PreStop{Kind: ledger.NoPreStop}, values)
	},
	"missing": func() sizing.Input {
		in := scene("prod", "deployment/shop", "server", sleeps(5), ascending(41, 11.7))
		in.NotMeasured = []report.Missing{{Place: "contour", Why: "not measured"}}
		return in
	},
	"hostile": func() sizing.Input {
		in := scene("pr\x1b[31mod", "deployment/\u202eshop\n"+fmt.Sprint(longName), "ser\x1b]0;x\x07ver", sleeps(5), ascending(41, 11.7))
		in.NotMeasured = []report.Missing{{Place: "con\x1btour", Why: "not\rmeasured"}}
		return in
	},
}

const longName = "a-workload-with-a-very-long-name-that-somebody-made-up-to-see-what-becomes-of-tables"

func sleeps(n int64) ledger.PreStop { return ledger.PreStop{Kind: ledger.PreStopSleep, Seconds: &n} }

func ascending(n int, largest float64) (values []float64) {
	for i := range n {
		values = append(values, largest*float64(i+1)/float64(n))
	}
	return values
}

// scene is a workload of which one pod left each hour.
func scene(namespace, workload, server string, hook ledger.PreStop, values []float64) sizing.Input {
	in := sizing.Input{Workload: sizing.Workload{Namespace: namespace, Name: workload}}
	for i, s := range values {
		begun := sceneTime.Add(time.Duration(i-len(values)) * time.Hour)
		grace, code, finished, refused := int64(30), int32(0), 8.0, 0
		told, late := report.Span{Lo: 0, Hi: 1}, report.Unknown
		if n := hook.Seconds; n != nil {
			told, finished = report.Span{Lo: float64(*n), Hi: float64(*n) + 1}, float64(*n)+2
		}
		switch {
		case 0.99*s > told.Hi:
			late, refused = report.Yes, 2
		case s <= told.Lo:
			late = report.No
		}
		d := report.Departure{UID: fmt.Sprint("u", i), Namespace: namespace, Pod: "x", Workload: workload, Reason: ledger.Delete, T0: begun, T0Source: ledger.FromPod,
			Complete: true, Expected: 3, Answered: 3, Kinds: []report.Kind{{Kind: "kube-proxy", Places: 3, Outcomes: map[ledger.Outcome]int{ledger.Landed: 3}}},
			LastCall: &report.Span{Lo: 0.99 * s, Hi: s}, Grace: &grace, Told: &told, Late: late, Refused: &refused,
			Containers: []report.Container{{Name: server, Serves: true, PreStop: hook, ExitCode: &code, Finished: &finished}, {Name: "logger", PreStop: ledger.PreStop{Kind: ledger.NoPreStop}}}}
		for j, node := range []string{"node-3", "node-1", "node-2"} {
			hi := s
			if j > 0 {
				hi = s * 0.75
				if s > 15 { // what node-3 alone does
					hi = 2
				}
			}
			d.Slowest = append(d.Slowest, report.Landing{Node: node, Kind: "kube-proxy", Backend: "nftables", Family: ledger.IPv4, Landed: &report.Span{Lo: 0.99 * hi, Hi: hi}})
		}
		e := sizing.Episode{Explanation: report.Explanation{Episode: report.Episode{ID: int64(i + 1), Namespace: namespace, Workload: workload, Begun: begun,
			Ended: begun.Add(time.Duration(s * float64(time.Second))), Left: 1, Most: 1}, Departures: []report.Departure{d}}}
		e.Regime = sizing.RegimeOf(e.Explanation)
		in.Episodes = append(in.Episodes, e)
	}
	return in
}
