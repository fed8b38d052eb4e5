package store

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/ledger"
)

func TestWeigh(t *testing.T) {
	four := 4.
	old := func(r ledger.Reason, complete bool, settled int) stored {
		return stored{at: epoch, reason: r, complete: complete, settled: settled, lastCall: &four}
	}
	now := func(r ledger.Reason, complete bool, settled int, after time.Duration) row {
		return row{Departure: report.Departure{Reason: r, Complete: complete, T0: epoch.Add(after)}, settled: settled}
	}
	unknownT0 := now(ledger.Unready, false, 9, 0)
	unknownT0.T0 = time.Time{}
	for _, c := range []struct {
		what string
		old  stored
		row  row
		want verdict
	}{
		{"progress", old(ledger.Delete, false, 3), now(ledger.Delete, false, 5, 0), improve},
		{"news of the same", old(ledger.Delete, false, 3), now(ledger.Delete, false, 3, 0), improve},
		{"it completes", old(ledger.Delete, false, 3), now(ledger.Delete, true, 5, 0), improve},
		{"it completes, with less known", old(ledger.Delete, false, 3), now(ledger.Delete, true, 2, 0), improve},
		{"read again from the middle", old(ledger.Delete, false, 3), now(ledger.Delete, false, 1, 2*time.Second), keep},
		{"read again, not complete yet", old(ledger.Delete, true, 5), now(ledger.Delete, false, 9, 0), keep},
		{"read again, late lines only", old(ledger.Delete, true, 5), now(ledger.Delete, true, 2, time.Hour), keep},
		{"containers have ended", old(ledger.Delete, true, 5), now(ledger.Delete, true, 5, 0), improve},
		{"an agent came back", old(ledger.Delete, true, 5), now(ledger.Delete, true, 7, 0), improve},
		{"evicted, not deleted", old(ledger.Delete, true, 5), now(ledger.Evict, true, 5, 0), improve},

		{"unready, then deleted", old(ledger.Unready, true, 5), now(ledger.Delete, false, 0, time.Second), improve},
		{"unready, back, then deleted", old(ledger.Unready, true, 5), now(ledger.Delete, false, 0, time.Hour), succeed},
		{"gone from its slice, then deleted", old(ledger.Vanished, false, 5), now(ledger.Force, false, 5, 0), improve},
		{"old lines of unready after it was deleted", old(ledger.Delete, false, 0), now(ledger.Unready, true, 5, 0), keep},
		{"unready again", old(ledger.Unready, true, 5), now(ledger.Unready, false, 0, 5*time.Second), succeed},
		{"unready, read again", old(ledger.Unready, true, 5), now(ledger.Unready, false, 1, 3*time.Second), keep},
		{"unready again before the first completed", old(ledger.Unready, false, 5), now(ledger.Unready, false, 1, time.Hour), keep},
		{"unready, at an unknown time", old(ledger.Unready, true, 5), unknownT0, keep},
	} {
		if got := weigh(c.old, c.row); got != c.want {
			t.Errorf("%s: %d, want %d", c.what, got, c.want)
		}
	}
}

func TestCommitKeepsWhatKnowsMore(t *testing.T) {
	s := open(t, newPath(t), Config{})
	full := departure("a", 0)
	full.Node, full.Late = "first", report.No
	ended := full
	ended.Node, ended.Late = "second", report.Yes
	partial := departure("a", 0)
	partial.Node, partial.Complete = "third", false
	poor := departure("a", 0)
	poor.Node, poor.Kinds, poor.Straggler = "fourth", nil, nil
	for _, step := range []struct{ put, want report.Departure }{
		{partial, partial}, {full, full}, {partial, full}, {poor, full}, {ended, ended}, {partial, ended},
	} {
		for range 2 { // idempotent
			commit(t, s, Batch{Departures: []report.Departure{step.put}})
			got, _, err := s.Departure(t.Context(), "a")
			if d := cmp.Diff(step.want, got); d != "" || err != nil {
				t.Fatalf("after %s: %s %v", step.put.Node, d, err)
			}
		}
	}
	// What it is found by follows.
	for node, n := range map[string]int{"first": 0, "second": 1, "third": 0} {
		if p, err := s.Departures(t.Context(), Filter{Node: node}); len(p.Departures) != n || err != nil {
			t.Error(node, len(p.Departures), err)
		}
	}
}

func TestPlacesOfARowAreReplaced(t *testing.T) {
	s := open(t, newPath(t), Config{})
	d := departure("a", 0)
	commit(t, s, Batch{Departures: []report.Departure{d}})
	d.Slowest = nil
	commit(t, s, Batch{Departures: []report.Departure{d}})
	got, _, err := s.Departure(t.Context(), "a")
	if err != nil || got.Slowest != nil {
		t.Error(got.Slowest, err)
	}
}

func TestCursorsMoveOnWithinABoot(t *testing.T) {
	s := open(t, newPath(t), Config{})
	for _, step := range []struct{ put, want Cursor }{
		{Cursor{"n", "one", 5}, Cursor{"n", "one", 5}},
		{Cursor{"n", "one", 9}, Cursor{"n", "one", 9}},
		{Cursor{"n", "one", 5}, Cursor{"n", "one", 9}}, // the same batch again
		{Cursor{"n", "two", 1}, Cursor{"n", "two", 1}},
	} {
		commit(t, s, Batch{Cursors: []Cursor{step.put}})
		if got, err := s.Cursors(t.Context()); got["n"] != step.want || err != nil {
			t.Errorf("after %v: %v %v", step.put, got, err)
		}
	}
}
