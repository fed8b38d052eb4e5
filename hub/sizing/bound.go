package sizing

import (
	"math"
	"slices"
)

// Sample is one episode: its worst last call in seconds, the upper end. If it is not Whole, that is only a lower bound,
// because something was pending yet or not watched.
type Sample struct {
	Seconds float64
	Whole   bool
}

// Bound is an order statistic of n exchangeable samples: the next one is at most Seconds with a probability of at least
// the quantile.
type Bound struct {
	N       int `json:"n"`
	Rank    int `json:"rank"`    // Seconds is the Rank-th smallest
	Unknown int `json:"unknown"` // samples that are not whole
	// Enough: there are as many samples as the quantile needs; without them Seconds is 0 and says nothing.
	Enough  bool    `json:"enough"`
	Seconds float64 `json:"seconds"`
	// Firm: it holds however long the samples were that are not whole. Else Seconds is a lower bound.
	Firm    bool    `json:"firm"`
	Largest float64 `json:"largest_seconds"` // as far as known
}

// slack keeps 0.95 x 20, which is not 19 in floating point, from counting as more.
const slack = 1e-9

// Rank is the r of the r-th smallest of n samples that the next one stays within with probability r/(n+1) >= q: by
// symmetry, each of the n+1 is as likely as any other to be the r-th. It is larger than n if n is too small.
func Rank(n int, q float64) int { return max(int(math.Ceil(q*float64(n+1)-slack)), 1) }

// Needed is the smallest n for which there is a bound: 19 for 0.95.
func Needed(q float64) int {
	n := max(int(q/(1-q))-1, 1)
	for Rank(n, q) > n {
		n++
	}
	return n
}

// BoundOf takes samples that are not whole for infinite when it asks whether the bound is firm: that assumes nothing about
// why they are not whole. Their lower bounds are used only for what is called a lower bound.
func BoundOf(samples []Sample, q float64) Bound {
	b := Bound{N: len(samples), Rank: Rank(len(samples), q)}
	var whole, all []float64
	for _, s := range samples {
		all = append(all, s.Seconds)
		if s.Whole {
			whole = append(whole, s.Seconds)
		}
	}
	b.Unknown = len(all) - len(whole)
	if len(all) == 0 {
		return b
	}
	b.Largest = slices.Max(all)
	if b.Rank > b.N {
		return b
	}
	b.Enough = true
	if b.Firm = b.Rank <= len(whole); b.Firm {
		all = whole
	}
	slices.Sort(all)
	b.Seconds = all[b.Rank-1]
	return b
}

// wholeSeconds rounds up: preStop sleeps whole seconds.
func wholeSeconds(s float64) int64 { return int64(math.Ceil(s - slack)) }
