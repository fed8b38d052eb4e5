package hub

import (
	"encoding/json"
	"errors"
	"time"
)

// Clock is the answer of an agent's /v1/clock: the moment on its timeline, and whether it is still the timeline it was.
type Clock struct {
	Boot  string    `json:"boot"`  // of the agent, as in its event lines
	Epoch string    `json:"epoch"` // changes when the machine's clock was interrupted: boot, suspend
	Time  time.Time `json:"time"`
}

// decodeClock reads an answer of /v1/clock that was received now.
func decodeClock(text []byte, now time.Time) (c Clock, err error) {
	if err := json.Unmarshal(text, &c); err != nil || c.Boot == "" || len(c.Boot) > 64 || len(c.Epoch) > 128 || now.Sub(c.Time).Abs() > furthest {
		return Clock{}, nonsense{errors.New("a clock that is none")}
	}
	return c, nil
}

const (
	// furthest is how far from each other moments may lie that are compared: differences of more than 292 years overflow.
	furthest = 100 * 365 * 24 * time.Hour
	// driftOneIn bounds how fast two free-running oscillators part: 200 ppm, since crystals of servers are within 100 ppm each.
	driftOneIn = 5000
	// unusable is the error from which a node's clock decides nothing: it is never named as the last.
	unusable = 100 * time.Millisecond
	// keptSamples per agent: a quarter of an hour's. Every moment that a node told is bounded by each of them.
	keptSamples = 16
)

// estimate is what is known of one agent's timeline, by comparing it with ours. It is made for one boot of the agent and
// one epoch of its machine: across a change nothing is comparable. It never changes: a sample makes another one, so that
// rows can be built from it without a lock.
type estimate struct {
	boot, epoch string
	samples     []sample // oldest first
	// before is what held until a sample fitted none before: the machine had been stopped without knowing. Moments of before
	// lie somewhere in between.
	before *estimate
}

// sample says that at agent time at, ours was between sent and received; all in nanoseconds since 1970.
type sample struct{ at, sent, received int64 }

// add takes a sample in. It returns the estimate to go on with: another one after an interruption.
func (e *estimate) add(c Clock, sent, received time.Time) *estimate {
	s := sample{c.Time.UnixNano(), sent.UnixNano(), received.UnixNano()}
	if e == nil || e.boot != c.Boot {
		return &estimate{boot: c.Boot, epoch: c.Epoch, samples: []sample{s}}
	}
	if e.epoch != c.Epoch || !e.fits(s) {
		old := *e
		old.before = nil // one interruption back is far enough: the commit log is ten minutes long
		return &estimate{boot: c.Boot, epoch: c.Epoch, samples: []sample{s}, before: &old}
	}
	kept := make([]sample, 0, keptSamples)
	worst := -1
	if len(e.samples) == keptSamples {
		// The worst of the older half goes: good samples are rare on a busy network, and age costs little.
		worst = 0
		for i, s := range e.samples[:keptSamples/2] {
			if s.width() > e.samples[worst].width() {
				worst = i
			}
		}
	}
	for i, s := range e.samples {
		if i != worst {
			kept = append(kept, s)
		}
	}
	return &estimate{boot: e.boot, epoch: e.epoch, samples: append(kept, s), before: e.before}
}

func (s sample) width() int64 { return s.received - s.sent }

// bound bounds our time at agent time t by one sample.
func (s sample) bound(t int64) (lo, hi int64) {
	d := t - s.at
	slack := max(d, -d) / driftOneIn
	return s.sent + d - slack, s.received + d + slack
}

// fits reports whether a sample can be true together with those before it.
func (e *estimate) fits(s sample) bool {
	lo, hi := e.bounds(s.at)
	return s.received >= lo && s.sent <= hi
}

// bounds are all samples' bounds on our time at agent time t together.
func (e *estimate) bounds(t int64) (lo, hi int64) {
	lo, hi = e.samples[0].bound(t)
	for _, s := range e.samples[1:] {
		l, h := s.bound(t)
		lo, hi = max(lo, l), min(hi, h)
	}
	return lo, hi
}

// ours brings a moment of the agent onto our timeline, with a bound on the error.
func (e *estimate) ours(t time.Time) (at time.Time, err time.Duration, ok bool) {
	if e == nil {
		return time.Time{}, 0, false
	}
	near := e.samples[0].at
	theirs := near + int64(min(max(t.Sub(time.Unix(0, near)), -furthest), furthest))
	lo, hi := e.bounds(theirs)
	if e.before != nil && theirs < e.samples[0].at {
		// Before or during an interruption of unknown length: by either estimate.
		l, h := e.before.bounds(theirs)
		lo, hi = min(lo, l), max(hi, h)
	}
	half := (hi - lo) / 2
	return time.Unix(0, lo+half).UTC(), time.Duration(max(half, 0)), true
}
