package store

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// BenchmarkCommit stores what a second brings: 10 departures of 9 KB, their episode and 5,000 landings each.
func BenchmarkCommit(b *testing.B) {
	for _, c := range []struct {
		name              string
		rows, places, cur int
	}{{"1 row", 1, 0, 1}, {"10 rows", 10, 0, 10}, {"10 rows of 5000 places and cursors", 10, 5000, 5000}} {
		b.Run(c.name, func(b *testing.B) {
			clock := newClock()
			s := open(b, filepath.Join(b.TempDir(), "hub.db"), Config{Now: clock.now, RetentionAge: 14 * 24 * time.Hour})
			r := rand.New(rand.NewPCG(1, 2))
			var took []time.Duration
			size := 0
			for i := 0; b.Loop(); i++ {
				b.StopTimer()
				clock.advance(time.Second)
				batch := second(r, clock.now(), c.rows, c.places, c.cur, uint64(i))
				if i == 0 {
					text, _ := json.Marshal(batch.Departures[0])
					size = len(text)
				}
				b.StartTimer()
				began := time.Now()
				if err := s.Commit(b.Context(), batch); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(began))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
			b.ReportMetric(float64(took[len(took)-1].Microseconds())/1000, "max-ms")
			b.ReportMetric(float64(size), "json-B/row")
		})
	}
}

func second(r *rand.Rand, at time.Time, rows, places, cursors int, n uint64) Batch {
	var batch Batch
	for range rows {
		d := large(r, at.Add(-time.Duration(r.IntN(5000))*time.Millisecond))
		batch.Departures = append(batch.Departures, d)
		l := Landings{UID: d.UID}
		for i := range places {
			l.Places = append(l.Places, PlaceSample{Node: fmt.Sprintf("ip-10-0-%d-%d", i/256, i%256), Kind: "kube-proxy",
				Family: ledger.IPv4, Seconds: 5 * r.Float64()})
		}
		batch.Landings = append(batch.Landings, l)
	}
	d := batch.Departures[0]
	batch.Episodes = []report.Episode{{ID: d.Episode, Namespace: d.Namespace, Workload: d.Workload,
		Begun: d.T0, Ended: at, Left: rows}}
	for i := range cursors {
		batch.Cursors = append(batch.Cursors, Cursor{Node: fmt.Sprintf("ip-10-0-%d-%d", i/256, i%256), Boot: "b", Next: n})
	}
	return batch
}

// BenchmarkList reads pages over 100,000 departures, each from a store that was just opened, with the file dropped
// from the kernel's cache, while another goroutine commits 10 rows/s.
func BenchmarkList(b *testing.B) {
	path := filled(b, 100_000)
	fi, err := os.Stat(path)
	if err != nil {
		b.Fatal(err)
	}
	s := open(b, path, Config{})
	sample, err := s.Departures(b.Context(), Filter{Limit: 5000})
	if err != nil {
		b.Fatal(err)
	}
	old := sample.Departures[4999]
	s.Close(context.Background())
	for _, c := range []struct {
		name string
		f    Filter
	}{
		{"newest", Filter{}},
		{"deep page", Filter{Until: epoch.Add(30000 * time.Second)}},
		{"namespace", Filter{Namespace: old.Namespace}},
		{"workload", Filter{Namespace: old.Namespace, Workload: old.Workload}},
		{"workload anywhere", Filter{Workload: old.Workload}},
		{"pod", Filter{Pod: old.Pod}},
		{"straggler", Filter{LastNode: old.Straggler.Node}},
		{"reason", Filter{Reason: ledger.Evict}},
		{"reason in namespace, few", Filter{Namespace: old.Namespace, Reason: ledger.Preempt}},
		{"workload without any", Filter{Workload: "deployment/none"}},
	} {
		for _, ingest := range []bool{true} {
			b.Run(c.name, func(b *testing.B) {
				var took []time.Duration
				for b.Loop() {
					b.StopTimer()
					cold(b, path)
					s, err := Open(b.Context(), path, Config{})
					if err != nil {
						b.Fatal(err)
					}
					done, stop := ingesting(b, s, ingest)
					b.StartTimer()
					began := time.Now()
					if _, err := s.Departures(b.Context(), c.f); err != nil {
						b.Fatal(err)
					}
					took = append(took, time.Since(began))
					b.StopTimer()
					stop()
					<-done
					if err := s.Close(context.Background()); err != nil {
						b.Fatal(err)
					}
					b.StartTimer()
				}
				slices.Sort(took)
				b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
				b.ReportMetric(float64(fi.Size())/1e6, "MB")
			})
		}
	}
}

