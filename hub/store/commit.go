package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// Batch is what the hub has learnt since the last Commit.
type Batch struct {
	Departures []report.Departure
	Episodes   []report.Episode
	// Landings are those of all places of departures in this batch that are complete.
	Landings []Landings
	// Cursors say up to where the batch, and all before it, has read each agent's events.
	Cursors []Cursor
}

// Landings are when each place landed a departure, counted once however often they come.
type Landings struct {
	UID    string
	Places []PlaceSample
}

// PlaceSample is a place's landing in seconds after T0.
type PlaceSample struct {
	Node    string
	Kind    string
	Family  ledger.Family
	Seconds float64
}

// Cursor is where to resume an agent's events.
type Cursor struct {
	Node string
	Boot string
	Next uint64
}

// Commit stores a batch, whole or not at all. The same batch may come again, and so may the rows that the hub
// rebuilds from lines it reads again; what becomes of a row that is there already, weigh says.
//
// After an error nothing of the batch is stored: pass it again, or leave it. Its cursors are not stored either,
// so a restarted hub would read those lines again as long as the agents have them.
func (s *Store) Commit(ctx context.Context, b Batch) error {
	rows := make([]row, len(b.Departures))
	for i, d := range b.Departures {
		var err error
		if rows[i], err = s.codec.packDeparture(d); err != nil {
			return err
		}
	}
	landings := map[string][]PlaceSample{}
	for _, l := range b.Landings {
		landings[l.UID] = l.Places
	}

	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.unlock()
	f, err := s.writable(ctx)
	if err != nil {
		return err
	}
	now := s.cfg.Now()
	err = f.transact(ctx, func(t *transaction) error {
		// First, so that what this batch adds to the same places is still to be written after it.
		if err := s.places.flush(t, s.places.overdue(now)); err != nil {
			return fmt.Errorf("store the places: %w", err)
		}
		for _, e := range b.Episodes {
			if err := t.putEpisode(e); err != nil {
				return fmt.Errorf("store episode %d: %w", e.ID, err)
			}
		}
		for _, r := range rows {
			if err := t.putDeparture(r, landings[r.UID], s.places, now); err != nil {
				return fmt.Errorf("store departure %s: %w", r.UID, err)
			}
		}
		for _, c := range b.Cursors {
			if err := t.putCursor(c, now); err != nil {
				return fmt.Errorf("store the cursor of %s: %w", c.Node, err)
			}
		}
		return nil
	})
	return s.note(ctx, "commit", err)
}

func (t *transaction) putEpisode(e report.Episode) error {
	if err := t.ended(); err != nil {
		return err
	}
	text, err := json.Marshal(e)
	if err != nil {
		return err
	}
	_, err = t.exec(t.put.episode, e.ID, e.Namespace, e.Workload, e.Begun.UnixNano(), e.Ended.UnixNano(), e.Open, text)
	return err
}

func (t *transaction) putCursor(c Cursor, now time.Time) error {
	if err := t.ended(); err != nil {
		return err
	}
	_, err := t.exec(t.put.cursor, c.Node, c.Boot, int64(c.Next), now.UnixNano())
	return err
}

// putDeparture inserts or replaces a row, or leaves the stored one.
func (t *transaction) putDeparture(r row, landings []PlaceSample, p *places, now time.Time) error {
	if err := t.ended(); err != nil {
		return err
	}
	old, found, err := t.find(r.UID)
	if err != nil {
		return err
	}
	v := succeed
	if found {
		v = weigh(old, r)
	}
	if v == keep {
		return nil
	}
	at := r.T0
	switch {
	case !at.IsZero():
	case found:
		at = old.at
	default:
		at = now
	}
	before := v == improve && old.counted // the same departure was counted
	counted := before || r.Complete
	args := []any{r.UID, at.UnixNano(), r.Namespace, r.Workload, r.Pod, r.Node, string(r.Reason),
		sql.NullInt64{Int64: r.Episode, Valid: r.Episode != 0}, r.Complete, r.Pending, r.settled, nil,
		nil, nil, nil, nil, counted}
	if r.LastCall != nil {
		args[11] = r.LastCall.Hi
	}
	if l := r.last; l != nil {
		args[12], args[13], args[14], args[15] = l.node, l.kind, string(l.family), l.stage
	}
	id := old.id
	if found {
		_, err = t.exec(t.put.update, append(args, id)...)
	} else {
		var res sql.Result
		if res, err = t.exec(t.put.insert, args...); err == nil {
			id, err = res.LastInsertId()
		}
	}
	if err != nil {
		return err
	}
	if _, err := t.exec(t.put.row, id, r.json); err != nil {
		return err
	}
	// NULL says that there are none: an earlier row may have had some.
	if _, err := t.exec(t.put.places, id, r.places); err != nil {
		return err
	}
	if counted {
		t.onCommit(func() { p.count(old, before, r, landings, now) })
	}
	return nil
}

// find returns the stored row of a pod.
func (t *transaction) find(uid string) (old stored, found bool, err error) {
	var at int64
	var node, kind, family, stage sql.NullString
	err = t.queryRow(t.put.find, uid).Scan(&old.id, &at, &old.reason, &old.complete, &old.settled, &old.lastCall,
		&node, &kind, &family, &stage, &old.counted)
	if err == sql.ErrNoRows {
		return old, false, nil
	}
	old.at = time.Unix(0, at)
	if node.Valid {
		old.last = &straggler{placeKey{node.String, kind.String, ledger.Family(family.String)}, stage.String}
	}
	return old, true, err
}

// count adds a departure that is complete to the places' histograms. One that was counted before only says
// anew who was last.
func (p *places) count(old stored, before bool, r row, landings []PlaceSample, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if before && old.last != nil {
		p.straggled(*old.last, -1, now)
	}
	if r.last != nil {
		p.straggled(*r.last, +1, now)
	}
	if before {
		return
	}
	for _, l := range landings {
		p.landed(placeKey{l.Node, l.Kind, l.Family}, l.Seconds, now)
	}
}
