package pages

import (
	"fmt"
	"time"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/hub/sizing"
)

// spread draws a workload's episodes against what preStop sleeps and what it should: all of them as a distribution, then
// the newest one by one. What lies right of today's preStop came too late for it.
type spread struct {
	chart
	Caption string
	Heap    *heap
	Rows    []episodeBar
	Legend  struct{ Within, Beyond, AtLeast, Other, Breaks, More bool }
}

// heap is the distribution: columns of episodes.
type heap struct {
	Columns []bar
	Total   string
	Note    string
	Desc    string
}

// episodeBar is one episode.
type episodeBar struct {
	Began, What, URL string
	Bar, Beyond      *bar
	AtLeast          *bar // it was longer than that
	Cap              *pct
	Took             string
	Note             string // why it is not in the number
	Driver           string // who was last, if a much smaller number would do without it
	Late, Class      string
	Desc             string
}

const (
	heapHeight  = 64 // px
	heapColumns = 60
)

// newSpread needs no advice: without one, only the episodes are drawn.
func newSpread(a *sizing.Advice, x Workload, now time.Time, root string) *spread {
	if len(x.Episodes) == 0 {
		return nil
	}
	points := map[int64]sizing.Point{}
	var in []sizing.Point
	var at []point
	for _, p := range x.Account.Points {
		points[p.Episode] = p
		if p.Other == "" {
			in = append(in, p)
			at = append(at, point{p.Seconds, 1})
		}
	}
	for _, e := range x.Episodes {
		if _, known := points[e.ID]; !known && e.LastCall != nil {
			at = append(at, point{at: e.LastCall.Hi})
		}
	}
	at = append(at, adviceMarks(a)...)
	s := newScale(at)
	sp := &spread{chart: newChart(adviceFlags(a, s), s.ticks(), s.breaks())}
	sp.Caption = "The worst last call of each episode, in seconds after T0."
	if len(in) > 0 {
		sp.Caption = "All episodes, then the newest one by one: the worst last call of each, in seconds after T0."
		sp.Heap = newHeap(in, x.Account.Of, a, s)
	}
	for _, e := range x.Episodes {
		p, known := points[e.ID]
		r := newEpisodeBar(e, p, known, a, s, now, root)
		sp.Legend.Within = sp.Legend.Within || r.Bar != nil && r.Note == ""
		sp.Legend.Beyond = sp.Legend.Beyond || r.Beyond != nil
		sp.Legend.AtLeast = sp.Legend.AtLeast || r.AtLeast != nil
		sp.Legend.Other = sp.Legend.Other || r.Note != "" && r.Bar != nil
		sp.Rows = append(sp.Rows, r)
	}
	sp.Legend.Breaks = len(sp.Breaks) > 0
	sp.Legend.More = a != nil && a.Seconds != nil && a.AtLeast
	return sp
}

// adviceMarks are the values that the axis of a workload must show beside its episodes.
func adviceMarks(a *sizing.Advice) (marks []point) {
	if a == nil {
		return nil
	}
	for _, n := range []*int64{a.Present.PreStop, a.Seconds} {
		if n != nil {
			marks = append(marks, point{at: float64(*n)})
		}
	}
	if a.Seconds != nil && a.Added > 0 {
		marks = append(marks, point{at: float64(*a.Seconds - a.Added)})
	}
	return marks
}

// adviceFlags are today's preStop, the recommendation, what it rests on, and what is missing in it.
func adviceFlags(a *sizing.Advice, s scale) (flags []flag) {
	if a == nil {
		return nil
	}
	add := func(class string, from, to float64, label, title string) {
		flags = append(flags, flag{Class: class, From: s.at(from), To: s.at(to), Band: to > from, Label: label, Title: title})
	}
	if n := a.Present.PreStop; n != nil {
		add("told", float64(*n), float64(*n), sleepsLabel(*n), "what preStop sleeps today")
	}
	if a.Seconds == nil {
		if c := a.Class; c.N > 0 {
			add("most", c.Largest, c.Largest, "largest of "+report.Count(c.N), "the largest so far; the next exceeds it with a probability of at most 1/"+report.Count(c.N+1))
		}
		return flags
	}
	n := float64(*a.Seconds)
	if bound := a.Class.Seconds; n-float64(a.Added)-bound > 1 {
		add("most", bound, bound, fmt.Sprintf("%g %% within %s", 100*a.Quantile, report.Seconds(bound)), "what the next episode stays within with that probability")
	}
	if a.Added > 0 {
		add("more", n-float64(a.Added), n, "assumed", "what was added for what is not measured")
	}
	label := "must sleep " + report.Seconds(n)
	if a.AtLeast {
		label = "at least " + report.Seconds(n)
		add("more", n, s.end(), "what is missing →", "what is not measured or not known may make it longer: a lower bound")
	}
	add("want", n, n, label, "how long preStop must sleep")
	return flags
}

