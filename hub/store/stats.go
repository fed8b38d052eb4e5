package store

import (
	"context"
	"database/sql"
	"errors"
	"time"
)

// Stats is what the store holds.
type Stats struct {
	Departures int
	Incomplete int
	Episodes   int
	Oldest     time.Time // of the departures, zero if there are none
	Bytes      int64     // the file with its log
	Free       int64     // of these, bytes that the next rows take before the file grows
}

// Stats counts. Over 100,000 departures it takes a few milliseconds.
func (s *Store) Stats(ctx context.Context) (Stats, error) {
	f, err := s.readable()
	if err != nil {
		return Stats{}, err
	}
	st := Stats{Bytes: s.Bytes()}
	var oldest sql.NullInt64
	var free, page int64
	err = f.read.QueryRowContext(ctx, `SELECT (SELECT count(*) FROM departures),
		(SELECT count(*) FROM departures WHERE complete = 0), (SELECT count(*) FROM episodes),
		(SELECT min(at) FROM departures), freelist_count, page_size
		FROM pragma_freelist_count, pragma_page_size`).Scan(&st.Departures, &st.Incomplete, &st.Episodes, &oldest, &free, &page)
	if oldest.Valid {
		st.Oldest = time.Unix(0, oldest.Int64)
	}
	st.Free = free * page
	return st, s.noteRead(ctx, "count rows", err)
}

// Check reads the whole file and returns what is wrong with it, if anything. It takes a second for some 200 MB and blocks
// nobody. Nothing depends on it: damage is found when it is met, too.
func (s *Store) Check(ctx context.Context) error {
	f, err := s.readable()
	if err != nil {
		return err
	}
	var said string
	err = f.read.QueryRowContext(ctx, "PRAGMA integrity_check(1)").Scan(&said)
	if err == nil && said != "ok" {
		err = &fault{Broken, errors.New(said)}
	}
	return s.noteRead(ctx, "check", err)
}
