package pages

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// pct is a place on a chart's time axis, in percent of its width. Charts have no width of their own: shapes
// stretch with the page and text keeps its size, which is how one drawing is right on a phone and on a wall.
type pct float64

func (p pct) String() string { return fmt.Sprintf("%.3f%%", float64(p)) }

// scale maps seconds to the axis. It is linear, or linear in up to three pieces with marked breaks between them,
// where a few values lie so far beyond the rest that the rest could not be read.
type scale struct{ pieces []piece }

// piece shows the seconds [from, to] at [left, right].
type piece struct {
	from, to    float64
	left, right pct
}

// point is a value that the axis must show.
type point struct {
	at     float64
	places int // how many landed then; 0 for marks such as "told to stop"
}

const (
	// farBeyond: a gap is cut out when the value after it is this many times the one before it, so that all
	// before it would have an eighth of the axis.
	farBeyond = 8
	breakRoom = 5 // percent
)

// newScale shows all points. An axis is cut only above the majority of the landings: what most places did is
// the part to read, and a single fast place is no reason to cut.
func newScale(points []point) scale {
	points = slices.DeleteFunc(slices.Clone(points), func(p point) bool { return !(p.at >= 0) || math.IsInf(p.at, 0) })
	slices.SortFunc(points, func(a, b point) int { return cmp.Compare(a.at, b.at) })
	if len(points) == 0 || points[len(points)-1].at == 0 {
		return scale{[]piece{{0, 1, 0, 100}}}
	}
	cuts := cutsAfter(points)
	var s scale
	first := 0
	for _, last := range append(cuts, len(points)-1) {
		s.pieces = append(s.pieces, around(points[first].at, points[last].at, s.pieces))
		first = last + 1
	}
	lefts := [][]pct{{0}, {0, 75}, {0, 61, 83}}[len(cuts)]
	for i := range s.pieces {
		s.pieces[i].left, s.pieces[i].right = lefts[i], 100
		if i < len(cuts) {
			s.pieces[i].right = lefts[i+1] - breakRoom
		}
	}
	return s
}

// cutsAfter returns the indexes of the points after which the axis is cut, at most two.
func cutsAfter(points []point) []int {
	total, below := 0, 0
	for _, p := range points {
		total += p.places
	}
	var cuts []int
	ratio := func(i int) float64 { return points[i+1].at / points[i].at }
	for i, p := range points[:len(points)-1] {
		below += p.places
		if p.at > 0 && 2*below > total && ratio(i) > farBeyond {
			cuts = append(cuts, i)
		}
	}
	if len(cuts) > 2 {
		slices.SortFunc(cuts, func(a, b int) int { return cmp.Compare(ratio(b), ratio(a)) })
		cuts = cuts[:2]
	}
	slices.Sort(cuts)
	return cuts
}

// around is the piece that follows others, with some air around its values.
func around(first, last float64, before []piece) piece {
	if len(before) == 0 {
		return piece{from: 0, to: last * 1.06}
	}
	air := max(0.2*(last-first), 0.02*last)
	cut := (before[len(before)-1].to + first) / 2 // no piece begins before the one before it ends
	return piece{from: max(first-air, cut), to: last + air}
}

// at is where a time is drawn: in the middle of the break if it was cut out, at the edge if it is beyond.
func (s scale) at(t float64) pct {
	for i, p := range s.pieces {
		if t < p.from {
			if i == 0 {
				return p.left
			}
			return (s.pieces[i-1].right + p.left) / 2
		}
		if t <= p.to {
			return p.left + (p.right-p.left)*pct((t-p.from)/(p.to-p.from))
		}
	}
	return 100
}

// end is the latest time the axis shows.
func (s scale) end() float64 { return s.pieces[len(s.pieces)-1].to }

// breaks are where the axis is cut.
func (s scale) breaks() []pct {
	var b []pct
	for i := 1; i < len(s.pieces); i++ {
		b = append(b, (s.pieces[i-1].right+s.pieces[i].left)/2)
	}
	return b
}
