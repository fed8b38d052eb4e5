package store

import (
	"context"
)

// Cursors are where to resume each agent's events, by node.
func (s *Store) Cursors(ctx context.Context) (map[string]Cursor, error) {
	f, err := s.readable()
	if err != nil {
		return nil, err
	}
	cursors, err := f.cursors(ctx)
	return cursors, s.noteRead(ctx, "read the agents' cursors", err)
}

func (f *file) cursors(ctx context.Context) (map[string]Cursor, error) {
	rows, err := f.read.QueryContext(ctx, "SELECT node, boot, next FROM cursors")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	cursors := map[string]Cursor{}
	for rows.Next() {
		var c Cursor
		var next int64
		if err := rows.Scan(&c.Node, &c.Boot, &next); err != nil {
			return nil, err
		}
		c.Next = uint64(next)
		cursors[c.Node] = c
	}
	return cursors, rows.Err()
}
