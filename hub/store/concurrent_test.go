package store

import (
	"fmt"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lastcall-k8s/lastcall/hub/report"
)

func TestReadersAndTheWriterDoNotWaitForEachOther(t *testing.T) {
	s := open(t, newPath(t), Config{})
	commit(t, s, Batch{Departures: []report.Departure{departure("a", 0), departure("b", 1)}})

	// A reader in the middle of its rows does not block a commit, nor does it see it.
	tx, err := s.file.read.Begin()
	if err != nil {
		t.Fatal(err)
	}
	rows, err := tx.Query("SELECT id FROM departures")
	if err != nil || !rows.Next() {
		t.Fatal(err)
	}
	commit(t, s, Batch{Departures: []report.Departure{departure("c", 2)}})
	n := 1
	for rows.Next() {
		n++
	}
	if rows.Err() != nil || n != 2 {
		t.Error(n, rows.Err())
	}
	if err := tx.Rollback(); err != nil {
		t.Error(err)
	}

	// A write in progress does not block a reader.
	err = s.file.transact(t.Context(), func(w *transaction) error {
		if _, err := w.tx.Exec("DELETE FROM departures"); err != nil {
			return err
		}
		page, err := s.Departures(t.Context(), Filter{})
		if len(page.Departures) != 3 {
			t.Error("read during a write:", len(page.Departures), err)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestConcurrentUse(t *testing.T) {
	clock := newClock()
	s := open(t, newPath(t), Config{Now: clock.now, RetentionAge: 3 * time.Hour})
	const batches, rows = 60, 4
	written := make(chan struct{})
	var g errgroup.Group
	g.Go(func() error {
		defer close(written)
		for i := range batches {
			b := Batch{Episodes: []report.Episode{{ID: int64(i + 1), Begun: clock.now(), Ended: clock.now()}},
				Cursors: []Cursor{{"n", "b", uint64(i)}}}
			for j := range rows {
				uid := fmt.Sprint(i, "-", j)
				d := departure(uid, 10*i)
				d.Episode = int64(i + 1)
				b.Departures = append(b.Departures, d)
				b.Landings = append(b.Landings, landings(uid, 3, 1))
			}
			if err := s.Commit(t.Context(), b); err != nil {
				return err
			}
			clock.advance(10 * time.Minute)
		}
		return nil
	})
	for _, read := range []func() error{
		func() error { return s.Trim(t.Context()) },
		func() error {
			page, err := s.Departures(t.Context(), Filter{Limit: 50})
			if err == nil && len(page.Departures)%rows != 0 && len(page.Departures) < 50 {
				err = fmt.Errorf("half a batch: %d rows", len(page.Departures))
			}
			return err
		},
		func() error {
			list, err := s.Episodes(t.Context(), EpisodeFilter{Limit: 1})
			for _, e := range list {
				var whole report.Explanation
				if whole, _, err = s.Episode(t.Context(), e.ID, 1); err == nil && len(whole.Departures) != rows {
					err = fmt.Errorf("half an episode: %d rows", len(whole.Departures))
				}
			}
			return err
		},
		func() error {
			s.Places()
			_, err := s.Cursors(t.Context())
			return err
		},
		func() error {
			s.Bytes()
			_, err := s.Stats(t.Context())
			return err
		},
	} {
		g.Go(func() error {
			for {
				select {
				case <-written:
					return nil
				default:
					if err := read(); err != nil {
						return err
					}
				}
			}
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
}
