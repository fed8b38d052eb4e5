package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// statements are those of the writer, prepared once.
type statements struct {
	find, insert, update, row, places *sql.Stmt // of a departure
	episode, cursor                   *sql.Stmt
	place, span                       *sql.Stmt
}

func prepareStatements(ctx context.Context, db *sql.DB) (s statements, err error) {
	for _, p := range []struct {
		to    **sql.Stmt
		query string
	}{
		{&s.find, `SELECT id, at, reason, complete, settled, last_call, last_node, last_kind, last_family, last_stage, counted
			FROM departures WHERE uid = ?`},
		{&s.insert, `INSERT INTO departures (uid, at, namespace, workload, pod, node, reason, episode, complete, pending,
			settled, last_call, last_node, last_kind, last_family, last_stage, counted)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`},
		{&s.update, `UPDATE departures SET uid = ?, at = ?, namespace = ?, workload = ?, pod = ?, node = ?, reason = ?,
			episode = ?, complete = ?, pending = ?, settled = ?, last_call = ?, last_node = ?, last_kind = ?,
			last_family = ?, last_stage = ?, counted = ? WHERE id = ?`},
		{&s.row, `INSERT INTO departure_rows (id, json) VALUES (?, ?) ON CONFLICT DO UPDATE SET json = excluded.json`},
		{&s.places, `INSERT INTO departure_places (id, json) VALUES (?, ?) ON CONFLICT DO UPDATE SET json = excluded.json`},
		{&s.episode, `INSERT INTO episodes (id, namespace, workload, begun, ended, open, json) VALUES (?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT DO UPDATE SET namespace = excluded.namespace, workload = excluded.workload, begun = excluded.begun,
			ended = excluded.ended, open = excluded.open, json = excluded.json`},
		// The same batch may come again: within a boot a cursor only moves on.
		{&s.cursor, `INSERT INTO cursors (node, boot, next, updated) VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET
			next = iif(boot = excluded.boot, max(next, excluded.next), excluded.next),
			boot = excluded.boot, updated = excluded.updated`},
		{&s.place, `INSERT INTO places (node, kind, family) VALUES (?, ?, ?)
			ON CONFLICT DO UPDATE SET kind = kind RETURNING id`},
		{&s.span, `INSERT INTO place_spans (place, since, until, landed, max, last, api, watch, program)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET until = excluded.until, landed = excluded.landed,
			max = excluded.max, last = excluded.last, api = excluded.api, watch = excluded.watch, program = excluded.program`},
	} {
		if *p.to, err = db.PrepareContext(ctx, p.query); err != nil {
			return s, errors.Join(fmt.Errorf("prepare %q: %w", p.query, err), s.close())
		}
	}
	return s, nil
}

func (s *statements) close() error {
	var errs []error
	for _, st := range []*sql.Stmt{s.find, s.insert, s.update, s.row, s.places, s.episode, s.cursor, s.place, s.span} {
		if st != nil {
			errs = append(errs, st.Close())
		}
	}
	return errors.Join(errs...)
}
