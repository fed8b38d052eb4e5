package main

import (
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/lastcall-k8s/lastcall/hub/report"
)

// glyphs are what bars are drawn with.
type glyphs struct {
	api, watch, program, whole, unsure, open rune
	told, toldLeft, toldRight                rune
	levels                                   []rune // of a histogram, least first
}

var (
	blocks = glyphs{api: '░', watch: '▒', program: '█', whole: '█', unsure: '╌', open: '▶',
		told: '─', toldLeft: '├', toldRight: '┤', levels: []rune("▁▂▃▄▅▆▇█")}
	letters = glyphs{api: '.', watch: '-', program: '#', whole: '#', unsure: '~', open: '>',
		told: '=', toldLeft: '|', toldRight: '|', levels: []rune(".:+#")}
)

func (s screen) glyphs() glyphs {
	if s.unicode {
		return blocks
	}
	return letters
}

// chart draws spans of seconds after T0 over one axis.
type chart struct {
	glyphs
	columns int     // of the axis
	end     float64 // seconds at the right end of the axis
	told    *report.Span
}

// mark is one column of a bar; the zero mark is blank.
type mark struct {
	glyph rune
	style style
}

// column is where a moment falls: 0 to columns.
func (c chart) column(t float64) int { return c.clamp(math.Ceil(t/c.end*float64(c.columns) - 1e-9)) }

// clamp: the number may be any that JSON can hold.
func (c chart) clamp(column float64) int {
	if !(column > 0) { // also NaN
		return 0
	}
	return int(min(column, float64(c.columns)))
}

// at is the moment in the middle of a column.
func (c chart) at(column int) float64 {
	return (float64(column) + .5) / float64(c.columns) * c.end
}

// late is the style of a moment: red if the pod had been told to stop by then, yellow if it may have been.
func (c chart) late(t float64) style {
	switch {
	case c.told == nil || t <= c.told.Lo:
		return plain
	case t > c.told.Hi:
		return red
	}
	return yellow
}

// landing is the bar of one place: its stages, the end of it that is not certain, or how long it has been open.
func (c chart) landing(l report.Landing, age float64) []mark {
	bar := make([]mark, c.columns)
	end, sure := age, age
	if l.Landed != nil {
		end, sure = l.Landed.Hi, max(0, l.Landed.Lo)
	} else if l.Pending == 0 {
		return bar
	}
	last := max(1, c.column(end))
	for i := range last {
		t := c.at(i)
		g := c.whole
		switch s := l.Stages; {
		case l.Landed != nil && i >= max(1, c.column(sure)):
			g = c.unsure
		case s == nil:
		case t <= s.API:
			g = c.api
		case t <= s.API+s.Watch:
			g = c.watch
		default:
			g = c.program
		}
		bar[i] = mark{g, c.late(t)}
	}
	if l.Landed == nil || l.Pending > 0 {
		bar[last-1].glyph = c.open
	}
	return bar
}

// toldToStop is the mark of the time in which the pod was told to stop.
func (c chart) toldToStop() []mark {
	bar := make([]mark, c.columns)
	lo, hi := min(c.columns-1, c.column(c.told.Lo)), min(c.columns-1, max(0, c.column(c.told.Hi)-1))
	for i := lo; i <= hi; i++ {
		bar[i].glyph = c.glyphs.told
	}
	bar[lo].glyph = c.toldLeft
	if hi > lo {
		bar[hi].glyph = c.toldRight
	}
	return bar
}

// strip is a histogram of many places. A column with one place in it is not blank.
func (c chart) strip(s report.Strip) []mark {
	counts := make([]float64, c.columns)
	for i, n := range s.Counts {
		from := min(c.columns-1, c.clamp(math.Floor(float64(i)*s.Width/c.end*float64(c.columns)+1e-9)))
		to := max(from+1, c.column(float64(i+1)*s.Width))
		for j := from; j < to; j++ {
			counts[j] += float64(n) / float64(to-from)
		}
	}
	most := slices.Max(counts)
	bar := make([]mark, c.columns)
	for i, n := range counts {
		if n > 0 {
			bar[i] = mark{c.levels[min(len(c.levels)-1, int(n/most*float64(len(c.levels))))], c.late(c.at(i))}
		}
	}
	return bar
}

// axis is a line of moments, each over the column in which it falls.
func (c chart) axis() string {
	line := []rune(strings.Repeat(" ", c.columns))
	put := func(at int, text string) bool {
		r := []rune(text)
		if at < 0 || at+len(r) > len(line) || strings.TrimSpace(string(line[max(0, at-1):min(len(line), at+len(r)+1)])) != "" {
			return false
		}
		copy(line[at:], r)
		return true
	}
	put(0, "0")
	end := report.Seconds(c.end)
	put(c.columns-utf8.RuneCountInString(end), end)
	ticks := max(1, c.columns/12)
	step := niceStep(c.end / float64(ticks))
	for i := 1; i <= ticks && float64(i)*step < c.end; i++ {
		put(c.column(float64(i)*step), report.Seconds(float64(i)*step))
	}
	return strings.TrimRight(string(line), " ")
}

// niceStep is the least number people count in that is not less than t: 1, 2 or 5 of something, or parts of minutes
// and hours.
func niceStep(t float64) float64 {
	for _, s := range []float64{15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400} {
		if t > 10 && t <= s {
			return s
		}
	}
	unit := math.Pow(10, math.Floor(math.Log10(t)))
	for _, f := range []float64{1, 2, 5} {
		if t <= f*unit*(1+1e-9) {
			return f * unit
		}
	}
	return 10 * unit
}

// draw sets marks, in runs of one style.
func (s screen) draw(bar []mark) string {
	var b strings.Builder
	for len(bar) > 0 {
		n := 1
		for n < len(bar) && bar[n].style == bar[0].style {
			n++
		}
		var run strings.Builder
		for _, m := range bar[:n] {
			if m.glyph == 0 {
				run.WriteByte(' ')
				continue
			}
			run.WriteRune(m.glyph)
		}
		b.WriteString(s.paint(run.String(), bar[0].style))
		bar = bar[n:]
	}
	return b.String()
}
