//go:build linux

package benchresult

import (
	"math"
	"slices"
	"time"
)

// Distribution is of durations, in milliseconds.
type Distribution struct {
	N                  int     `json:"n"`
	Min, P50, P99, Max float64 `json:",omitempty"`
}

// DistributionOf uses nearest rank, so that a p99 is a value that occurred. It sorts ds.
func DistributionOf(ds []time.Duration) Distribution {
	slices.Sort(ds)
	n := len(ds)
	if n == 0 {
		return Distribution{}
	}
	at := func(q float64) float64 {
		d := ds[max(0, int(math.Ceil(q*float64(n)))-1)]
		return math.Round(float64(d)/float64(time.Microsecond)) / 1000
	}
	return Distribution{N: n, Min: at(0), P50: at(.5), P99: at(.99), Max: at(1)}
}
