package store

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/ledger"
)

var epoch = time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC)

// clock is a clock that tests set.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: epoch} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// open opens a store that is closed with the test.
func open(t testing.TB, path string, cfg Config) *Store {
	t.Helper()
	s, err := Open(t.Context(), path, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil { // the test's context has ended
			t.Error(err)
		}
	})
	return s
}

func newPath(t testing.TB) string { return filepath.Join(t.TempDir(), "hub.db") }

func commit(t testing.TB, s *Store, b Batch) {
	t.Helper()
	if err := s.Commit(t.Context(), b); err != nil {
		t.Fatal(err)
	}
}

// departure is a complete row, i minutes after epoch, that the places of i nodes took part in.
func departure(uid string, minute int) report.Departure {
	return report.Departure{
		UID: uid, Namespace: "prod", Pod: "shop-" + uid, Node: "node-a", Workload: "deployment/shop",
		Reason: ledger.Delete, T0: epoch.Add(time.Duration(minute) * time.Minute), T0Source: ledger.FromPod,
		Kinds:    []report.Kind{{Kind: "kube-proxy", Places: 3, Outcomes: map[ledger.Outcome]int{ledger.Landed: 3}}},
		LastCall: &report.Span{Lo: 4.1, Hi: 4.2}, Complete: true, Expected: 3, Answered: 3, Late: report.Unknown,
		Straggler: &report.Landing{Node: "node-b", Kind: "kube-proxy", Family: ledger.IPv4,
			Landed: &report.Span{Lo: 4.1, Hi: 4.2}, Stages: &report.Stages{API: .1, Watch: .2, Program: 3.9}},
		Slowest: []report.Landing{{Node: "node-b", Kind: "kube-proxy", Family: ledger.IPv4, Landed: &report.Span{Lo: 4.1, Hi: 4.2}}},
	}
}

// large is a row as a cluster of 5,000 nodes gives it, 9 KB of JSON that compresses as real rows do.
func large(r *rand.Rand, t0 time.Time) report.Departure {
	node := func() string {
		return fmt.Sprintf("ip-10-%d-%d-%d.eu-central-1.compute.internal", r.IntN(4), r.IntN(256), r.IntN(256))
	}
	app := r.IntN(200)
	last, seen, grace, code, finished := .2+4*r.Float64(), .01*r.Float64(), int64(30), int32(0), 30*r.Float64()
	d := report.Departure{
		UID:       fmt.Sprintf("%08x-%04x-4000-a000-%012x", r.Uint32(), r.Uint32N(1<<16), r.Uint64N(1<<48)),
		Namespace: fmt.Sprintf("team-%d", app%20), Pod: fmt.Sprintf("app-%d-%010x-%05x", app, app, r.Uint32N(1<<20)), Node: node(),
		Workload: fmt.Sprintf("deployment/app-%d", app), Revision: fmt.Sprintf("%010x", app), Reason: ledger.Delete,
		Episode: t0.Unix() / 600, T0: t0, T0Source: ledger.FromPod, T0Error: .002 * r.Float64(), Seen: &seen,
		Kinds: []report.Kind{{Kind: "kube-proxy", Places: 4997,
			Outcomes: map[ledger.Outcome]int{ledger.Landed: 19980, ledger.Excluded: 8}}},
		LastCall: &report.Span{Lo: last - .003*r.Float64(), Hi: last}, Within99: &last, Complete: true,
		Expected: 5000, Answered: 4997, Missing: []report.Missing{{Place: node(), Why: "no agent"}}, Grace: &grace,
		Containers: []report.Container{{Name: "app", Serves: true, PreStop: ledger.PreStop{Kind: ledger.PreStopSleep, Seconds: &grace},
			ExitCode: &code, Finished: &finished}},
		Told: &report.Span{Lo: 5, Hi: 6}, ToldWhy: "preStop sleeps 5 s from T0", Late: report.No, Exposure: &report.Span{},
		Strip: &report.Strip{Width: .1},
	}
	if r.IntN(20) == 0 {
		d.Reason = ledger.Evict
	}
	for i := range 20 {
		hi := last - .01*float64(i)*r.Float64()
		watch := hi * r.Float64()
		d.Slowest = append(d.Slowest, report.Landing{Node: node(), Kind: "kube-proxy", Backend: "nftables", Family: ledger.IPv4,
			Landed: &report.Span{Lo: hi - .001, Hi: hi}, Seen: &watch, Outcomes: map[ledger.Outcome]int{ledger.Landed: 4},
			Stages: &report.Stages{API: seen, Watch: watch, Program: hi - watch - seen}, ClockError: .001 * r.Float64()})
	}
	d.Straggler = &d.Slowest[0]
	for range 48 {
		d.Strip.Counts = append(d.Strip.Counts, r.IntN(300))
	}
	return d
}
