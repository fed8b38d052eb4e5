package simulated

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/hub/sizing"
	"github.com/lastcall-k8s/lastcall/ledger"
)

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// Stored is an episode as the hub stores it: a row for each departure, three nodes of which one was last.
func Stored(id int64, workload string, begun time.Time, calls []float64, minSync string) sizing.Episode {
	var e sizing.Episode
	e.Episode = report.Episode{ID: id, Namespace: "sim", Workload: workload, Begun: begun, Ended: begun, Left: len(calls), Most: len(calls)}
	for i, s := range calls {
		d := report.Departure{UID: fmt.Sprintf("%d-%d", id, i), Namespace: "sim", Workload: workload, Reason: ledger.Delete, Episode: id,
			T0: begun, T0Source: ledger.FromPod, Complete: true, Expected: 3, Answered: 3,
			Kinds:    []report.Kind{{Kind: "kube-proxy", Places: 3, Outcomes: map[ledger.Outcome]int{ledger.Landed: 3}}},
			LastCall: &report.Span{Lo: 0.99 * s, Hi: s}}
		for j, share := range []float64{1, 0.8, 0.5} {
			d.Slowest = append(d.Slowest, report.Landing{Node: fmt.Sprint("node-", j), Kind: "kube-proxy", Backend: "nftables",
				Landed: &report.Span{Lo: 0.99 * share * s, Hi: share * s}})
		}
		e.Departures = append(e.Departures, d)
		if end := begun.Add(time.Duration(s * float64(time.Second))); end.After(e.Episode.Ended) {
			e.Episode.Ended = end
		}
	}
	e.Regime = sizing.RegimeOf(e.Explanation)
	e.Regime.MinSync = minSync
	return e
}

// Changed is how often recommendations held after kube-proxy was set to sync ten times as seldom, somewhere in the window.
type Changed struct {
	Runs     int   `json:"runs"`
	TooFew   int   `json:"too_few"`  // runs in which there were fewer than 19 episodes since
	Numbers  int   `json:"numbers"`  // numbers that were given in those: there must be none
	Coverage Share `json:"coverage"` // of the numbers in the other runs
	// Blind is the coverage in runs with too few if nobody knew of the change.
	Blind Share `json:"blind_coverage"`
}

// Share is K of N.
type Share struct {
	K int `json:"k"`
	N int `json:"n"`
}

func (s *Share) add(held bool) {
	s.N++
	if held {
		s.K++
	}
}

// Mean is K/N with its standard error.
func (s Share) Mean() Mean {
	m := Mean{N: s.N}
	if s.N > 0 {
		m.Value = float64(s.K) / float64(s.N)
		m.Error = math.Sqrt(m.Value * (1 - m.Value) / float64(s.N))
	}
	return m
}

// Change takes rows all the way to the recommendation.
func Change(w World, r *rand.Rand, runs int) (c Changed) {
	slow := w
	slow.Scale = 10
	c.Runs = runs
	for range runs {
		var in, blind sizing.Input
		before := 20 + r.IntN(40)
		draw := func(i int) sizing.Episode {
			world, sync := w, "1s"
			if i >= before {
				world, sync = slow, "10s"
			}
			return Stored(int64(i), "deployment/a", epoch.Add(time.Duration(i)*time.Hour), world.Episode(r), sync)
		}
		since := r.IntN(40)
		for i := range before + since {
			e := draw(i)
			in.Episodes = append(in.Episodes, e)
			e.Regime.MinSync = ""
			blind.Episodes = append(blind.Episodes, e)
		}
		next := draw(before + since)
		in.Now = &next.Regime
		held := func(in sizing.Input, o sizing.Options) (held, is bool) {
			n := sizing.Recommend(in, sizing.Pool{}, o).Seconds
			return n != nil && worst(next) <= float64(*n), n != nil
		}
		ok, is := held(in, sizing.Options{BoundOnly: true})
		if since >= 19 {
			c.Coverage.add(ok)
			continue
		}
		c.TooFew++
		if is {
			c.Numbers++
		}
		ok, _ = held(blind, sizing.Options{})
		c.Blind.add(ok)
	}
	return c
}

func worst(e sizing.Episode) (s float64) {
	for _, d := range e.Departures {
		s = max(s, d.LastCall.Hi)
	}
	return s
}

// Pooled is how often numbers from a pool held for a workload with few episodes of its own.
type Pooled struct {
	Runs     int   `json:"runs"`
	TooFew   int   `json:"too_few"` // runs in which they left fewer than 19 times
	Coverage Share `json:"coverage"`
	// Apart is the coverage, in runs with too few, of the bound over the workloads' episodes, each a sample of its own.
	Apart Share `json:"apart_coverage"`
}

// PoolStudy has ten workloads whose pods leave within the same minute, now and then, behind the same slow node.
func PoolStudy(w World, r *rand.Rand, runs int) (p Pooled) {
	p.Runs = runs
	for range runs {
		steps := 3 + r.IntN(29)
		var own sizing.Input
		var all []sizing.Episode
		var apart []sizing.Sample
		draw := func(step, workload int, shared float64) sizing.Episode {
			begun := epoch.Add(time.Duration(step)*time.Hour + time.Duration(r.IntN(20))*time.Second)
			return Stored(int64(step*100+workload), fmt.Sprint("deployment/", workload), begun, w.episode(r, shared), "")
		}
		for step := range steps {
			shared := r.NormFloat64()
			for workload := range 10 {
				if workload == 0 && step%3 > 0 {
					continue // it has at most 11 episodes of its own
				}
				e := draw(step, workload, shared)
				if workload == 0 {
					own.Episodes = append(own.Episodes, e)
				}
				all = append(all, e)
				apart = append(apart, sizing.Sample{Seconds: worst(e), Whole: true})
			}
		}
		next := worst(draw(steps, 0, r.NormFloat64()))
		rec := sizing.Recommend(own, sizing.PoolOf(all, sizing.Options{}), sizing.Options{BoundOnly: true})
		switch {
		case rec.Basis == sizing.BasisPool:
			p.Coverage.add(next <= float64(*rec.Seconds))
		case steps < 19:
			p.TooFew++
			p.Apart.add(next <= sizing.BoundOf(apart, rec.Quantile).Seconds)
		}
	}
	return p
}
