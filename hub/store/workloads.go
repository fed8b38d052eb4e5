package store

import (
	"context"
	"time"

	"github.com/lastcall-k8s/lastcall/hub/report"
)

// Workload is one of which pods left.
type Workload struct {
	Namespace string
	Workload  string
	Newest    time.Time // when its newest episode began
}

// Workloads lists those that have episodes, in no order. It reads an index only.
func (s *Store) Workloads(ctx context.Context) ([]Workload, error) {
	file, err := s.readable()
	if err != nil {
		return nil, err
	}
	list, err := workloads(ctx, file.read)
	return list, s.noteRead(ctx, "list workloads", err)
}

func workloads(ctx context.Context, db querier) (list []Workload, err error) {
	rows, err := db.QueryContext(ctx, "SELECT namespace, workload, max(begun) FROM episodes INDEXED BY episodes_workload GROUP BY namespace, workload")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var w Workload
		var newest int64
		if err := rows.Scan(&w.Namespace, &w.Workload, &newest); err != nil {
			return nil, err
		}
		w.Newest = time.Unix(0, newest)
		list = append(list, w)
	}
	return list, rows.Err()
}

// EpisodeRows gives f the rows of an episode one by one, with their places and in no order, so that an episode of thousands of
// pods is not held at once. It stops when f returns false.
func (s *Store) EpisodeRows(ctx context.Context, id int64, f func(report.Departure) bool) error {
	file, err := s.readable()
	if err != nil {
		return err
	}
	return s.noteRead(ctx, "read the rows of an episode", s.episodeRows(ctx, file.read, id, f))
}

func (s *Store) episodeRows(ctx context.Context, db querier, id int64, f func(report.Departure) bool) error {
	text, args := query{places: true, where: []string{"episode = ?"}, args: []any{id}, limit: -1}.sql()
	rows, err := db.QueryContext(ctx, text, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var at, row int64
		var text, places []byte
		if err := rows.Scan(&row, &at, &text, &places); err != nil {
			return err
		}
		d, err := s.codec.unpackDeparture(text, places)
		if err != nil {
			return err
		}
		if !f(d) {
			break
		}
	}
	return rows.Err()
}
