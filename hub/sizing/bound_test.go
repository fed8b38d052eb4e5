package sizing

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestRank(t *testing.T) {
	for _, c := range []struct {
		n    int
		q    float64
		want int
	}{{18, 0.95, 19}, {19, 0.95, 19}, {20, 0.95, 20}, {38, 0.95, 38}, {39, 0.95, 38}, {41, 0.95, 40}, {59, 0.95, 57}, {199, 0.95, 190}, {9, 0.9, 9}, {99, 0.99, 99}, {1, 0.5, 1}} {
		if got := Rank(c.n, c.q); got != c.want {
			t.Errorf("n = %d, q = %g: %d, want %d", c.n, c.q, got, c.want)
		}
	}
	for q, want := range map[float64]int{0.5: 1, 0.75: 3, 0.9: 9, 0.95: 19, 0.975: 39, 0.98: 49, 0.99: 99, 0.995: 199, 0.999: 999, 0.9999: 9999} {
		if got := Needed(q); got != want || Rank(want, q) > want || want > 1 && Rank(want-1, q) <= want-1 {
			t.Errorf("q = %g: %d, want %d", q, got, want)
		}
	}
}

func whole(values ...float64) (ss []Sample) {
	for _, v := range values {
		ss = append(ss, Sample{v, true})
	}
	return ss
}

func TestBoundOf(t *testing.T) {
	of := func(n int, more ...Sample) []Sample { return append(whole(ascending(n, float64(n))...), more...) }
	open := func(s float64) Sample { return Sample{Seconds: s} }
	for name, c := range map[string]struct {
		samples []Sample
		want    Bound
	}{
		"none":           {nil, Bound{Rank: 1}},
		"18":             {of(18), Bound{N: 18, Rank: 19, Largest: 18}},
		"19":             {of(19), Bound{N: 19, Rank: 19, Enough: true, Firm: true, Seconds: 19, Largest: 19}},
		"41":             {of(41), Bound{N: 41, Rank: 40, Enough: true, Firm: true, Seconds: 40, Largest: 41}},
		"one unknown":    {of(40, open(0.1)), Bound{N: 41, Rank: 40, Unknown: 1, Enough: true, Firm: true, Seconds: 40, Largest: 40}},
		"two unknown":    {of(39, open(0.1), open(50)), Bound{N: 41, Rank: 40, Unknown: 2, Enough: true, Seconds: 39, Largest: 50}},
		"18 and unknown": {of(18, open(3)), Bound{N: 19, Rank: 19, Unknown: 1, Enough: true, Seconds: 18, Largest: 18}},
	} {
		if got := BoundOf(c.samples, 0.95); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

// TestBoundGrows: a sample larger than all never lowers it (one that is not known may make a lower bound of it, no more), a value
// that rises neither, a known value instead of an
// unknown one never raises a firm bound, and a bound is among what was seen.
func TestBoundGrows(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 20_000 {
		q := []float64{0.5, 0.8, 0.9, 0.95}[r.IntN(4)]
		var ss []Sample
		for range r.IntN(60) {
			ss = append(ss, Sample{math.Round(10*math.Exp(r.NormFloat64())) / 10, r.IntN(15) > 0})
		}
		b := BoundOf(ss, q)
		if b.Enough != (len(ss) >= Needed(q)) || b.Firm && !b.Enough {
			t.Fatalf("%+v of %v", b, ss)
		}
		if !b.Enough {
			continue
		}
		if !slices.ContainsFunc(ss, func(s Sample) bool { return s.Seconds == b.Seconds && (s.Whole || !b.Firm) }) {
			t.Fatalf("%+v is none of %v", b, ss)
		}
		isKnown := r.IntN(2) > 0
		if more := BoundOf(append(slices.Clone(ss), Sample{b.Largest + r.Float64(), isKnown}), q); more.Seconds < b.Seconds && (isKnown || more.Firm) {
			t.Fatalf("%+v, with a larger one %+v: %v", b, more, ss)
		}
		i := r.IntN(len(ss))
		raised := slices.Clone(ss)
		raised[i].Seconds += r.Float64()
		if more := BoundOf(raised, q); more.Seconds < b.Seconds || more.Firm != b.Firm {
			t.Fatalf("%+v, with %d raised %+v: %v", b, i, more, ss)
		}
		known := slices.Clone(ss)
		known[i].Whole = true
		if less := BoundOf(known, q); b.Firm && (less.Seconds > b.Seconds || !less.Firm) {
			t.Fatalf("%+v, with %d known %+v: %v", b, i, less, ss)
		}
	}
}