func sleepsLabel(n int64) string {
	if n == 0 {
		return "no preStop"
	}
	return "sleeps " + report.Seconds(float64(n))
}

// newHeap counts the episodes in columns of equal time. What today's preStop does not cover is another class.
func newHeap(in []sizing.Point, of int, a *sizing.Advice, s scale) *heap {
	width := s.end() / heapColumns
	if len(s.pieces) > 1 { // the first piece is the one to read
		width = s.pieces[0].to / heapColumns
	}
	counts := map[int]int{}
	most, beyond := 0, 0
	for _, p := range in {
		i := int(p.Seconds / width)
		counts[i]++
		most = max(most, counts[i])
		if a.Present.PreStop != nil && p.Seconds > float64(*a.Present.PreStop) {
			beyond++
		}
	}
	h := &heap{Total: "n = " + report.Count(len(in))}
	for i, n := range counts {
		from, to := float64(i)*width, float64(i+1)*width
		height := max(4, n*(heapHeight-4)/max(most, 4))
		x := s.at(from)
		b := bar{Class: "program", X: x, W: max(s.at(to)-x-.15, .4), Y: heapHeight - height, H: height,
			Pieces: report.Plural(n, "episode") + " of " + report.Span{Lo: from, Hi: to}.String()}
		if pre := a.Present.PreStop; pre != nil && from >= float64(*pre) {
			b.Class = "heapbad"
		}
		h.Columns = append(h.Columns, b)
	}
	sortBars(h.Columns)
	h.Note = report.Count(beyond) + " beyond today's preStop"
	if a.Present.PreStop == nil {
		h.Note = "what preStop sleeps is not known"
	}
	h.Desc = report.Plural(len(in), "episode") + " in the regime of now over their worst last call; " + h.Note
	if of > len(in) {
		h.Total += " of " + report.Count(of)
	}
	return h
}

func newEpisodeBar(e report.Episode, p sizing.Point, known bool, a *sizing.Advice, s scale, now time.Time, root string) episodeBar {
	r := episodeBar{Began: e.Begun.UTC().Format("2 Jan 15:04"), URL: episodeURL(root, e.ID), Took: "none"}
	if e.Begun.Year() != now.Year() {
		r.Began = e.Begun.UTC().Format("2 Jan 2006 15:04")
	}
	r.What = report.Shorten(string(e.Tag), nameRoom) + ", " + report.Plural(e.Left, "pod")
	r.Late = report.Count(e.Late) + " late"
	if e.Late > 0 {
		r.Class = "bad"
	}
	seconds, ok, whole := p.Seconds, known, p.Whole
	switch {
	case e.Open:
		r.Note = "goes on: counts when it is over"
		ok = e.LastCall != nil
		if ok {
			seconds, whole = e.LastCall.Hi, false
		}
	case known && p.Other != "":
		r.Note = "another regime (" + report.Visible(p.Other) + ")"
	case !known && e.LastCall != nil:
		seconds, ok, whole = e.LastCall.Hi, true, true
		if a != nil {
			r.Note = "not counted"
		}
	case !known:
		r.Note = "no pod of it can be timed"
	}
	r.Desc = "Episode of " + when(e.Begun) + ", " + r.What
	if !ok {
		r.Desc += ": " + r.Note
		return r
	}
	r.Took = report.Seconds(seconds)
	if !whole {
		r.Took += " or more"
	}
	r.Desc += ": worst last call " + r.Took
	if a != nil && a.Driver != nil && known && p.Place == a.Driver.Place {
		r.Driver = report.Shorten(p.Place.Node, nameRoom) + " was last"
		r.Desc += "; " + r.Driver
	}
	if r.Note != "" {
		r.Desc += "; " + r.Note
	}
	draw := func(class string, from, to float64, what string) *bar {
		if !(to > from) {
			return nil
		}
		x := s.at(from)
		return &bar{Class: class, X: x, W: s.at(to) - x, Y: 8, H: 10, Pieces: what}
	}
	class, enough := "routed", seconds
	if r.Note != "" {
		class = "whole"
	}
	if a != nil && a.Present.PreStop != nil && r.Note == "" {
		enough = min(seconds, float64(*a.Present.PreStop))
	}
	r.Bar = draw(class, 0, enough, "last call "+r.Took)
	r.Beyond = draw("late", enough, seconds, "beyond what preStop sleeps today")
	end := s.at(seconds)
	r.Cap = &end
	if !whole {
		r.AtLeast = &bar{X: end, Y: 8, H: 10}
		r.Cap = nil
	}
	return r
}
