//go:build linux

package main

import (
	"math"
	"math/rand/v2"
	"testing"
)

// TestStudent95 against the tables.
func TestStudent95(t *testing.T) {
	for n, want := range map[int]float64{1: 12.706, 2: 4.303, 3: 3.182, 5: 2.571, 9: 2.262, 19: 2.093, 60: 2.000, 1000: 1.962} {
		if got := student95(n); math.Abs(got-want) > .02*want {
			t.Errorf("%d degrees of freedom: %.3f, want %.3f", n, got, want)
		}
	}
}

// TestIntervals hold what was put in as often as they say, and a slope that is there is seen.
func TestIntervals(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	const runs = 2000
	inMean, inSlope := 0, 0
	for range runs {
		var xs, ys, values []float64
		for i := range 20 {
			x := float64(i) * 1000
			xs, ys = append(xs, x), append(ys, 7+.25*x+100*r.NormFloat64())
			if i < 10 {
				values = append(values, 3+r.NormFloat64())
			}
		}
		if m := mean(values); m.Low <= 3 && 3 <= m.High {
			inMean++
		}
		s, at0 := line(xs, ys)
		if s.Low <= .25 && .25 <= s.High {
			inSlope++
		}
		if s.Low <= 0 || math.Abs(at0-7) > 300 {
			t.Fatalf("slope %+v, %v at none", s, at0)
		}
	}
	for what, in := range map[string]int{"means": inMean, "slopes": inSlope} {
		if share := float64(in) / runs; share < .93 || share > .97 {
			t.Errorf("%.1f %% of the intervals of %s hold the truth, want 95", 100*share, what)
		}
	}
}

func TestBlocks(t *testing.T) {
	if got := blocks([]float64{1, 2, 3, 4, 5, 6}, 3); len(got) != 3 || got[0] != 1.5 || got[2] != 5.5 {
		t.Errorf("blocks %v", got)
	}
	if got := blocks([]float64{1, 2}, 20); len(got) != 2 {
		t.Errorf("%d blocks of two values", len(got))
	}
}
