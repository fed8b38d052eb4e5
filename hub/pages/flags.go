package pages

import (
	"cmp"
	"slices"
	"unicode/utf8"
)

// flag is a mark on the time axis with its label: T0, told to stop, last call and the like. It is a line at To, or
// a band from From to To where the moment is only known as an interval.
type flag struct {
	Class    string
	From, To pct
	Band     bool
	Beyond   bool // beyond the axis: named at its right edge, without a line
	Label    string
	Title    string
	Anchor   string
	Line     int // of the lines of labels, 0 is the lowest
	Y, Top   int // of the label's baseline and of its leader, in px
	X        pct // where the label is anchored
}

const (
	labelHeight = 17 // px, of a line of labels
	tickRoom    = 24 // px, for the labels of the ticks below them
	air         = 4  // px, on both sides of a label
)

// flagged is where a flag's label belongs: at the beginning of what it marks, and for an interval of landing at
// its end, the value that is used.
func (f flag) flagged() pct {
	if f.Band && f.Class == "told" {
		return f.From
	}
	return f.To
}

// layFlags gives each label a side of its line and a line of text where it collides with no other label and, as far
// as that can be had, covers no leader of a label above it. It returns how many lines of text there are.
func layFlags(flags []flag) (lines int) {
	for i := range flags {
		flags[i].X = flags[i].flagged()
	}
	for i := range flags {
		flags[i].Anchor = side(flags, i)
	}
	left := make([]*flag, len(flags))
	for i := range flags {
		left[i] = &flags[i]
	}
	for ; len(left) > 0; lines++ {
		var taken []extent
		next := atBottom(left)
		left = slices.DeleteFunc(left, func(f *flag) bool {
			e := f.extent(f.Anchor)
			if f != next && (covered(e, left, f) > 0 || !e.free(append(taken, next.extent(next.Anchor)))) {
				return false
			}
			f.Line, taken = lines, append(taken, e)
			return true
		})
	}
	for i := range flags {
		f := &flags[i]
		f.Y = (lines-f.Line)*labelHeight - 4
		f.Top = f.Y - 11
	}
	return lines
}

// side is where a flag's label stands: where it covers fewer of the other flags' lines, else towards the middle.
func side(flags []flag, i int) string {
	f := flags[i]
	sides := []string{"start", "end"}
	if f.X > 50 {
		sides = []string{"end", "start"}
	}
	others := make([]*flag, len(flags))
	for k := range flags {
		others[k] = &flags[k]
	}
	towards, away := f.extent(sides[0]), f.extent(sides[1])
	if away.left[0] >= -air && away.right[0] <= narrowest+air && covered(away, others, others[i]) < covered(towards, others, others[i]) {
		return sides[1]
	}
	return sides[0]
}

// atBottom is the flag whose label covers the fewest leaders of the others.
func atBottom(flags []*flag) *flag {
	return slices.MinFunc(flags, func(a, b *flag) int {
		return cmp.Compare(covered(a.extent(a.Anchor), flags, a), covered(b.extent(b.Anchor), flags, b))
	})
}

// covered counts the flags other than one whose lines run through an extent, in the narrowest or the widest chart.
func covered(e extent, flags []*flag, but *flag) (n int) {
	for _, f := range flags {
		if f == but || f.Beyond || f.X == but.X {
			continue
		}
		for i, w := range []float64{narrowest, widest} {
			if x := float64(f.X) / 100 * w; x > e.left[i] && x < e.right[i] {
				n++
				break
			}
		}
	}
	return n
}

// extent is what the flag's label takes up on one side of its line, off which it stands.
func (f flag) extent(anchor string) extent {
	f.Anchor = anchor
	e := extentOf(f.X, anchor, f.Label)
	for i := range e.left {
		e.left[i] += float64(f.Away())
		e.right[i] += float64(f.Away())
	}
	return e
}

// extent is what a label takes up on its line, as px of the narrowest and of the widest chart.
type extent struct{ left, right [2]float64 }

func extentOf(at pct, anchor, label string) extent {
	width := float64(utf8.RuneCountInString(label)) * charWidth
	var e extent
	for i, w := range []float64{narrowest, widest} {
		x := float64(at) / 100 * w
		switch anchor {
		case "start":
			e.left[i], e.right[i] = x-air, x+width+air
		case "end":
			e.left[i], e.right[i] = x-width-air, x+air
		default:
			e.left[i], e.right[i] = x-width/2-air, x+width/2+air
		}
	}
	return e
}

// free reports whether the label collides with none of the others at any width: the distance of two labels is
// linear in the width, so that both ends of the range decide.
func (e extent) free(others []extent) bool {
	for _, o := range others {
		before := e.right[0] <= o.left[0] && e.right[1] <= o.left[1]
		after := o.right[0] <= e.left[0] && o.right[1] <= e.left[1]
		if !before && !after {
			return false
		}
	}
	return true
}

// Width is that of the flag's band.
func (f flag) Width() pct { return f.To - f.From }

// Away is how far, in px, the label stands off its line.
func (f flag) Away() int {
	if f.Anchor == "end" {
		return -5
	}
	return 5
}
