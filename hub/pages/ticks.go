package pages

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"
)

// tick is a line of the grid, with a label where there is room for one.
type tick struct {
	At     pct
	Label  string
	Anchor string // where the label's text starts: "start", "middle" or "end"

	n     int64 // it is at so many steps
	piece int   // of the scale
}

// Away keeps a label at the edge off the edge's line.
func (t tick) Away() int {
	if t.Anchor == "start" {
		return 4
	}
	return 0
}

// steps between ticks, in seconds, that people count in.
var steps = []float64{
	.0001, .0002, .0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 15, 30,
	60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400,
}

// step is the smallest that divides a range into at most n.
func step(length float64, n int) float64 {
	for _, s := range steps {
		if length/s <= float64(n) {
			return s
		}
	}
	return math.Ceil(length/float64(n)/86400) * 86400
}

// ticks are those of a scale of seconds after T0.
func (s scale) ticks() []tick {
	var ticks []tick
	for i, p := range s.pieces {
		n := 2
		if i == 0 {
			n = max(2, int((p.right-p.left)/16))
		}
		by := step(p.to-p.from, n)
		for k := math.Ceil(p.from/by - 1e-9); k*by <= p.to+1e-9; k++ {
			ticks = append(ticks, tick{At: s.at(k * by), Label: tickLabel(k*by, by, p.to), n: int64(k), piece: i})
		}
	}
	return fitLabels(ticks)
}

// tickLabel writes a time in the unit that suits its piece of the axis.
func tickLabel(t, by, end float64) string {
	switch {
	case t == 0:
		return "T0"
	case end < 1:
		return decimals(t*1000, by*1000) + " ms"
	case end < 120:
		return decimals(t, by) + " s"
	case end < 7200 && by >= 60:
		return fmt.Sprintf("%.0f min", t/60)
	case end < 7200:
		return fmt.Sprintf("%d:%02d min", int(math.Round(t))/60, int(math.Round(t))%60)
	}
	return strconv.FormatFloat(math.Round(t/360)/10, 'f', -1, 64) + " h"
}

// decimals writes a multiple of a step with as many decimals as the step has.
func decimals(v, by float64) string {
	n := 0
	for by < 0.999 && n < 4 {
		by *= 10
		n++
	}
	return strconv.FormatFloat(v, 'f', n, 64)
}

// clockTicks are those of an axis that begins at a moment and lasts so many seconds; s must show [0, length].
func (s scale) clockTicks(begun time.Time, length float64) []tick {
	by := step(length, 5)
	layout := "15:04:05"
	switch {
	case by < 0.01:
		layout = "15:04:05.000"
	case by < 0.1:
		layout = "15:04:05.00"
	case by < 1:
		layout = "15:04:05.0"
	case by >= 60:
		layout = "15:04"
	}
	every := time.Duration(by * float64(time.Second))
	var ticks []tick
	for at := begun.Truncate(every); at.Sub(begun).Seconds() <= length; at = at.Add(every) {
		if after := at.Sub(begun).Seconds(); after >= 0 {
			ticks = append(ticks, tick{At: s.at(after), Label: at.UTC().Format(layout), n: at.UnixNano() / int64(every)})
		}
	}
	return fitLabels(ticks)
}

const (
	// narrowest and widest are the widths in px that a chart can have (style.css); labels are laid out so that
	// they fit in both, and so in all between.
	narrowest, widest = 360.0, 1200.0
	// charWidth is a generous width of a character at the charts' 12 px: Arial's labels have 5.0 to 6.1.
	charWidth = 6.2
)

// fitLabels anchors labels inside the chart and, where there is no room for all, leaves out all but every second,
// third and so on of a piece, so that what is left is as regular.
func fitLabels(ticks []tick) []tick {
	var pieces [][]tick
	for first := 0; first < len(ticks); {
		last := first
		for last < len(ticks) && ticks[last].piece == ticks[first].piece {
			last++
		}
		pieces = append(pieces, ticks[first:last])
		first = last
	}
	// The far pieces are narrow and have few labels: they go before those in the middle.
	var taken []extent
	for i := range pieces {
		if i > 0 {
			i = len(pieces) - i
		}
		taken = append(taken, thin(pieces[i], taken)...)
	}
	return ticks
}

// thin leaves those labels of one piece that have room beside each other and beside what is taken.
func thin(ticks []tick, taken []extent) (placed []extent) {
	for i := range ticks {
		t := &ticks[i]
		half := pct(float64(len(t.Label)) * charWidth / 2 / narrowest * 100)
		switch {
		case t.At < half:
			t.Anchor = "start"
		case t.At > 100-half:
			t.Anchor = "end"
		default:
			t.Anchor = "middle"
		}
	}
	every := int64(1)
	for ; every <= int64(len(ticks)); every++ {
		placed = placed[:0]
		fits := true
		for _, t := range ticks {
			if t.n%every == 0 {
				e := extentOf(t.At, t.Anchor, t.Label)
				fits = fits && e.free(taken) && e.free(placed)
				placed = append(placed, e)
			}
		}
		if fits && len(placed) > 0 {
			break
		}
	}
	only := -1 // if no regular choice has room, any one label will do
	if every > int64(len(ticks)) {
		only = slices.IndexFunc(ticks, func(t tick) bool { return extentOf(t.At, t.Anchor, t.Label).free(taken) })
		placed = nil
		if only >= 0 {
			placed = []extent{extentOf(ticks[only].At, ticks[only].Anchor, ticks[only].Label)}
		}
	}
	for i := range ticks {
		if i != only && (every > int64(len(ticks)) || ticks[i].n%every != 0) {
			ticks[i].Label = ""
		}
	}
	return placed
}
