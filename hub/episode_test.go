package hub

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/hub/store"
	"github.com/lastcall-k8s/lastcall/ledger"
)

func newChain() *chainer {
	id := int64(0)
	return &chainer{gap: time.Minute, next: func() int64 { id++; return id }, open: map[workloadKey]*episode{}}
}

// gone is a departure of shop/deployment/web at at, whose last call is call later.
func gone(uid string, at, call time.Duration, change ...func(*report.Departure)) report.Departure {
	d := report.Departure{UID: uid, Namespace: "shop", Workload: "deployment/web", Reason: ledger.Delete, T0: epoch.Add(at), Complete: true,
		Late: report.No, LastCall: &report.Span{Hi: call.Seconds()}}
	for _, f := range change {
		f(&d)
	}
	return d
}

func pending(d *report.Departure) { d.Complete, d.Pending, d.LastCall = false, 1, nil }

// TestTheGap: it is counted from the last call to the next T0, to the nanosecond.
func TestTheGap(t *testing.T) {
	for _, tt := range []struct {
		at   time.Duration
		same bool
	}{{61*time.Second - 1, true}, {61 * time.Second, false}} {
		c := newChain()
		a := c.join(gone("1", 0, time.Second), epoch)
		if b := c.join(gone("2", tt.at, time.Second), epoch); (a == b) != tt.same {
			t.Errorf("%v after T0: same episode %v", tt.at, a == b)
		}
	}
}

// TestEpisodeWithLiveRows: what rows in memory say is in the episode's sums at once, and changes nothing of it.
func TestEpisodeWithLiveRows(t *testing.T) {
	c := newChain()
	e := c.join(gone("1", 0, time.Second), epoch)
	c.join(gone("2", time.Second, time.Second), epoch)
	lost := 3
	now := e.with([]report.Departure{
		gone("1", 0, 5*time.Second, func(d *report.Departure) { d.Late, d.Refused = report.Yes, &lost }),
		gone("3", 0, time.Minute), // of another
	})
	if now.Left != 2 || now.Late != 1 || now.Refused == nil || *now.Refused != 3 || now.Worst != "1" || now.LastCall.Hi != 5 {
		t.Errorf("now %+v", now)
	}
	if e.Late != 0 || e.Refused != nil || e.LastCall.Hi != 1 {
		t.Errorf("it was changed: %+v", e.Episode)
	}
}

// TestLaterWord: how a pod ended is told after its episode was closed, and belongs to it.
func TestLaterWord(t *testing.T) {
	c := newChain()
	a := c.join(gone("1", 0, time.Second, func(d *report.Departure) { d.Late = report.Unknown }), epoch.Add(5*time.Minute))
	if es := c.close(epoch.Add(2 * time.Minute)); len(es) != 1 || a.Open || a.Unknown != 1 {
		t.Fatalf("closed %v, %+v", es, a.Episode)
	}
	if b := c.join(gone("1", 0, time.Second), epoch.Add(4*time.Minute)); b != a || b.Unknown != 0 || len(c.open) != 0 {
		t.Errorf("told later it is in episode %d, %+v", b.ID, b.Episode)
	}
	if es := c.close(epoch.Add(4 * time.Minute)); len(es) != 1 || es[0] != a || a.Open {
		t.Errorf("not written again: %v", es)
	}
	if es := c.close(epoch.Add(4 * time.Minute)); len(es) != 0 {
		t.Errorf("written for nothing: %v", es)
	}
}

// TestPendingChains: while a last call has not come, whoever leaves next leaves before it. Not for ever.
func TestPendingChains(t *testing.T) {
	c := newChain()
	a := c.join(gone("1", 0, 0, pending), epoch)
	if b := c.join(gone("2", 5*time.Minute, time.Second), epoch.Add(6*time.Minute)); b != a || a.Pending != 1 || a.Worst != "1" {
		t.Errorf("another episode, %+v", b.Episode)
	}
	if c.close(epoch.Add(20 * time.Minute)); !a.Open {
		t.Error("closed while something is pending")
	}
	if b := c.join(gone("3", 40*time.Minute, time.Second), epoch.Add(41*time.Minute)); b == a {
		t.Error("chained to what nobody will ever tell")
	}
	if c.close(epoch.Add(time.Hour)); a.Open || len(c.open) != 0 {
		t.Errorf("still open: %v", c.open)
	}
}

// TestMostAtOnce: pods between T0 and their end.
func TestMostAtOnce(t *testing.T) {
	for _, tt := range []struct {
		spans [][2]int
		want  int
	}{
		{[][2]int{{0, 30}}, 1},
		{[][2]int{{0, 30}, {30, 60}}, 1},
		{[][2]int{{0, 30}, {10, 20}, {15, 40}, {30, 31}}, 3},
		{[][2]int{{0, 0}, {0, 0}}, 2},
	} {
		ms := map[string]member{}
		for i, s := range tt.spans {
			ms[fmt.Sprint(i)] = member{t0: epoch.Add(time.Duration(s[0]) * time.Second), end: epoch.Add(time.Duration(s[1]) * time.Second)}
		}
		if got := mostAtOnce(ms); got != tt.want {
			t.Errorf("%v: %d, want %d", tt.spans, got, tt.want)
		}
	}
}

