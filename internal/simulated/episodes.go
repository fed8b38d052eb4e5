// Package simulated draws episodes of departures whose law is known, to see how often a recommendation holds.
package simulated

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
)

// Tail is the law of one departure's last call.
type Tail string

const (
	// Lognormal: median 1.6 s, one in a hundred over 17 s.
	Lognormal Tail = "lognormal"
	// Pareto with exponent 1.2: no variance; median 0.9 s, one in a hundred over 23 s.
	Pareto Tail = "pareto"
)

// World is how departures of an episode hang together.
type World struct {
	Tail        Tail
	Correlation float64 // of any two departures of an episode, as a Gaussian copula
	Pods        int     // that leave in an episode; 0: 10 to 200, few as often as many
	Scale       float64 // of all times; 0: 1
}

// String names the world in a table.
func (w World) String() string {
	pods := fmt.Sprint(w.Pods, " pods")
	switch w.Pods {
	case 0:
		pods = "10-200 pods"
	case 1:
		pods = "1 pod"
	}
	return fmt.Sprintf("%s, correlation %g, %s", w.Tail, w.Correlation, pods)
}

// Episode draws the last calls of one episode's departures.
func (w World) Episode(r *rand.Rand) []float64 { return w.episode(r, r.NormFloat64()) }

// Worst draws an episode's worst last call.
func (w World) Worst(r *rand.Rand) float64 {
	var room [200]float64
	return w.seconds(slices.Max(w.normal(r, r.NormFloat64(), room[:0])))
}

func (w World) episode(r *rand.Rand, shared float64) []float64 {
	calls := w.normal(r, shared, nil)
	for i, z := range calls {
		calls[i] = w.seconds(z)
	}
	return calls
}

func (w World) normal(r *rand.Rand, shared float64, zs []float64) []float64 {
	n := w.Pods
	if n == 0 {
		n = int(math.Round(10 * math.Pow(20, r.Float64())))
	}
	shared *= math.Sqrt(w.Correlation)
	own := math.Sqrt(1 - w.Correlation)
	for range n {
		zs = append(zs, shared+own*r.NormFloat64())
	}
	return zs
}

// seconds is the quantile of the law at a standard normal variable.
func (w World) seconds(z float64) float64 {
	scale := w.Scale
	if scale == 0 {
		scale = 1
	}
	if w.Tail == Pareto {
		return scale * 0.5 * math.Pow(math.Erfc(z/math.Sqrt2)/2, -1/1.2)
	}
	return scale * math.Exp(0.5+z)
}

// Law is the distribution of the worst last call, drawn once.
type Law struct{ sorted []float64 }

// LawOf draws it n times.
func (w World) LawOf(r *rand.Rand, n int) Law {
	l := Law{make([]float64, n)}
	for i := range l.sorted {
		l.sorted[i] = w.Worst(r)
	}
	slices.Sort(l.sorted)
	return l
}

// Within is the probability that the next episode takes at most s.
func (l Law) Within(s float64) float64 {
	i, _ := slices.BinarySearchFunc(l.sorted, s, func(x, s float64) int {
		if x <= s {
			return -1
		}
		return 1
	})
	return float64(i) / float64(len(l.sorted))
}

// Mean is a mean with its standard error.
type Mean struct {
	N     int     `json:"n"`
	Value float64 `json:"value"`
	Error float64 `json:"standard_error"`
}

// Coverage is the mean of how often bounds hold by a law. What the law itself was drawn from is in the error.
func Coverage(within []float64, l Law) Mean {
	m := Mean{N: len(within)}
	if m.N == 0 {
		return m
	}
	var sum, squares float64
	for _, x := range within {
		sum += x
		squares += x * x
	}
	n := float64(m.N)
	m.Value = sum / n
	variance := max(squares/n-m.Value*m.Value, 0)
	drawn := m.Value * (1 - m.Value) / float64(len(l.sorted))
	m.Error = math.Sqrt(variance/n + drawn)
	return m
}
