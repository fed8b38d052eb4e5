package report

import (
	"cmp"
	"slices"
	"time"
)

// Stay is a pod's time from T0 to its end.
type Stay struct{ From, To time.Time }

// MostAtOnce is how many pods were terminating at the same time.
func MostAtOnce(stays []Stay) int {
	type step struct {
		at time.Time
		by int
	}
	var steps []step
	for _, s := range stays {
		steps = append(steps, step{s.From, 1}, step{s.To, -1})
	}
	slices.SortFunc(steps, func(a, b step) int {
		return cmp.Or(a.at.Compare(b.at), a.by-b.by) // who ends makes room first
	})
	n, most := 0, 0
	for _, s := range steps {
		n += s.by
		most = max(most, n)
	}
	return most
}
