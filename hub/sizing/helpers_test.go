package sizing

import (
	"fmt"
	"time"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/ledger"
)

func ptr[T any](v T) *T { return &v }

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// row is a pod that three nodes let go of, the last after so many seconds, each other a quarter sooner than the one before. Its
// server has no preStop and ended 2 s after T0.
func row(seconds float64, change ...func(*report.Departure)) report.Departure {
	d := report.Departure{Namespace: "prod", Pod: "shop-1", Workload: "deployment/shop", Reason: ledger.Delete,
		T0: epoch, T0Source: ledger.FromPod, Complete: true, Expected: 3, Answered: 3,
		Proxies: &report.Proxies{Versions: "v1.36.3", MinSync: "1s"},
		Kinds:   []report.Kind{{Kind: "kube-proxy", Places: 3, Outcomes: map[ledger.Outcome]int{ledger.Landed: 3}}},
		Grace:   ptr(int64(30)), Told: &report.Span{Lo: 0, Hi: 1}, Late: report.Unknown,
		Containers: []report.Container{{Name: "server", Serves: true, PreStop: ledger.PreStop{Kind: ledger.NoPreStop},
			ExitCode: ptr(int32(0)), Finished: ptr(2.0)}}}
	hi := seconds
	for _, node := range []string{"node-3", "node-1", "node-2"} {
		d.Slowest = append(d.Slowest, landing(node, 0.99*hi, hi))
		hi *= 0.75
	}
	d.LastCall = &report.Span{Lo: 0.99 * seconds, Hi: seconds}
	for _, c := range change {
		c(&d)
	}
	return d
}

func landing(node string, lo, hi float64) report.Landing {
	return report.Landing{Node: node, Kind: "kube-proxy", Backend: "nftables", Family: ledger.IPv4, Landed: &report.Span{Lo: lo, Hi: hi}}
}

// episode is the i-th, an hour after the one before, of one pod for each row.
func episode(i int, rows ...report.Departure) Episode {
	var e Episode
	begun := epoch.Add(time.Duration(i) * time.Hour)
	e.Episode = report.Episode{ID: int64(i + 1), Namespace: "prod", Workload: "deployment/shop", Begun: begun, Ended: begun, Left: len(rows), Most: len(rows)}
	for j := range rows {
		rows[j].UID = fmt.Sprintf("%d-%d", i, j)
		if !rows[j].T0.IsZero() {
			rows[j].T0 = begun
		}
		if c := rows[j].LastCall; c != nil {
			if end := begun.Add(time.Duration(c.Hi * float64(time.Second))); end.After(e.Episode.Ended) {
				e.Episode.Ended = end
			}
		}
	}
	e.Departures = rows
	e.Regime = RegimeOf(e.Explanation)
	return e
}

// shop is what is sized: one server without preStop and the grace period that comes by itself.
func shop(values ...float64) Input {
	in := Input{Workload: Workload{Namespace: "prod", Name: "deployment/shop"}}
	for i, s := range values {
		in.Episodes = append(in.Episodes, episode(i, row(s)))
	}
	return in
}

// times repeats a value.
func times(n int, s float64) (values []float64) {
	for range n {
		values = append(values, s)
	}
	return values
}

// ascending are n values up to the largest.
func ascending(n int, largest float64) (values []float64) {
	for i := range n {
		values = append(values, largest*float64(i+1)/float64(n))
	}
	return values
}
