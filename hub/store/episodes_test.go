package store

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lastcall-k8s/lastcall/hub/report"
)

func TestEpisodes(t *testing.T) {
	path := newPath(t)
	s := open(t, path, Config{})
	if id, err := s.NextEpisodeID(t.Context()); id != 1 || err != nil {
		t.Fatal(id, err)
	}
	var b Batch
	for i := range 12 {
		b.Episodes = append(b.Episodes, report.Episode{ID: int64(i + 1), Namespace: []string{"prod", "test"}[i%2],
			Workload: fmt.Sprintf("deployment/app-%d", i%3), Tag: report.Rollout, Open: i > 9,
			Begun: epoch.Add(time.Duration(i) * time.Hour), Ended: epoch.Add(time.Duration(i)*time.Hour + time.Minute)})
	}
	b.Episodes = append(b.Episodes, report.Episode{ID: 13, Namespace: "prod", Begun: epoch, Ended: epoch}) // nothing owns its pods
	commit(t, s, b)
	b.Episodes[11].Left = 7
	commit(t, s, b) // replaced, not added
	if id, err := s.NextEpisodeID(t.Context()); id != 14 || err != nil {
		t.Error(id, err)
	}
	for _, c := range []struct {
		f    EpisodeFilter
		want []int64
	}{
		{EpisodeFilter{}, []int64{12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 13, 1}},
		{EpisodeFilter{Limit: 2}, []int64{12, 11}},
		{EpisodeFilter{Namespace: "test"}, []int64{12, 10, 8, 6, 4, 2}},
		{EpisodeFilter{Namespace: "test", Workload: "deployment/app-0"}, []int64{10, 4}},
		{EpisodeFilter{Open: true}, []int64{12, 11}},
		{EpisodeFilter{Since: epoch.Add(3 * time.Hour), Until: epoch.Add(5 * time.Hour)}, []int64{5, 4}},
	} {
		list, err := s.Episodes(t.Context(), c.f)
		var got []int64
		for _, e := range list {
			got = append(got, e.ID)
		}
		if d := cmp.Diff(c.want, got); d != "" || err != nil {
			t.Errorf("%+v: %s %v", c.f, d, err)
		}
	}
	last, found, err := s.LastEpisode(t.Context(), "test", "deployment/app-2")
	if d := cmp.Diff(b.Episodes[11], last); d != "" || !found || err != nil {
		t.Error(d, found, err)
	}
	if e, found, err := s.LastEpisode(t.Context(), "prod", ""); e.ID != 13 || !found || err != nil {
		t.Error(e, found, err)
	}
	if _, found, err := s.LastEpisode(t.Context(), "test", "deployment/none"); found || err != nil {
		t.Error(found, err)
	}
}

func TestEpisodeWorstFirst(t *testing.T) {
	s := open(t, newPath(t), Config{})
	b := Batch{Episodes: []report.Episode{{ID: 5, Begun: epoch, Ended: epoch}}}
	for i, hi := range []float64{1, 9, 0, 4} {
		d := departure(fmt.Sprint(i), i)
		d.Episode = 5
		if d.LastCall = nil; hi > 0 {
			d.LastCall = &report.Span{Hi: hi}
		}
		b.Departures = append(b.Departures, d)
	}
	pending := departure("pending", 1)
	pending.Episode, pending.Pending, pending.Complete = 5, 1, false
	b.Departures = append(b.Departures, pending, departure("of another", 2))
	commit(t, s, b)
	e, found, err := s.Episode(t.Context(), 5, 2)
	if err != nil || !found || e.Episode.ID != 5 {
		t.Fatal(e, found, err)
	}
	var order []string
	var places []bool
	for _, d := range e.Departures {
		order, places = append(order, d.UID), append(places, d.Slowest != nil)
	}
	if d := cmp.Diff([]string{"pending", "1", "3", "0", "2"}, order); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]bool{true, true, false, false, false}, places); d != "" {
		t.Error(d)
	}
	if _, found, err := s.Episode(t.Context(), 6, 0); found || err != nil {
		t.Error(found, err)
	}
}
