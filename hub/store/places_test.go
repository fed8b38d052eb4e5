package store

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/ledger"
)

func landings(uid string, nodes int, seconds float64) Landings {
	l := Landings{UID: uid}
	for i := range nodes {
		l.Places = append(l.Places, PlaceSample{fmt.Sprintf("node-%c", 'a'+i), "kube-proxy", ledger.IPv4, seconds})
	}
	return l
}

// summary is what Places says, in short: samples, then how often last.
func summary(s *Store) map[string][2]int {
	m := map[string][2]int{}
	for _, p := range s.Places() {
		m[p.Node] = [2]int{p.Samples, p.Last}
	}
	return m
}

func TestPlacesCountADepartureOnce(t *testing.T) {
	path := newPath(t)
	s := open(t, path, Config{})
	partial := departure("a", 0)
	partial.Complete = false
	commit(t, s, Batch{Departures: []report.Departure{partial}, Landings: []Landings{landings("a", 2, 1)}})
	if d := cmp.Diff(map[string][2]int{}, summary(s)); d != "" {
		t.Error("not complete:", d)
	}
	for range 3 {
		commit(t, s, Batch{Departures: []report.Departure{departure("a", 0)}, Landings: []Landings{landings("a", 2, 1)}})
	}
	want := map[string][2]int{"node-a": {1, 0}, "node-b": {1, 1}}
	if d := cmp.Diff(want, summary(s)); d != "" {
		t.Error(d)
	}
	moved := departure("a", 0)
	moved.Straggler = &report.Landing{Node: "node-a", Kind: "kube-proxy", Family: ledger.IPv4}
	commit(t, s, Batch{Departures: []report.Departure{moved}, Landings: []Landings{landings("a", 2, 1)}})
	want = map[string][2]int{"node-a": {1, 1}, "node-b": {1, 0}}
	if d := cmp.Diff(want, summary(s)); d != "" {
		t.Error("another straggler:", d)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	s = open(t, path, Config{})
	commit(t, s, Batch{Departures: []report.Departure{moved}, Landings: []Landings{landings("a", 2, 1)}})
	if d := cmp.Diff(want, summary(s)); d != "" {
		t.Error("after a restart:", d)
	}
}

func TestPlacesReport(t *testing.T) {
	path := newPath(t)
	s := open(t, path, Config{RetentionAge: 40 * 24 * time.Hour})
	for i := range 100 {
		d := departure(fmt.Sprint(i), i)
		d.Straggler.Stages = []*report.Stages{{API: 1}, {Watch: 1}, {Program: 1}, nil}[min(i/30, 3)]
		commit(t, s, Batch{Departures: []report.Departure{d}, Landings: []Landings{{UID: d.UID, Places: []PlaceSample{
			{"node-b", "kube-proxy", ledger.IPv4, 1}, {"node-b", "kube-proxy", ledger.IPv6, .01 + float64(i)},
		}}}})
	}
	one, p50, p99 := 1., 0., 0.
	check := func() {
		t.Helper()
		got := s.Places()
		if len(got) != 2 {
			t.Fatal(got)
		}
		p50, p99 = *got[1].P50, *got[1].P99
		if p50 < 49.01 || p50 > 49.01*1.0906 || p99 < 98.01 || p99 > 98.01*1.0906 {
			t.Error(p50, p99)
		}
		want := []report.Place{
			{Node: "node-b", Kind: "kube-proxy", Family: ledger.IPv4, P50: &one, P99: &one, Samples: 100, Last: 100,
				LastBy: map[string]int{"api": 30, "watch": 30, "program": 30}},
			{Node: "node-b", Kind: "kube-proxy", Family: ledger.IPv6, P50: &p50, P99: &p99, Samples: 100},
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
	}
	check()
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	s = open(t, path, Config{RetentionAge: 40 * 24 * time.Hour})
	check()
}

// A kill loses at most flushAfter of the histograms: what is older has been written by the next commit, or by Trim.
func TestPlacesAreWrittenLater(t *testing.T) {
	path := newPath(t)
	clock := newClock()
	s := open(t, path, Config{Now: clock.now})
	written := func() map[string][2]int {
		t.Helper()
		p := newPlaces(0)
		if err := p.load(t.Context(), s.file.read); err != nil {
			t.Fatal(err)
		}
		return summary(&Store{places: p})
	}
	put := func(uid string) {
		t.Helper()
		commit(t, s, Batch{Departures: []report.Departure{departure(uid, 0)}, Landings: []Landings{landings(uid, 2, 1)}})
	}
	put("a")
	if d := cmp.Diff(map[string][2]int{}, written()); d != "" {
		t.Error(d)
	}
	clock.advance(flushAfter)
	put("b") // writes what was there before it, and what it adds is still to be written
	if d := cmp.Diff(map[string][2]int{"node-a": {1, 0}, "node-b": {1, 1}}, written()); d != "" {
		t.Error(d)
	}
	clock.advance(flushAfter)
	if err := s.Trim(t.Context()); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(map[string][2]int{"node-a": {2, 0}, "node-b": {2, 2}}, written()); d != "" {
		t.Error(d)
	}
	if len(s.places.changed) != 0 {
		t.Error("still to be written:", len(s.places.changed))
	}
}

func TestPlacesFollowTheTransaction(t *testing.T) {
	clock := newClock()
	s := open(t, newPath(t), Config{Now: clock.now})
	commit(t, s, Batch{Departures: []report.Departure{departure("a", 0)}, Landings: []Landings{landings("a", 2, 1)}})
	clock.advance(flushAfter)
	// A commit that fails after the places were written.
	err := s.file.transact(t.Context(), func(tx *transaction) error {
		if err := s.places.flush(tx, s.places.overdue(clock.now())); err != nil {
			return err
		}
		b := row{Departure: departure("b", 0), json: []byte{}}
		if err := tx.putDeparture(b, landings("b", 2, 1).Places, s.places, clock.now()); err != nil {
			return err
		}
		return context.DeadlineExceeded
	})
	if err != context.DeadlineExceeded {
		t.Fatal(err)
	}
	if d := cmp.Diff(map[string][2]int{"node-a": {1, 0}, "node-b": {1, 1}}, summary(s)); d != "" {
		t.Error(d)
	}
	if n := len(s.places.changed); n != 2 {
		t.Error("to be written again:", n)
	}
	commit(t, s, Batch{})
	if n := len(s.places.changed); n != 0 {
		t.Error("written:", n)
	}
}

func TestPlacesForget(t *testing.T) {
	path := newPath(t)
	clock := newClock()
	cfg := Config{Now: clock.now, RetentionAge: 8 * time.Hour}
	s := open(t, path, cfg)
	for i := range 40 { // 20 h
		uid := fmt.Sprint(i)
		nodes := 2
		if i > 20 {
			nodes = 1 // node-b is gone
		}
		d := departure(uid, 30*i)
		d.Straggler = nil
		commit(t, s, Batch{Departures: []report.Departure{d}, Landings: []Landings{landings(uid, nodes, 1)}})
		if err := s.Trim(t.Context()); err != nil {
			t.Fatal(err)
		}
		clock.advance(30 * time.Minute)
	}
	check := func() {
		t.Helper()
		got := summary(s)
		// 16 departures are retained, and up to a quarter of that more.
		if n := got["node-a"][0]; n < 16 || n > 20 || got["node-b"][0] != 0 {
			t.Error(got)
		}
	}
	check()
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	s = open(t, path, cfg)
	check()
	var places, spans int
	err := s.file.read.QueryRow("SELECT (SELECT count(*) FROM places), (SELECT count(*) FROM place_spans)").Scan(&places, &spans)
	if err != nil || places != 1 || spans > 5 {
		t.Error("in the file:", places, spans, err)
	}
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
}
