//go:build linux

package main

import "math"

// student95 is the 97.5 % quantile of Student's t with n degrees of freedom: half the width of a 95 % interval, in standard
// errors. Hill's expansion of the normal quantile; for two degrees and less the closed forms.
func student95(n int) float64 {
	switch {
	case n < 1:
		return math.NaN()
	case n == 1:
		return 12.706
	case n == 2:
		return 4.303
	}
	const z = 1.959964
	z3, z5, z7 := z*z*z, z*z*z*z*z, z*z*z*z*z*z*z
	d := float64(n)
	return z + (z3+z)/(4*d) + (5*z5+16*z3+3*z)/(96*d*d) + (3*z7+19*z5+17*z3-15*z)/(384*d*d*d)
}

// estimate is a mean or a slope with its 95 % interval.
type estimate struct {
	Value float64 `json:"value"`
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
}

// mean of values that do not depend on each other. One value has no interval: its bounds are itself.
func mean(xs []float64) estimate {
	n := float64(len(xs))
	m, ss := 0.0, 0.0
	for _, x := range xs {
		m += x / n
	}
	for _, x := range xs {
		ss += (x - m) * (x - m)
	}
	half := 0.0
	if len(xs) > 1 {
		half = student95(len(xs)-1) * math.Sqrt(ss/(n-1)/n)
	}
	return estimate{m, m - half, m + half}
}

// line fits y = at0 + slope x by least squares.
func line(xs, ys []float64) (slope estimate, at0 float64) {
	n := float64(len(xs))
	var mx, my, sxx, sxy, rest float64
	for i := range xs {
		mx += xs[i] / n
		my += ys[i] / n
	}
	for i := range xs {
		sxx += (xs[i] - mx) * (xs[i] - mx)
		sxy += (xs[i] - mx) * (ys[i] - my)
	}
	b := sxy / sxx
	at0 = my - b*mx
	for i := range xs {
		e := ys[i] - at0 - b*xs[i]
		rest += e * e
	}
	half := math.Inf(1)
	if len(xs) > 2 {
		half = student95(len(xs)-2) * math.Sqrt(rest/(n-2)/sxx)
	}
	return estimate{b, b - half, b + half}, at0
}

// blocks averages neighbours, so that what is left depends on each other less: memory is a saw, and a line through all
// its points would claim an error far too small.
func blocks(xs []float64, n int) (means []float64) {
	for i := range n {
		if part := xs[i*len(xs)/n : (i+1)*len(xs)/n]; len(part) > 0 {
			means = append(means, mean(part).Value)
		}
	}
	return means
}
