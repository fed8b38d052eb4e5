package pages

import (
	"fmt"
	"slices"
	"strings"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// chart is a time axis with what is drawn on it, above its rows. Rows are rows of an HTML table with a small SVG
// each, so that names and numbers are text that wraps, can be copied and is read out; the axis' lines are
// repeated in every row (<use>).
type chart struct {
	ID     string // "" of the first on a page; ids in it end with that
	Flags  []flag
	Ticks  []tick
	Breaks []pct
	Height int // of the head, in px
}

func newChart(flags []flag, ticks []tick, breaks []pct) chart {
	lines := layFlags(flags)
	return chart{Flags: flags, Ticks: ticks, Breaks: breaks, Height: lines*labelHeight + tickRoom}
}

// TickY is the baseline of the ticks' labels.
func (c chart) TickY() int { return c.Height - 8 }

// TickTop is where the ticks' lines begin.
func (c chart) TickTop() int { return c.Height - 5 }

// waterfall draws one departure: a row per place, seconds after T0 from left to right.
type waterfall struct {
	chart
	Caption string
	Strip   *strip
	Rows    []row
	Legend  legend
}

// legend says which of the signs occur.
type legend struct{ Stages, Whole, Uncertain, Open, Breaks, Band, Strip bool }

// row is one place.
type row struct {
	Node, Short string // the whole name, and what there is room for
	Detail      string
	Last        bool // the straggler
	Pending     bool
	Bars        []bar
	Uncertain   *bar
	Caps        []pct // the ends of the interval that are far enough apart to be seen
	Seen        *pct
	Open        *bar // still pending: from there to now, and on
	Note        string
	Desc        string

	LetGo, API, Watch, Program, Slop string
}

// bar is a span of time in a row. Y and H are px.
type bar struct {
	Class  string
	X, W   pct
	Y, H   int
	Pieces string // what it is, for its title
}

// End is where the bar ends.
func (b bar) End() pct { return b.X + b.W }

// Middle is its height's middle.
func (b bar) Middle() int { return b.Y + b.H/2 }

func newWaterfall(d report.Departure) *waterfall {
	if len(d.Slowest) == 0 && d.Strip == nil {
		return nil
	}
	s := newScale(axisPoints(d))
	flags := departureFlags(d, s)
	w := &waterfall{chart: newChart(flags, s.ticks(), s.breaks()), Caption: caption(d)}
	if d.Strip != nil {
		w.Strip = newStrip(*d.Strip, s, d.Within99)
	}
	slowest := slices.Clone(d.Slowest)
	slices.SortStableFunc(slowest, func(a, b report.Landing) int { return rank(a) - rank(b) })
	var families, kinds = map[ledger.Family]bool{}, map[string]bool{}
	var nodes []string
	for _, l := range slowest {
		families[l.Family], kinds[l.Kind] = true, true
		if l.Replica == "" {
			nodes = append(nodes, l.Node)
		}
	}
	end := commonEnd(nodes)
	if end != "" {
		w.Caption += " Names without the end they share, " + report.Shorten(end, nameRoom) + "."
	}
	for _, l := range slowest {
		r := newRow(l, s, d.Age)
		if l.Replica == "" {
			r.Short = report.Shorten(strings.TrimSuffix(l.Node, end), nameRoom)
		}
		r.Detail = detail(l, len(kinds) > 1, len(families) > 1)
		r.Last = isStraggler(d.Straggler, l)
		w.Rows = append(w.Rows, r)
	}
	w.Legend = w.whatOccurs()
	return w
}

// rank puts what is still pending first and what did not land last.
func rank(l report.Landing) int {
	switch {
	case l.Pending > 0:
		return 0
	case l.Landed != nil:
		return 1
	}
	return 2
}

func caption(d report.Departure) string {
	if d.Strip != nil {
		return fmt.Sprintf("All places over time, then the %d slowest. Seconds after T0, the moment the pod began to leave.", len(d.Slowest))
	}
	return "One row per place, the last first. Seconds after T0, the moment the pod began to leave."
}

func isStraggler(s *report.Landing, l report.Landing) bool {
	return s != nil && s.Node == l.Node && s.Kind == l.Kind && s.Replica == l.Replica && s.Family == l.Family
}

func detail(l report.Landing, kind, family bool) string {
	var parts []string
	if kind {
		parts = append(parts, report.Shorten(l.Kind, 24))
	}
	switch {
	case l.Replica != "":
		parts = append(parts, "on "+report.Shorten(l.Node, nameRoom)) // its backend is said of the kind
	case l.Backend != "":
		parts = append(parts, report.Shorten(l.Backend, 24))
	}
	if family && l.Family != "" {
		parts = append(parts, report.Shorten(string(l.Family), 24))
	}
	if l.Unusable {
		parts = append(parts, "clock unusable")
	}
	// What is drawn is the landing; say what else became of this place's paths.
	if l.Landed != nil && len(l.Outcomes) > 1 {
		parts = append(parts, report.OutcomesWords(l.Outcomes))
	}
	return strings.Join(parts, ", ")
}

func (w *waterfall) whatOccurs() legend {
	g := legend{Breaks: len(w.Breaks) > 0, Strip: w.Strip != nil}
	for _, f := range w.Flags {
		g.Band = g.Band || f.Band && f.Class == "told"
	}
	for _, r := range w.Rows {
		g.Open = g.Open || r.Open != nil
		g.Uncertain = g.Uncertain || r.Uncertain != nil
		for _, b := range r.Bars {
			g.Stages = g.Stages || b.Class != "whole"
			g.Whole = g.Whole || b.Class == "whole"
		}
	}
	return g
}
