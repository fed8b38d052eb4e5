//go:build linux

package main

import (
	"time"

	"github.com/lastcall-k8s/lastcall/ledger"
)

// truth is what the clients saw of one removal: the last connection that reached the removed pod was
// started at Last. The rule was still there after Last, and gone before Gone with a probability of
// 1 - 2^-sure: by then as many connections in a row had reached the other pod.
type truth struct {
	Last, Gone time.Time
}

const sure = 14

// observe finds the truth in the connections around a removal, in the order they were started. ok is
// false if the removed pod was never reached, or not enough connections followed.
func observe(conns []conn, removed string) (t truth, ok bool) {
	last := -1
	for i, c := range conns {
		if c.server == removed {
			last = i
		}
	}
	if last < 0 || last+sure >= len(conns) {
		return t, false
	}
	return truth{Last: conns[last].start, Gone: conns[last+sure].end}, true
}

// sample compares one removal's landing with its truth.
type sample struct {
	Landed ledger.Interval
	Truth  truth
	// After counts connections started more than 2 ms after landed that reached the pod all the same.
	After int
	// Iptables or nft list, polled each second, showed the endpoint gone at Polled (zero: not polled).
	Polled time.Time
}

// afterGrace is how long after hi a connection must have been started to count against a landing.
const afterGrace = 2 * time.Millisecond

// errorOf is hi - last: how much later than the last connection the landing is said to be.
func (s sample) errorOf() time.Duration { return s.Landed.Hi.Sub(s.Truth.Last) }

// inside reports whether the truth lies in (lo - resolution, hi].
func (s sample) inside() bool {
	lo := s.Landed.Lo.Add(-s.resolution())
	return s.Truth.Last.After(lo) && !s.Truth.Last.After(s.Landed.Hi)
}

func (s sample) resolution() time.Duration { return s.Truth.Gone.Sub(s.Truth.Last) }