// TestDrainTag: most were evicted.
func TestDrainTag(t *testing.T) {
	c := newChain()
	evict := func(d *report.Departure) { d.Reason = ledger.Evict }
	e := c.join(gone("1", 0, time.Second), epoch)
	if c.join(gone("2", 0, time.Second, evict), epoch); e.Tag != report.UnknownTag {
		t.Errorf("1 of 2: %s", e.Tag)
	}
	if c.join(gone("3", 0, time.Second, evict), epoch); e.Tag != report.Drain {
		t.Errorf("2 of 3: %s", e.Tag)
	}
}

// TestEpisodeRestored: a hub that begins anew goes on with the episodes that are open, each with its own departures.
func TestEpisodeRestored(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hub.db")
	now := epoch
	begin := func() (*Hub, func()) {
		s, err := store.Open(t.Context(), path, store.Config{Now: func() time.Time { return now }})
		if err != nil {
			t.Fatal(err)
		}
		return New(t.Context(), Config{Now: func() time.Time { return now }, Store: s, Gap: time.Minute, Metrics: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler)}),
			func() { s.Close(context.Background()) } //nolint:errcheck // the test is about what was committed
	}
	h, end := begin()
	first, second := gone("1", 0, 0, pending), gone("2", 5*time.Second, time.Second)
	a := h.chain.join(first, epoch.Add(30*time.Second))
	h.chain.join(second, epoch.Add(35*time.Second))
	first.Episode, second.Episode = a.ID, a.ID
	if err := h.cfg.Store.Commit(t.Context(), store.Batch{Departures: []report.Departure{first, second}, Episodes: []report.Episode{a.Episode}}); err != nil {
		t.Fatal(err)
	}
	end()
	now = now.Add(10 * time.Second)
	h, end = begin()
	defer end()
	third := gone("3", 20*time.Second, time.Second)
	e := h.chain.join(third, epoch.Add(50*time.Second))
	if e.ID != a.ID || e.Left != 3 || e.Pending != 1 || e.Begun.Sub(epoch) != 0 {
		t.Fatalf("restored %+v, before %+v", e.Episode, a.Episode)
	}
	if again := h.chain.join(gone("1", 0, 2*time.Second), epoch.Add(30*time.Second)); again != e || e.Left != 3 || e.Pending != 0 {
		t.Errorf("the one that was pending: %+v", again.Episode)
	}
	if es := h.chain.close(epoch.Add(5 * time.Minute)); len(es) != 1 || e.Open {
		t.Errorf("not closed: %+v", e.Episode)
	}
	if other := h.chain.join(gone("9", time.Hour, time.Second), epoch.Add(time.Hour)); other.ID <= a.ID {
		t.Errorf("the next episode has number %d, after %d", other.ID, a.ID)
	}
}

// TestNothingLostAtTheEnd: rows whose commit was cut off, as by a SIGTERM in the middle of it, are stored by the last flush.
func TestNothingLostAtTheEnd(t *testing.T) {
	s, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "hub.db"), store.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(context.Background()) //nolint:errcheck // the test is about what was committed
	w := newWorld(t, "a")
	h := New(t.Context(), Config{Now: func() time.Time { return w.now }, Store: s, Gap: time.Minute, Metrics: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler)})
	h.join = w.j
	w.compare(ms)
	w.deleted("a", 0, 30, sleeps("web", 10))
	w.seen("a", 10*ms)
	w.landed("a", 10*ms, 19*ms, 20*ms)
	w.applied(11)
	w.now = epoch.Add(2 * time.Second)
	h.flush(t.Context(), false)
	// Its end is the last that is told of it, and is stored when nothing more can come.
	w.now = epoch.Add(30 * time.Second)
	w.say("a", ledger.Event{Type: ledger.EventFarewell, At: w.at("a", 30*time.Second), Pod: &ledger.Pod{UID: "u"}, Gone: true,
		Exits: []ledger.Exit{{Name: "web", Code: 137, Told: w.at("a", 29*time.Second)}}})
	cut, cancel := context.WithCancel(t.Context())
	cancel()
	h.flush(cut, false)
	h.flush(t.Context(), true)
	d, found, err := s.Departure(t.Context(), "u")
	if err != nil || !found || len(d.Containers) != 1 || d.Containers[0].ExitCode == nil || *d.Containers[0].ExitCode != 137 {
		t.Errorf("%v, stored %v: %+v", err, found, d.Containers)
	}
	h.flush(t.Context(), false)
	if len(h.join.rows) != 0 || len(h.chain.of) != 0 {
		t.Errorf("%d rows are still held, %d members", len(h.join.rows), len(h.chain.of))
	}
	if got := outcomesOf(d); got != 1 || d.LastCall == nil || !near(d.LastCall.Hi, .02, 1e-6) {
		t.Errorf("row %+v", d)
	}
}