// BenchmarkPlaces reads the 10,000 places of 5,000 nodes, and what a restart takes to have them.
func BenchmarkPlaces(b *testing.B) {
	path := newPath(b)
	clock := newClock()
	cfg := Config{Now: clock.now, RetentionAge: 14 * 24 * time.Hour}
	s, err := Open(b.Context(), path, cfg)
	if err != nil {
		b.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 100 { // four spans
		d := departure(fmt.Sprint(i), 0)
		d.Straggler = nil
		l := Landings{UID: d.UID}
		for node := range 5000 {
			for _, family := range []ledger.Family{ledger.IPv4, ledger.IPv6} {
				l.Places = append(l.Places, PlaceSample{Node: fmt.Sprintf("ip-10-0-%d-%d", node/256, node%256),
					Kind: "kube-proxy", Family: family, Seconds: 5 * r.Float64()})
			}
		}
		if err := s.Commit(b.Context(), Batch{Departures: []report.Departure{d}, Landings: []Landings{l}}); err != nil {
			b.Fatal(err)
		}
		clock.advance(3 * time.Hour)
	}
	b.Run("list", func(b *testing.B) {
		for b.Loop() {
			if n := len(s.Places()); n != 10_000 {
				b.Fatal(n)
			}
		}
	})
	if err := s.Close(context.Background()); err != nil {
		b.Fatal(err)
	}
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			cold(b, path)
			s, err := Open(b.Context(), path, cfg)
			if err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			s.Close(context.Background())
			b.StartTimer()
		}
	})
}

// BenchmarkTrim halves 100,000 departures, and reports how long a commit waited meanwhile.
func BenchmarkTrim(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		s := open(b, filled(b, 100_000), Config{})
		s.cfg.RetentionBytes = s.Bytes() / 2
		ctx, stop := context.WithCancel(b.Context())
		var waited []time.Duration
		done := make(chan struct{})
		go func() {
			defer close(done)
			r := rand.New(rand.NewPCG(1, 2))
			for ctx.Err() == nil {
				batch := second(r, time.Now(), 1, 0, 1, 1)
				began := time.Now()
				if err := s.Commit(ctx, batch); err == nil {
					waited = append(waited, time.Since(began))
				}
			}
		}()
		b.StartTimer()
		if err := s.Trim(b.Context()); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		stop()
		<-done
		slices.Sort(waited)
		b.ReportMetric(float64(waited[len(waited)*99/100].Microseconds())/1000, "commit-p99-ms")
		b.ReportMetric(float64(waited[len(waited)-1].Microseconds())/1000, "commit-max-ms")
		b.StartTimer()
	}
}

// ingesting commits a row, over and over, until stopped.
func ingesting(b *testing.B, s *Store, really bool) (done chan struct{}, stop func()) {
	done = make(chan struct{})
	ctx, stop := context.WithCancel(b.Context())
	var first sync.Once
	started := make(chan struct{})
	go func() {
		defer close(done)
		r := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 2))
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for really {
			if err := s.Commit(ctx, second(r, time.Now(), 1, 0, 1, 1)); err != nil && ctx.Err() == nil {
				b.Error(err)
			}
			first.Do(func() { close(started) })
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}()
	if really {
		<-started
	}
	return done, stop
}

// filled makes a store with n departures, one a second.
func filled(b testing.TB, n int) string {
	path := newPath(b)
	s, err := Open(b.Context(), path, Config{})
	if err != nil {
		b.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for i := 0; i < n; i += 500 {
		var batch Batch
		for j := range 500 {
			batch.Departures = append(batch.Departures, large(r, epoch.Add(time.Duration(i+j)*time.Second)))
		}
		if err := s.Commit(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.Close(context.Background()); err != nil {
		b.Fatal(err)
	}
	return path
}

// cold drops the file from the kernel's cache.
func cold(b testing.TB, path string) {
	f, err := os.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		b.Fatal(err)
	}
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		b.Fatal(err)
	}
}
