//go:build linux

package restarts

import (
	"slices"
	"time"

	"github.com/lastcall-k8s/lastcall/ledger"
)

// truth is what the clients of one consumer saw of one removal, on the same clock as the agent: the last request that reached
// the pod through it was started at Last, and by Gone so many requests in a row were answered without the pod that it had been
// let go of. For DNS, the last question whose answer had the pod's address.
type truth struct {
	Last, Gone time.Time
}

// unclear is why there is no truth.
type unclear string

const (
	neverReached unclear = "the pod was never reached"
	tooFew       unclear = "too few requests followed"
	someFailed   unclear = "requests failed in between" // any of them may have reached the pod
)

// observe finds the truth in the requests around a removal, which are in the order in which they were started.
func observe(requests []request, pod string, sure int) (truth, unclear) {
	last := -1
	for i, r := range requests {
		if slices.Contains(r.served, pod) {
			last = i
		}
	}
	switch {
	case last < 0:
		return truth{}, neverReached
	case last+sure >= len(requests):
		return truth{}, tooFew
	}
	for _, r := range requests[last : last+sure+1] {
		if r.served == nil {
			return truth{}, someFailed
		}
	}
	return truth{Last: requests[last].start, Gone: requests[last+sure].end}, ""
}

// Sample compares what the agent says of one removal at one replica with what its clients saw.
type Sample struct {
	Place, Replica string
	Burst          bool            // of a restart of the whole workload, not of one pod
	Landed         ledger.Interval // as the agent says, and not before the restart was asked for
	// T0 is when the agent of the pod's node learnt of its deletion. CoreDNS may have let go some milliseconds before.
	T0 time.Time
	// Lag is the bound that the consumer's kind states, which is part of Landed.
	Lag time.Duration
	// Bounded: the lower end is a reading that showed the pod, and not the moment it was deleted.
	Bounded bool
	// After counts requests that reached the pod though they were started after the landing.
	After int
	// Kept is how long after the landing a request reached the pod over a connection that was open before, if that was asked.
	Kept time.Duration
	truth
}

// Error is hi - last: how much later than the last request the landing is said to be.
func (s Sample) Error() time.Duration { return s.Landed.Hi.Sub(s.Last) }

// Slop is the landing's width after T0, which is what the hub makes of it.
func (s Sample) Slop() time.Duration {
	if s.T0.After(s.Landed.Lo) {
		return s.Landed.Hi.Sub(s.T0)
	}
	return s.Landed.Hi.Sub(s.Landed.Lo)
}

// Resolution is the truth's width.
func (s Sample) Resolution() time.Duration { return s.Gone.Sub(s.Last) }

// Inside reports whether the truth lies in (lo - resolution, hi], as bench/accuracy has it: no request that was started after
// the landing's upper end reached the pod, and its lower end was not before there was anything left to reach it.
//
// With hi - lo = slop, that is: 0 <= error < slop + resolution.
func (s Sample) Inside() bool {
	return s.Last.After(s.Landed.Lo.Add(-s.Resolution())) && !s.Last.After(s.Landed.Hi)
}
