package store

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/lastcall-k8s/lastcall/hub/report"
)

func TestRunEndsWithItsContext(t *testing.T) {
	s := open(t, newPath(t), Config{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Run(ctx); err != nil {
		t.Error(err)
	}
}

func TestTrimByAge(t *testing.T) {
	clock := newClock()
	s := open(t, newPath(t), Config{Now: clock.now, RetentionAge: 24 * time.Hour})
	var b Batch
	for i := range 500 { // 50 h, in 10 episodes
		d := departure(fmt.Sprint(i), 6*i)
		d.Episode = int64(1 + i/50)
		b.Departures = append(b.Departures, d)
		if i%50 == 49 {
			b.Episodes = append(b.Episodes, report.Episode{ID: d.Episode, Namespace: "prod", Begun: d.T0, Ended: d.T0})
		}
	}
	b.Cursors = []Cursor{{"gone", "b", 1}}
	commit(t, s, b)
	clock.advance(50 * time.Hour)
	commit(t, s, Batch{Cursors: []Cursor{{"here", "b", 1}}})
	if err := s.Trim(t.Context()); err != nil {
		t.Fatal(err)
	}
	st, err := s.Stats(t.Context())
	if err != nil || st.Departures != 240 || st.Oldest.Before(clock.now().Add(-24*time.Hour)) {
		t.Error(st, err)
	}
	if st.Episodes != 5 { // 300 of 500 are in 6 whole ones; the sixth's first rows are gone, its last are not
		t.Error("episodes left:", st.Episodes)
	}
	var rows, places int
	if err := s.file.read.QueryRow("SELECT (SELECT count(*) FROM departure_rows), (SELECT count(*) FROM departure_places)").
		Scan(&rows, &places); rows != 240 || places != 240 || err != nil {
		t.Error("JSON goes with its row:", rows, places, err)
	}
	clock.advance(cursorsFor)
	commit(t, s, Batch{Cursors: []Cursor{{"here", "b", 2}}})
	if err := s.Trim(t.Context()); err != nil {
		t.Fatal(err)
	}
	if c, err := s.Cursors(t.Context()); len(c) != 1 || c["here"].Next != 2 || err != nil {
		t.Error(c, err)
	}
	if st, err := s.Stats(t.Context()); st.Departures != 0 || st.Episodes != 0 || err != nil {
		t.Error(st, err)
	}
	if id, err := s.NextEpisodeID(t.Context()); id != 11 || err != nil {
		t.Error("a number never comes back:", id, err)
	}
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// The file stays below the bound while rows come, keeps the newest, and follows a bound that is lowered.
func TestTrimByBytes(t *testing.T) {
	const bound = 8 << 20
	path := newPath(t)
	s := open(t, path, Config{RetentionBytes: bound})
	r := rand.New(rand.NewPCG(5, 6))
	var most int64
	const n = 4000
	for i := 0; i < n; i += 100 {
		var b Batch
		for j := range 100 {
			d := large(r, epoch.Add(time.Duration(i+j)*time.Second))
			d.UID, d.Episode = fmt.Sprint(i+j), int64(1+(i+j)/50)
			b.Departures = append(b.Departures, d)
			if j%50 == 49 {
				b.Episodes = append(b.Episodes, report.Episode{ID: d.Episode, Begun: d.T0, Ended: d.T0})
			}
		}
		commit(t, s, b)
		if err := s.Trim(t.Context()); err != nil {
			t.Fatal(err)
		}
		most = max(most, s.Bytes())
	}
	st, err := s.Stats(t.Context())
	if err != nil || most > bound || st.Departures < 500 || st.Departures > n/2 {
		t.Fatal("at most", most, st, err)
	}
	if _, found, err := s.Departure(t.Context(), fmt.Sprint(n-st.Departures)); !found || err != nil {
		t.Error("the newest are kept:", found, err)
	}
	if st.Episodes > st.Departures/50+1 {
		t.Error(st.Episodes, "episodes of", st.Departures, "departures")
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("at most %d of %d bytes, %d rows", most, bound, st.Departures)

	s = open(t, path, Config{RetentionBytes: bound / 4})
	if err := s.Trim(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := s.Bytes(); got > bound/4*12/10 {
		t.Errorf("%d bytes of %d", got, bound/4)
	}
}
