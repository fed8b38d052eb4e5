package pages

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/hub/sizing"
)

// drift draws the episodes on the calendar. A recommendation assumes that none of them is likelier to be long than another: a
// cluster that gets slower every week shows here.
type drift struct {
	Desc    string
	Note    string
	Dots    []dot
	Lines   []level
	Grid    []level // ticks of the seconds
	Ticks   []tick  // of the calendar
	Bottom  int     // px, where the seconds begin
	Height  int
	Beyond  bool
	AtLeast bool
	Other   bool
}

// TickEnd and TickText are where the calendar's ticks end and the baseline of their labels.
func (d *drift) TickEnd() int  { return d.Bottom + 5 }
func (d *drift) TickText() int { return d.Bottom + 18 }

// dot is an episode.
type dot struct {
	X     pct
	Y     int
	Class string // "in", "beyond", "other"
	Open  bool   // it was longer than that
	URL   string
	Title string
}

// level is a horizontal line.
type level struct {
	Y, TextY int
	Class    string
	Label    string
}

const (
	driftTop    = 14
	driftBottom = 170
)

func newDrift(a *sizing.Advice, x sizing.Account, now time.Time, root string) *drift {
	if len(x.Points) < 2 {
		return nil
	}
	ps := slices.Clone(x.Points)
	slices.SortStableFunc(ps, func(a, b sizing.Point) int { return a.Begun.Compare(b.Begun) })
	var at []point
	for _, p := range ps {
		at = append(at, point{p.Seconds, 1})
	}
	s := newScale(append(at, adviceMarks(a)...))
	begun := ps[0].Begun
	length := max(now.Sub(begun).Seconds(), ps[len(ps)-1].Begun.Sub(begun).Seconds(), 60)
	margin := 0.02 * length
	begun = begun.Add(-time.Duration(margin * float64(time.Second)))
	length += 2 * margin
	over := scale{[]piece{{0, length, 0, 100}}}
	y := func(seconds float64) int {
		return driftBottom - int(math.Round(float64(s.at(seconds))*(driftBottom-driftTop)/100))
	}
	d := &drift{Bottom: driftBottom, Height: driftBottom + 22, Ticks: over.calendarTicks(begun, length)}
	beyond := 0
	for _, p := range ps {
		t := dot{X: over.at(p.Begun.Sub(begun).Seconds()), Y: y(p.Seconds), Class: "in", Open: !p.Whole, URL: episodeURL(root, p.Episode)}
		t.Title = when(p.Begun) + ": " + report.Seconds(p.Seconds)
		switch {
		case p.Other != "":
			t.Class, d.Other = "other", true
			t.Title += ", another regime (" + report.Visible(p.Other) + ")"
		case a.Present.PreStop != nil && p.Seconds > float64(*a.Present.PreStop):
			t.Class, d.Beyond = "beyond", true
			beyond++
		}
		if t.Open {
			t.Title += " or more"
			d.AtLeast = true
		}
		d.Dots = append(d.Dots, t)
	}
	for _, t := range s.ticks() {
		d.Grid = append(d.Grid, level{Y: driftBottom - int(math.Round(float64(t.At)*(driftBottom-driftTop)/100)), Label: t.Label})
	}
	for i := range d.Grid {
		d.Grid[i].TextY = d.Grid[i].Y + 4
	}
	d.levels(a, y)
	d.Desc = report.Plural(len(ps), "episode") + " from " + when(ps[0].Begun) + " to " + when(ps[len(ps)-1].Begun) + "; the latest took " +
		report.Seconds(ps[len(ps)-1].Seconds) + "; " + report.Count(beyond) + " beyond what preStop sleeps today"
	if x.Of > len(ps) {
		d.Note = "The newest " + report.Count(len(ps)) + " of " + report.Count(x.Of) + " episodes."
	}
	return d
}

// levels are the lines of what preStop sleeps and should, the labels on the sides where they do not collide.
func (d *drift) levels(a *sizing.Advice, y func(float64) int) {
	if n := a.Present.PreStop; n != nil && *n > 0 { // at 0 there is the axis
		d.Lines = append(d.Lines, level{Y: y(float64(*n)), Class: "told", Label: sleepsLabel(*n)})
	}
	if n := a.Seconds; n != nil {
		words := "must sleep "
		if a.AtLeast {
			words = "at least "
		}
		d.Lines = append(d.Lines, level{Y: y(float64(*n)), Class: "want", Label: words + report.Seconds(float64(*n))})
	}
	slices.SortStableFunc(d.Lines, func(a, b level) int { return cmp.Compare(a.Y, b.Y) })
	for i := range d.Lines {
		l := &d.Lines[i]
		l.TextY = l.Y - 4
		if i > 0 && l.Y-d.Lines[i-1].Y < 16 && l.Y+14 < driftBottom {
			l.TextY = l.Y + 13
		}
	}
}

// days between ticks of a calendar.
var days = []int{1, 2, 3, 7, 14, 30, 61, 91, 182, 365}

// calendarTicks are those of an axis that begins at a moment and lasts so many seconds, by the day if it is long.
func (s scale) calendarTicks(begun time.Time, length float64) (ticks []tick) {
	const day = 86400
	if length < 3*day {
		return s.clockTicks(begun, length)
	}
	every := days[len(days)-1]
	for _, n := range days {
		if length/float64(n*day) <= 5 {
			every = n
			break
		}
	}
	at := begun.UTC().Truncate(24*time.Hour).AddDate(0, 0, 1)
	for n := int64(0); at.Sub(begun).Seconds() <= length; n++ {
		layout := "2 Jan"
		if every > 300 {
			layout = "Jan 2006"
		}
		ticks = append(ticks, tick{At: s.at(at.Sub(begun).Seconds()), Label: at.Format(layout), n: n})
		at = at.AddDate(0, 0, every)
	}
	ticks = fitLabels(ticks)
	for i := range ticks { // the plot is narrower than other charts, beside the seconds
		switch t := &ticks[i]; {
		case t.At < 8:
			t.Anchor = "start"
		case t.At > 92:
			t.Anchor = "end"
		}
	}
	return ticks
}
