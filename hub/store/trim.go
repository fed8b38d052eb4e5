package store

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"time"
)

const (
	trimEvery  = time.Minute
	trimAtOnce = 200                 // rows in one transaction: a commit waits for no more
	freeAtOnce = 256                 // pages, likewise
	cursorsFor = 30 * 24 * time.Hour // after which an agent that says nothing is gone
)

// Run keeps the bounds of retention until ctx ends.
func (s *Store) Run(ctx context.Context) error {
	tick := time.NewTicker(trimEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := s.Trim(ctx); err != nil && ctx.Err() == nil {
				s.cfg.Log.Warn("cannot delete old rows", "err", err)
			}
		}
	}
}

// Trim deletes what is older than the age or, oldest first, more than the bytes to retain, and gives back free pages
// of the file. It works in small transactions, between which commits go first.
//
// It starts at 95 % of the bytes and ends at 90 %: deleted pages are used again, so the file stops growing below
// the bound, and gets smaller only where the bound did.
func (s *Store) Trim(ctx context.Context) error {
	now := s.cfg.Now()
	cutoff := time.Unix(0, math.MinInt64)
	if s.cfg.RetentionAge > 0 {
		cutoff = now.Add(-s.cfg.RetentionAge)
	}
	steps := []func(*trimming) (more bool, err error){
		s.flushPlaces, s.trimAge, s.trimBytes, s.trimEpisodes, s.trimPlaces, s.trimCursors, s.trimFree,
	}
	t := &trimming{now: now, cutoff: cutoff}
	for _, step := range steps {
		for more := true; more; {
			var err error
			if more, err = s.trimOnce(ctx, t, step); err != nil {
				return err
			}
		}
	}
	return nil
}

// trimming is one call of Trim.
type trimming struct {
	*transaction
	now, cutoff time.Time
	over        bool // the bytes were exceeded, and are brought down
}

func (s *Store) trimOnce(ctx context.Context, t *trimming, step func(*trimming) (bool, error)) (more bool, err error) {
	if err := s.lock(ctx); err != nil {
		return false, err
	}
	defer s.unlock()
	f, err := s.writable(ctx)
	if err != nil {
		return false, err
	}
	err = f.transact(ctx, func(tx *transaction) (err error) {
		t.transaction = tx
		more, err = step(t)
		return err
	})
	if err != nil {
		return false, s.note(ctx, "delete old rows", err)
	}
	return more, nil
}

// The steps delete up to trimAtOnce of something, and say whether there is more.

func (s *Store) trimAge(t *trimming) (more bool, err error) {
	return t.delete("DELETE FROM departures WHERE id IN (SELECT id FROM departures WHERE at < ? ORDER BY at LIMIT ?)",
		t.cutoff.UnixNano(), trimAtOnce)
}

func (s *Store) trimBytes(t *trimming) (more bool, err error) {
	bound := s.bound()
	if bound <= 0 {
		return false, nil
	}
	p, err := t.pages()
	if err != nil {
		return false, err
	}
	// A reader that does not end can make the log grow with what is deleted: it must not make us delete everything.
	used := (p.count-p.free)*p.size + min(s.logBytes(), walLimit)
	percent := int64(95)
	if t.over {
		percent = 90
	}
	if used <= bound/100*percent {
		return false, nil
	}
	t.over = true
	return t.delete("DELETE FROM departures WHERE id IN (SELECT id FROM departures ORDER BY at LIMIT ?)", trimAtOnce)
}

// bound is what the file may take: at most nine tenths of its volume. Once we had filled that ourselves, nothing could
// be deleted any more: a delete needs space in the log, and moving the log into the file needs space there.
func (s *Store) bound() int64 {
	bound, volume := s.cfg.RetentionBytes, volumeBytes(s.path)/10*9
	if bound <= 0 || volume > 0 && volume < bound {
		bound = volume
	}
	return bound
}

// trimEpisodes deletes those that ended before the cutoff, or before every departure that is left after deleting for
// bytes, and have no departure.
func (s *Store) trimEpisodes(t *trimming) (more bool, err error) {
	before := t.cutoff.UnixNano()
	if t.over {
		var oldest sql.NullInt64
		if err := t.tx.QueryRowContext(t.never, "SELECT min(at) FROM departures").Scan(&oldest); err != nil {
			return false, err
		}
		before = max(before, oldest.Int64)
	}
	return t.delete(`DELETE FROM episodes WHERE id IN (SELECT id FROM episodes e WHERE ended < ?
		AND NOT EXISTS (SELECT 1 FROM departures WHERE episode = e.id) ORDER BY ended LIMIT ?)`, before, trimAtOnce)
}

func (s *Store) trimCursors(t *trimming) (more bool, err error) {
	return t.delete("DELETE FROM cursors WHERE node IN (SELECT node FROM cursors WHERE updated < ? LIMIT ?)",
		t.now.Add(-cursorsFor).UnixNano(), trimAtOnce)
}

func (s *Store) trimPlaces(t *trimming) (more bool, err error) {
	return s.places.forget(t.transaction, t.cutoff, trimAtOnce)
}

// flushPlaces is for a hub without a commit.
func (s *Store) flushPlaces(t *trimming) (more bool, err error) {
	due := s.places.overdue(t.now)
	return len(due) == flushAtOnce, s.places.flush(t.transaction, due)
}

// trimFree gives pages back to the disk. It keeps some for the next rows: taking them anew costs more than keeping them.
func (s *Store) trimFree(t *trimming) (more bool, err error) {
	p, err := t.pages()
	if err != nil || p.free <= p.count/10+freeAtOnce {
		return false, err
	}
	if _, err = t.tx.ExecContext(t.never, fmt.Sprintf("PRAGMA incremental_vacuum(%d)", freeAtOnce)); err != nil {
		return false, err
	}
	after, err := t.pages()
	return after.free < p.free, err // a file that was made without auto_vacuum gives nothing back
}

// delete runs a statement whose last argument is how many it may delete.
func (t *trimming) delete(query string, args ...any) (more bool, err error) {
	res, err := t.tx.ExecContext(t.never, query, args...)
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n == trimAtOnce, err
}

type pages struct{ count, free, size int64 }

func (t *trimming) pages() (p pages, err error) {
	err = t.tx.QueryRowContext(t.never, `SELECT page_count, freelist_count, page_size
		FROM pragma_page_count, pragma_freelist_count, pragma_page_size`).Scan(&p.count, &p.free, &p.size)
	return p, err
}
