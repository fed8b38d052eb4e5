package pages

import (
	"cmp"
	"slices"
	"time"

	"github.com/lastcall-k8s/lastcall/hub/report"
)

// timeline draws the departures of an episode on the wall clock. Each row has the two things that run in parallel:
// above, for how long nodes still routed to the pod; below, for how long it served on purpose. Where the first
// outlasts the second, connections reach a stopping server.
type timeline struct {
	chart
	Caption string
	Rows    []podRow
	More    string // departures without a row, and why
	Legend  struct{ Late, Unsure, Open bool }
}

type podRow struct {
	Pod, Short, URL string
	Began           pct
	Routed, Late    *bar // until told to stop, and after that
	Serving, Unsure *bar // until told to stop at the earliest, and at the latest
	Open            *bar
	LastCall        *pct
	LetGo           string
	Desc            string
}

// timelineRoom is how many rows the timeline has: the worst.
const timelineRoom = 48

func newTimeline(departures []report.Departure, root string) *timeline {
	var shown []report.Departure
	for _, d := range departures {
		if !d.T0.IsZero() && len(shown) < timelineRoom {
			shown = append(shown, d)
		}
	}
	if len(shown) == 0 {
		return nil
	}
	slices.SortStableFunc(shown, func(a, b report.Departure) int {
		return cmp.Or(a.T0.Compare(b.T0), cmp.Compare(a.Pod, b.Pod))
	})
	begun := shown[0].T0
	length := 0.0
	for _, d := range shown {
		length = max(length, d.T0.Sub(begun).Seconds()+visible(d))
	}
	length = max(length, 0.001)
	air := 0.03 * length // so that the first sign is not on the edge
	begun = begun.Add(-time.Duration(air * float64(time.Second)))
	s := newScale([]point{{at: length + air}})
	t := &timeline{chart: newChart(nil, s.clockTicks(begun, s.end()), nil)}
	t.Caption = "One row per pod, in the order in which they began to leave, on " + begun.UTC().Format("2006-01-02") + " (UTC)."
	for _, d := range shown {
		r := newPodRow(d, d.T0.Sub(begun).Seconds(), s, root)
		t.Legend.Late = t.Legend.Late || r.Late != nil
		t.Legend.Unsure = t.Legend.Unsure || r.Unsure != nil
		t.Legend.Open = t.Legend.Open || r.Open != nil
		t.Rows = append(t.Rows, r)
	}
	if n := len(departures) - len(shown); n > 0 {
		t.More = report.Plural(n, "departure") + " not drawn: only the worst are, and only those whose beginning is known."
	}
	return t
}

// visible is how long after T0 a departure's row must reach.
func visible(d report.Departure) float64 {
	v := 0.0
	if d.Told != nil {
		v = d.Told.Lo
		if d.Told.Lo > 0 {
			v = d.Told.Hi
		}
	}
	if d.LastCall != nil {
		v = max(v, d.LastCall.Hi)
	}
	if d.Pending > 0 {
		v = max(v, d.Age)
	}
	return v
}

// newPodRow draws a departure that began so many seconds after the axis.
func newPodRow(d report.Departure, began float64, s scale, root string) podRow {
	r := podRow{
		Pod: report.Visible(d.Pod), Short: report.Shorten(d.Pod, nameRoom), URL: departureURL(root, d.UID),
		Began: s.at(began), LetGo: d.LastCallWords(),
	}
	r.Desc = r.Pod + " began to leave at " + d.T0.UTC().Format("15:04:05.000") + "; told to stop " + d.ToldWords() +
		"; last call " + r.LetGo + "; late: " + d.Late.Words()
	draw := func(class string, from, to float64, y int, what string) *bar {
		if !(to > from) {
			return nil
		}
		x := s.at(began + from)
		return &bar{Class: class, X: x, W: s.at(began+to) - x, Y: y, H: 8, Pieces: what}
	}
	end := 0.0
	switch {
	case d.Pending > 0:
		end = d.Age
	case d.LastCall != nil:
		end = d.LastCall.Hi
		at := s.at(began + end)
		r.LastCall = &at
	}
	told := end
	if d.Told != nil {
		r.Serving = draw("serving", 0, d.Told.Lo, 16, "served on purpose until told to stop "+d.ToldWords())
		r.Unsure = draw("unsure", d.Told.Lo, d.Told.Hi, 16, "told to stop somewhere in here")
		if d.Late == report.Yes {
			told = min(max(d.Told.Lo, 0), end)
		}
	}
	r.Routed = draw("routed", 0, told, 5, "nodes still routed to it")
	r.Late = draw("late", told, end, 5, "nodes still routed to it after it had been told to stop")
	if d.Pending > 0 {
		r.Open = draw("open", told, end, 5, "still routed")
		r.Late = nil
		if r.Open == nil {
			r.Open = draw("open", 0, end, 5, "still routed")
			r.Routed = nil
		}
	}
	return r
}
