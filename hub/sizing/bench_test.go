package sizing

import (
	"testing"

	"github.com/lastcall-k8s/lastcall/hub/report"
)

// BenchmarkRecommend sizes a workload of 100 rollouts of 10 pods, with a pool of a hundred such.
func BenchmarkRecommend(b *testing.B) {
	var in Input
	for i, s := range ascending(100, 11.7) {
		var rows []report.Departure
		for j := range 10 {
			rows = append(rows, row(s*float64(j+1)/10))
		}
		in.Episodes = append(in.Episodes, episode(i, rows...))
	}
	var all []Episode
	for i := range 100 {
		for _, e := range in.Episodes {
			e.Episode.ID += int64(1000 * i)
			all = append(all, e)
		}
	}
	pool := PoolOf(all, Options{})
	few := in
	few.Episodes = in.Episodes[:10]
	b.Run("own", func(b *testing.B) {
		for b.Loop() {
			Recommend(in, pool, Options{})
		}
	})
	b.Run("pool", func(b *testing.B) {
		for b.Loop() {
			Recommend(few, pool, Options{})
		}
	})
	b.Run("make the pool", func(b *testing.B) {
		for b.Loop() {
			PoolOf(all, Options{})
		}
	})
	b.Run("walk", func(b *testing.B) {
		for b.Loop() {
			Walk(in, Pool{}, Options{})
		}
	})
}
