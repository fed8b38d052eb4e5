package ledger

import (
	"encoding/json"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// TestSeriesBounds: whatever the moments are, the true count lies within the bounds, and in them the bounds are
// no further apart than the cells that the asked interval touches.
func TestSeriesBounds(t *testing.T) {
	start := time.Unix(1_800_000_000, 0)
	r := rand.New(rand.NewPCG(1, 2))
	for _, span := range []time.Duration{time.Second, 20 * time.Second, 30 * time.Minute} {
		s := NewSeries(start)
		var at []time.Time
		for range 2000 {
			at = append(at, start.Add(time.Duration(r.Int64N(int64(span)))))
			s.Add(at[len(at)-1])
		}
		if len(s.Counts) > SeriesCells {
			t.Errorf("%v: %d cells", span, len(s.Counts))
		}
		for range 200 {
			lo := start.Add(time.Duration(r.Int64N(int64(span))))
			hi := lo.Add(time.Second)
			after := func(m time.Time) (n int) {
				for _, x := range at {
					if x.After(m) {
						n++
					}
				}
				return n
			}
			least, most := s.After(lo, hi)
			if least > after(hi) || most < after(lo) {
				t.Fatalf("%v: %d to %d, true are %d after hi and %d after lo", span, least, most, after(hi), after(lo))
			}
			cell := time.Duration(s.Width * float64(time.Second))
			if least < after(hi.Add(cell)) || most > after(lo.Add(-cell)) {
				t.Fatalf("%v: %d to %d is wider than a cell of %v makes it", span, least, most, cell)
			}
		}
	}
	var none *Series
	if least, most := none.After(start, start); least != 0 || most != 0 {
		t.Errorf("no series has %d to %d", least, most)
	}
}

// TestWitnessLine: what a witness summed up is one line, its moments on the timeline, and the caller's value stays as it is.
func TestWitnessLine(t *testing.T) {
	at := time.Unix(1_800_000_000, 0).UTC()
	ring := NewRing("b", 1<<20, time.Hour, func(t time.Time) time.Time { return t.Add(time.Hour) })
	l := New(Config{Place: "kube-proxy", Metrics: NewMetrics(prometheus.NewRegistry(), "kube-proxy", func() float64 { return 0 }), Events: ring})
	w := Witness{Own: true, Since: at, Until: at.Add(time.Minute), DNAT: Flows{New: 3, Reset: 1, Silent: 1}, Last: at.Add(time.Second),
		Began: NewSeries(at), Drain: &Drain{Closed: 1, Last: at.Add(2 * time.Second), Ended: NewSeries(at), Resets: NewSeries(at), Accepted: at.Add(time.Second)}, Incomplete: []Missed{MissedRate}}
	w.Began.Add(at.Add(time.Second))
	l.Witnessed("u", w)
	lines, _, _ := ring.Since(1)
	var e Event
	if err := json.Unmarshal(lines[0], &e); err != nil || len(lines) != 1 {
		t.Fatalf("%d lines: %v", len(lines), err)
	}
	if e.Type != EventWitness || e.UID != "u" || e.Witness == nil {
		t.Fatalf("line %s", lines[0])
	}
	got := e.Witness
	for _, m := range []struct{ got, was time.Time }{{e.At, w.Until}, {got.Since, w.Since}, {got.Until, w.Until}, {got.Last, w.Last},
		{got.Began.Start, w.Began.Start}, {got.Drain.Last, w.Drain.Last}, {got.Drain.Ended.Start, w.Drain.Ended.Start},
		{got.Drain.Resets.Start, w.Drain.Resets.Start}, {got.Drain.Accepted, w.Drain.Accepted}} {
		if !m.got.Equal(m.was.Add(time.Hour)) {
			t.Errorf("%v was written for %v", m.got, m.was)
		}
	}
	if !got.LastRefused.IsZero() || got.DNAT != w.DNAT || got.DNAT.Refused() != 2 || len(got.Incomplete) != 1 {
		t.Errorf("line %s", lines[0])
	}
	if !w.Since.Equal(at) || !w.Began.Start.Equal(at) || !w.Drain.Last.Equal(at.Add(2*time.Second)) {
		t.Error("the caller's value was moved")
	}
}
