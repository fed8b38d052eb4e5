package hub

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/hub/sizing"
	"github.com/lastcall-k8s/lastcall/hub/store"
)

// BenchmarkAdvise sizes 200 workloads of 40 rollouts of 5 pods behind 5,000 nodes, 40,000 rows, as a hub does after it started: what
// it takes of a core, and what stays in memory.
func BenchmarkAdvise(b *testing.B) {
	o := newOffice(b)
	r := rand.New(rand.NewPCG(1, 2))
	for w := range 200 {
		var batch store.Batch
		for i := range 40 {
			o.id++
			at := epoch.Add(time.Duration(i)*time.Hour + time.Duration(w)*time.Second)
			name := fmt.Sprintf("deployment/app-%d", w)
			batch.Episodes = append(batch.Episodes, report.Episode{ID: o.id, Namespace: "prod", Workload: name, Begun: at, Ended: at.Add(10 * time.Second), Left: 5, Most: 2})
			for j := range 5 {
				d := left(name, at, 10*r.Float64())
				d.UID, d.Episode = fmt.Sprintf("%d-%d", o.id, j), o.id
				for n := range 29 {
					l := d.Slowest[2]
					l.Node, l.Stages = fmt.Sprintf("ip-10-0-%d-%d", n, r.IntN(256)), &report.Stages{API: .1, Watch: .2, Program: r.Float64()}
					d.Slowest = append(d.Slowest, l)
				}
				d.Expected, d.Answered, d.Strip = 5000, 5000, &report.Strip{Width: .1, Counts: make([]int, 64)}
				batch.Departures = append(batch.Departures, d)
			}
		}
		if err := o.cfg.Store.Commit(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	b.Run("all", func(b *testing.B) {
		before := heap()
		for b.Loop() {
			o.advice = newAdvisor()
			o.advised()
		}
		b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/40_000, "us/row")
		b.ReportMetric(float64(heap()-before)/200, "B/workload")
	})
	o.advised()
	b.Run("one", func(b *testing.B) {
		for b.Loop() {
			if _, err := o.Advice(b.Context(), Ask{Namespace: "prod", Workload: "deployment/app-7"}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("pool of 100,000", func(b *testing.B) {
		all := o.advice.takenSince(time.Time{})
		for len(all) < 100_000 {
			all = append(all, all...)
		}
		all = slices.Clip(all[:100_000])
		for b.Loop() {
			sizing.PoolOfTaken(all, sizing.Options{})
		}
	})
}
