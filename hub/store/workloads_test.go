package store

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lastcall-k8s/lastcall/hub/report"
)

func TestWorkloads(t *testing.T) {
	s := open(t, newPath(t), Config{})
	at := func(minute int) time.Time { return epoch.Add(time.Duration(minute) * time.Minute) }
	var b Batch
	for i, e := range []report.Episode{{Namespace: "prod", Workload: "deployment/shop"}, {Namespace: "prod", Workload: "statefulset/db"},
		{Namespace: "prod", Workload: "deployment/shop"}, {Namespace: "test", Workload: "deployment/shop"}} {
		e.ID, e.Begun, e.Ended = int64(i+1), at(i), at(i)
		b.Episodes = append(b.Episodes, e)
		for _, pod := range []string{"a", "b", "c"} {
			d := departure(pod+string(rune('0'+i)), i)
			d.Episode, d.Namespace, d.Workload = e.ID, e.Namespace, e.Workload
			b.Departures = append(b.Departures, d)
		}
	}
	commit(t, s, b)
	got, err := s.Workloads(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(got, func(a, b Workload) int {
		return strings.Compare(a.Namespace+a.Workload, b.Namespace+b.Workload)
	})
	want := []Workload{{"prod", "deployment/shop", at(2)}, {"prod", "statefulset/db", at(1)}, {"test", "deployment/shop", at(3)}}
	if !slices.EqualFunc(got, want, func(a, b Workload) bool {
		return a.Namespace == b.Namespace && a.Workload == b.Workload && a.Newest.Equal(b.Newest)
	}) {
		t.Errorf("%v, want %v", got, want)
	}

	var uids []string
	if err := s.EpisodeRows(t.Context(), 3, func(d report.Departure) bool {
		if len(d.Slowest) != 1 || d.Slowest[0].Node != "node-b" {
			t.Errorf("%s has no places: %+v", d.UID, d.Slowest)
		}
		uids = append(uids, d.UID)
		return true
	}); err != nil {
		t.Fatal(err)
	}
	slices.Sort(uids)
	if !slices.Equal(uids, []string{"a2", "b2", "c2"}) {
		t.Errorf("rows %v", uids)
	}
	n := 0
	if err := s.EpisodeRows(t.Context(), 3, func(report.Departure) bool { n++; return false }); err != nil || n != 1 {
		t.Errorf("%d rows after the first was enough, %v", n, err)
	}
}

// BenchmarkEpisodeRows reads rows of a cluster of 5,000 nodes with their places, which is most of what a recommendation costs.
func BenchmarkEpisodeRows(b *testing.B) {
	s := open(b, newPath(b), Config{})
	r := rand.New(rand.NewPCG(1, 2))
	var batch Batch
	for range 100 {
		d := large(r, epoch)
		d.Episode = 1
		batch.Departures = append(batch.Departures, d)
	}
	commit(b, s, batch)
	for b.Loop() {
		n := 0
		if err := s.EpisodeRows(b.Context(), 1, func(report.Departure) bool { n++; return true }); err != nil || n != 100 {
			b.Fatal(n, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/100, "us/row")
}
