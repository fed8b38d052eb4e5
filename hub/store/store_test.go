package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/ledger"
)

func TestRowsComeBackAsTheyWere(t *testing.T) {
	path := newPath(t)
	s := open(t, path, Config{})
	want := large(rand.New(rand.NewPCG(1, 2)), epoch.Add(123456789))
	bare := report.Departure{UID: "bare", Reason: ledger.NodeLost, T0Source: ledger.T0Unknown, Kinds: []report.Kind{},
		Late: report.Unknown}
	commit(t, s, Batch{Departures: []report.Departure{want, bare},
		Episodes: []report.Episode{{ID: want.Episode, Namespace: "prod", Begun: epoch, Ended: epoch, Open: true}},
		Cursors:  []Cursor{{"node-a", "boot-1", 1<<63 + 5}}})
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	s = open(t, path, Config{})
	for _, want := range []report.Departure{want, bare} {
		got, found, err := s.Departure(t.Context(), want.UID)
		if err != nil || !found {
			t.Fatal(found, err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
	}
	if _, found, err := s.Departure(t.Context(), "nobody"); found || err != nil {
		t.Error(found, err)
	}
	cursors, err := s.Cursors(t.Context())
	if d := cmp.Diff(map[string]Cursor{"node-a": {"node-a", "boot-1", 1<<63 + 5}}, cursors); d != "" || err != nil {
		t.Error(d, err)
	}
	page, err := s.Departures(t.Context(), Filter{Reason: ledger.Delete})
	if err != nil || len(page.Departures) != 1 {
		t.Fatal(len(page.Departures), err)
	}
	want.Slowest, want.Strip = nil, nil
	if d := cmp.Diff(want, page.Departures[0]); d != "" {
		t.Error("a list has everything but the places:", d)
	}
}

func TestDeparturesFilter(t *testing.T) {
	s := open(t, newPath(t), Config{})
	var b Batch
	for i := range 60 {
		d := departure(fmt.Sprint(i), i)
		d.Namespace = []string{"prod", "test"}[i%2]
		d.Workload = fmt.Sprintf("deployment/app-%d", i%3)
		d.Node = fmt.Sprintf("node-%d", i%5)
		d.Straggler.Node = fmt.Sprintf("slow-%d", i%4)
		if i%10 == 0 {
			d.Reason = ledger.Evict
		}
		if i%7 == 0 {
			d.Straggler = nil
		}
		b.Departures = append(b.Departures, d)
	}
	commit(t, s, b)
	minute := func(n int) time.Time { return epoch.Add(time.Duration(n) * time.Minute) }
	for _, c := range []struct {
		f  Filter
		is func(i int) bool
	}{
		{Filter{}, func(i int) bool { return true }},
		{Filter{Namespace: "test"}, func(i int) bool { return i%2 == 1 }},
		{Filter{Workload: "deployment/app-1"}, func(i int) bool { return i%3 == 1 }},
		{Filter{Namespace: "prod", Workload: "deployment/app-1"}, func(i int) bool { return i%2 == 0 && i%3 == 1 }},
		{Filter{Pod: "shop-17"}, func(i int) bool { return i == 17 }},
		{Filter{Node: "node-2"}, func(i int) bool { return i%5 == 2 }},
		{Filter{LastNode: "slow-3"}, func(i int) bool { return i%4 == 3 && i%7 != 0 }},
		{Filter{Reason: ledger.Evict}, func(i int) bool { return i%10 == 0 }},
		{Filter{Reason: ledger.Evict, Namespace: "prod"}, func(i int) bool { return i%10 == 0 }},
		{Filter{Reason: ledger.Evict, Namespace: "test"}, func(i int) bool { return false }},
		{Filter{Since: minute(50)}, func(i int) bool { return i >= 50 }},
		{Filter{Until: minute(7)}, func(i int) bool { return i < 7 }},
		{Filter{Since: minute(5), Until: minute(30), Node: "node-0", Workload: "deployment/app-0"},
			func(i int) bool { return i >= 5 && i < 30 && i%15 == 0 }},
	} {
		var want []string
		for i := 59; i >= 0; i-- {
			if c.is(i) {
				want = append(want, fmt.Sprint(i))
			}
		}
		for _, limit := range []int{0, 1, 4, 1000} {
			var got []string
			c.f.Limit, c.f.Before = limit, ""
			for {
				page, err := s.Departures(t.Context(), c.f)
				if err != nil {
					t.Fatal(err)
				}
				for _, d := range page.Departures {
					got = append(got, d.UID)
				}
				if limit > 0 && len(page.Departures) > limit {
					t.Errorf("%+v: a page of %d", c.f, len(page.Departures))
				}
				if c.f.Before = page.Next; page.Next == "" {
					break
				}
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("%+v: %s", c.f, d)
			}
		}
	}
	if _, err := s.Departures(t.Context(), Filter{Before: "1; DROP TABLE departures"}); err == nil || s.Err() != nil {
		t.Error("a page that does not exist:", err, s.Err())
	}
}

func TestPagesOfOneMoment(t *testing.T) {
	s := open(t, newPath(t), Config{})
	var b Batch
	for i := range 25 { // a drain: all T0 alike
		b.Departures = append(b.Departures, departure(fmt.Sprint(i), 0))
	}
	commit(t, s, b)
	seen := map[string]bool{}
	f := Filter{Limit: 4}
	for n := range 7 {
		page, err := s.Departures(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range page.Departures {
			seen[d.UID] = true
		}
		commit(t, s, Batch{Departures: []report.Departure{departure(fmt.Sprint("later", n), 1)}}) // shifts nothing
		f.Before = page.Next
	}
	if len(seen) != 25 || f.Before != "" {
		t.Errorf("%d of 25 rows, then %q", len(seen), f.Before)
	}
}

func TestIncomplete(t *testing.T) {
	s := open(t, newPath(t), Config{})
	d := departure("a", 0)
	d.Complete, d.Pending = false, 2
	commit(t, s, Batch{Departures: []report.Departure{d, departure("b", 1)}})
	got, err := s.Incomplete(t.Context())
	if d := cmp.Diff([]report.Departure{d}, got); d != "" || err != nil {
		t.Error(d, err)
	}
	commit(t, s, Batch{Departures: []report.Departure{departure("a", 0)}})
	if got, err := s.Incomplete(t.Context()); len(got) != 0 || err != nil {
		t.Error(got, err)
	}
}

func TestUnknownT0StaysWhereItWasFirstStored(t *testing.T) {
	clock := newClock()
	s := open(t, newPath(t), Config{Now: clock.now})
	d := departure("a", 0)
	d.T0, d.T0Source, d.Complete = time.Time{}, ledger.T0Unknown, false
	commit(t, s, Batch{Departures: []report.Departure{d, departure("b", 5)}})
	clock.advance(time.Hour)
	d.Complete = true
	commit(t, s, Batch{Departures: []report.Departure{d}})
	page, err := s.Departures(t.Context(), Filter{Until: epoch.Add(time.Minute)})
	if err != nil || len(page.Departures) != 1 || !page.Departures[0].T0.IsZero() || !page.Departures[0].Complete {
		t.Error(page, err)
	}
}

func TestCanceledCommitStoresNothing(t *testing.T) {
	s := open(t, newPath(t), Config{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := s.Commit(ctx, Batch{Departures: []report.Departure{departure("a", 0)}})
	if !errors.Is(err, context.Canceled) || s.Err() != nil {
		t.Error("the store is well:", err, s.Err())
	}
	if _, found, err := s.Departure(t.Context(), "a"); found || err != nil {
		t.Error(found, err)
	}
	// Waiting for the turn to write ends, too.
	if err := s.lock(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(ctx, Batch{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	s.unlock()
	commit(t, s, Batch{Departures: []report.Departure{departure("a", 0)}})
}

func TestClosed(t *testing.T) {
	s := open(t, newPath(t), Config{})
	for range 2 {
		if err := s.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Commit(t.Context(), Batch{}); !errors.Is(err, errClosed) {
		t.Error(err)
	}
	if _, err := s.Departures(t.Context(), Filter{}); !errors.Is(err, errClosed) {
		t.Error(err)
	}
	if n := s.Bytes(); n == 0 || s.logBytes() != 0 {
		t.Error("everything is in one file after Close:", n, s.logBytes())
	}
}

func TestStats(t *testing.T) {
	s := open(t, newPath(t), Config{})
	if st, err := s.Stats(t.Context()); err != nil || st.Departures != 0 || !st.Oldest.IsZero() || st.Bytes == 0 {
		t.Error(st, err)
	}
	d := departure("a", 3)
	d.Complete = false
	commit(t, s, Batch{Departures: []report.Departure{d, departure("b", 4)}, Episodes: []report.Episode{{ID: 1}}})
	st, err := s.Stats(t.Context())
	if err != nil || st.Departures != 2 || st.Incomplete != 1 || st.Episodes != 1 || !st.Oldest.Equal(d.T0) {
		t.Error(st, err)
	}
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// Every list is walked in its index's order: nothing is sorted but, at most, the rows of one nanosecond.
func TestListsAreNotSorted(t *testing.T) {
	s := open(t, newPath(t), Config{})
	for _, index := range []string{"at", "pod", "node", "last_node", "workload", "namespace", "reason"} {
		q := query{limit: 1, index: "departures_" + index}
		if index != "at" {
			q.and(index+" = ?", "x")
		}
		q.and("at >= ?", 1)
		q.and("at <= ?", 2)
		q.and("(at, id) < (?, ?)", 2, 1)
		text, args := q.sql()
		rows, err := s.file.read.Query("EXPLAIN QUERY PLAN "+text, args...)
		if err != nil {
			t.Fatal(err)
		}
		var plan strings.Builder
		for rows.Next() {
			var id, parent, unused int
			var detail string
			if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
				t.Fatal(err)
			}
			fmt.Fprintln(&plan, detail)
		}
		p := plan.String()
		if rows.Close(); rows.Err() != nil || strings.Contains(p, "TEMP B-TREE FOR ORDER BY") || !strings.Contains(p, "at>? AND at<?") {
			t.Errorf("%s: %v\n%s", index, rows.Err(), p)
		}
	}
}
