package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/lastcall-k8s/lastcall/hub/report"
)

// EpisodeFilter chooses episodes; a zero field does not.
type EpisodeFilter struct {
	Namespace string
	Workload  string
	Open      bool      // only those that another departure may still join
	Since     time.Time // begun at or after
	Until     time.Time // begun before
	Limit     int       // 100 if it is 0, none if it is negative
}

// Episodes lists episodes, the newest first.
func (s *Store) Episodes(ctx context.Context, f EpisodeFilter) ([]report.Episode, error) {
	q := "SELECT json FROM episodes"
	var args []any
	and := func(condition string, arg ...any) {
		q += []string{" WHERE ", " AND "}[min(len(args), 1)] + condition
		args = append(args, arg...)
	}
	if !f.Since.IsZero() {
		and("begun >= ?", f.Since.UnixNano())
	} else {
		and("begun >= ?", int64(-1)<<63)
	}
	if !f.Until.IsZero() {
		and("begun < ?", f.Until.UnixNano())
	}
	if f.Namespace != "" {
		and("namespace = ?", f.Namespace)
	}
	if f.Workload != "" {
		and("workload = ?", f.Workload)
	}
	if f.Open {
		and("open = 1")
	}
	limit := f.Limit
	if limit == 0 {
		limit = defaultLimit
	}
	file, err := s.readable()
	if err != nil {
		return nil, err
	}
	list, err := episodes(ctx, file.read, q+" ORDER BY begun DESC, id DESC LIMIT "+strconv.Itoa(limit), args...)
	return list, s.noteRead(ctx, "list episodes", err)
}

// LastEpisode returns a workload's newest episode, which a departure after a restart may still belong to.
func (s *Store) LastEpisode(ctx context.Context, namespace, workload string) (e report.Episode, found bool, err error) {
	// An empty workload is one, that of pods that nothing owns.
	file, err := s.readable()
	if err != nil {
		return e, false, err
	}
	list, err := episodes(ctx, file.read, `SELECT json FROM episodes WHERE namespace = ? AND workload = ?
		ORDER BY begun DESC, id DESC LIMIT 1`, namespace, workload)
	if err != nil || len(list) == 0 {
		return e, false, s.noteRead(ctx, "read the last episode of "+namespace+" "+workload, err)
	}
	return list[0], true, nil
}

// NextEpisodeID is a number that no episode has had, not even one that is deleted.
//
// Without it a number may be one that the file has: while this returns an error, take the seconds since 1970, which no
// counting has reached; once such an episode is stored the counting goes on from there.
func (s *Store) NextEpisodeID(ctx context.Context) (int64, error) {
	file, err := s.readable()
	if err != nil {
		return 0, err
	}
	var id int64
	err = file.read.QueryRowContext(ctx, "SELECT ifnull(max(seq), 0) + 1 FROM sqlite_sequence WHERE name = 'episodes'").Scan(&id)
	return id, s.noteRead(ctx, "read the next episode's number", err)
}

// Episode returns an episode with its departures, worst first: those with something pending, then by last call. Only
// the first have their Slowest and Strip, as many as withPlaces says.
func (s *Store) Episode(ctx context.Context, id int64, withPlaces int) (e report.Explanation, found bool, err error) {
	file, err := s.readable()
	if err != nil {
		return e, false, err
	}
	e, found, err = s.episode(ctx, file.read, id, withPlaces)
	return e, found, s.noteRead(ctx, fmt.Sprintf("read episode %d", id), err)
}

func (s *Store) episode(ctx context.Context, db *sql.DB, id int64, withPlaces int) (
	e report.Explanation, found bool, err error,
) {
	tx, err := db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true}) // what it reads is of one moment
	if err != nil {
		return e, false, err
	}
	defer tx.Rollback() // there is nothing to commit
	list, err := episodes(ctx, tx, "SELECT json FROM episodes WHERE id = ?", id)
	if err != nil || len(list) == 0 {
		return e, false, err
	}
	e.Episode = list[0]
	rows, err := s.list(ctx, tx, query{where: []string{"episode = ?"}, args: []any{id}, limit: -1})
	if err != nil {
		return e, false, err
	}
	e.Departures = departures(rows)
	slices.SortStableFunc(e.Departures, report.Worse)
	for i := range e.Departures[:min(max(withPlaces, 0), len(e.Departures))] {
		full, err := s.list(ctx, tx, one(e.Departures[i].UID))
		if err != nil {
			return e, false, err
		}
		e.Departures[i] = full[0].Departure
	}
	return e, true, nil
}

func episodes(ctx context.Context, db querier, query string, args ...any) ([]report.Episode, error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []report.Episode
	for rows.Next() {
		var text []byte
		if err := rows.Scan(&text); err != nil {
			return nil, err
		}
		var e report.Episode
		if err := json.Unmarshal(text, &e); err != nil {
			return nil, faultf(Broken, "decode an episode: %w", err)
		}
		list = append(list, e)
	}
	return list, rows.Err()
}
