package store

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A quantile is never below the true one and at most 2^(1/8) above it.
func TestQuantileError(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	factor := math.Exp2(1. / perOctave)
	if factor > 1.1 {
		t.Fatal(factor)
	}
	for range 300 {
		var h histogram
		var all []float64
		centre, width := math.Exp2(-9+19*r.Float64()), 3*r.Float64()
		for range 1 + r.IntN(400) {
			v := min(max(centre*math.Exp(width*r.NormFloat64()), .001), 2000)
			all = append(all, v)
			h.observe(v)
		}
		slices.Sort(all)
		for _, q := range []float64{0, .01, .5, .9, .99, 1} {
			true_ := all[max(int(math.Ceil(q*float64(len(all)))), 1)-1]
			if got := h.quantile(q); got < true_*(1-1e-12) || got > true_*factor*(1+1e-12) {
				t.Fatalf("p%g of %d around %g: %g, truly %g", 100*q, len(all), centre, got, true_)
			}
		}
		back, err := parseHistogram(h.bytes(), h.max)
		if d := cmp.Diff(h, back, cmp.AllowUnexported(histogram{})); d != "" || err != nil {
			t.Fatal(d, err)
		}
		var twice histogram
		twice.merge(h)
		twice.merge(back)
		if twice.count() != 2*len(all) || twice.quantile(.5) != h.quantile(.5) {
			t.Fatal("merged:", twice.count(), twice.quantile(.5), h.quantile(.5))
		}
	}
}

func TestHistogramEnds(t *testing.T) {
	var h histogram
	for _, v := range []float64{-1, 0, 1e-9, 2500, math.NaN(), math.Inf(1)} {
		h.observe(v)
	}
	if h.count() != 4 || h.quantile(.5) != math.Exp2(-10) || h.quantile(1) != 2500 || len(h.counts) != bucketCount {
		t.Error(h)
	}
	for b := leastBucket; b < mostBucket; b++ {
		if got := bucketOf(upper(b)); got != b {
			t.Errorf("the upper end of %d is in %d", b, got)
		}
	}
	for _, broken := range [][]byte{nil, {0xff}, {0x02, 0xff}, append([]byte{0}, make([]byte, 200)...), {0xfe, 0xff, 0x7f}} {
		if _, err := parseHistogram(broken, 1); problemOf(err) != Broken {
			t.Errorf("%x: %v", broken, err)
		}
	}
	if h := (histogram{}); h.quantile(.5) != 0 || h.count() != 0 {
		t.Error(h)
	}
}
