package sizing

import (
	"cmp"
	"slices"
)

// Driver is the one place without which a much smaller number would do.
type Driver struct {
	Place
	Seconds int64 `json:"without_seconds"` // what would do without it
	// Episodes in which it alone was later than that, of Of.
	Episodes int `json:"episodes"`
	Of       int `json:"of"`
}

// repeated: once is an accident, which every place has; twice the same place is a place.
const repeated = 2

// muchSmaller: at most half, and by 2 s at least. Half, because with heavy tails the largest of n samples is by nature half as
// long again as the next; 2 s, because numbers are whole seconds and the kubelet itself may start preStop 2 s late.
func muchSmaller(a, b int64) bool { return 2*a <= b && b-a >= 2 }

// candidates is how many places are tried: whoever is the driver was last in the largest episodes.
const candidates = 5

func (r *Recommendation) driver(own, pooled []measured, o Options) {
	if r.Seconds == nil {
		return
	}
	decide, of := slices.Clone(own), own
	if r.Basis == BasisPool {
		decide, of = append(decide, pooled...), pooled // which has its own too
	}
	slices.SortStableFunc(decide, func(a, b measured) int { return cmp.Compare(b.Seconds, a.Seconds) })
	number := *r.Seconds - r.Added
	tried := map[Place]bool{{}: true}
	for _, m := range decide {
		if len(tried) > candidates {
			return
		}
		if tried[m.top] {
			continue
		}
		tried[m.top] = true
		n := r.without(m.top, own, pooled, o)
		if !muchSmaller(n, number) || r.Driver != nil && n >= r.Driver.Seconds {
			continue
		}
		r.Driver = &Driver{Place: m.top, Seconds: n, Of: len(of)}
		for _, e := range of {
			if e.top == m.top && wholeSeconds(e.Seconds) > n {
				r.Driver.Episodes++
			}
		}
	}
}
