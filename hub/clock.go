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
	// drift bounds how fast two free-running oscillators part: crystals of servers are within 100 ppm each.
	drift = 200e-6
	// unusable is the error from which a node's clock decides nothing: it is never named as the last.
	unusable = 100 * time.Millisecond
	// keptSamples per agent: a quarter of an hour's. Every moment that a node told is bounded by each of them.
	keptSamples = 16
)

// estimate is what is known of one agent's timeline, by comparing it with ours. It is made for one boot of the agent and
// one epoch of its machine: across a change nothing is comparable.
type estimate struct {
	boot, epoch string
	samples     []sample // oldest first
	// broken is when a sample fitted none before: the machine had been stopped without knowing. Moments of before
	// lie somewhere in between.
	before *estimate
}

// sample says that at agent time at, ours was between sent and received.
type sample struct {
	at             time.Time
	sent, received time.Time
}

// add takes a sample in. It returns the estimate to go on with: another one after an interruption.
func (e *estimate) add(c Clock, sent, received time.Time) *estimate {
	s := sample{c.Time, sent, received}
	if e == nil || e.boot != c.Boot {
		return &estimate{boot: c.Boot, epoch: c.Epoch, samples: []sample{s}}
	}
	if e.epoch != c.Epoch || !e.fits(s) {
		old := *e
		old.before = nil // one interruption back is far enough: the commit log is ten minutes long
		return &estimate{boot: c.Boot, epoch: c.Epoch, samples: []sample{s}, before: &old}
	}
	if len(e.samples) == keptSamples {
		// The worst of the older half goes: good samples are rare on a busy network, and age costs little.
		worst := 0
		for i := range e.samples[:keptSamples/2] {
			if e.samples[i].width() > e.samples[worst].width() {
				worst = i
			}
		}
		e.samples = append(e.samples[:worst], e.samples[worst+1:]...)
	}
	e.samples = append(e.samples, s)
	return e
}

func (s sample) width() time.Duration { return s.received.Sub(s.sent) }

// at bounds our time at agent time t by one sample.
func (s sample) bound(t time.Time) (lo, hi time.Time) {
	d := min(max(t.Sub(s.at), -furthest), furthest)
	slack := time.Duration(float64(d.Abs()) * drift)
	return s.sent.Add(d - slack), s.received.Add(d + slack)
}

// fits reports whether a sample can be true together with those before it.
func (e *estimate) fits(s sample) bool {
	lo, hi, ok := e.bounds(s.at)
	return !ok || !s.received.Before(lo) && !s.sent.After(hi)
}

// bounds are all samples' bounds on our time at agent time t together; ok is false without any.
func (e *estimate) bounds(t time.Time) (lo, hi time.Time, ok bool) {
	for i, s := range e.samples {
		l, h := s.bound(t)
		if i == 0 || l.After(lo) {
			lo = l
		}
		if i == 0 || h.Before(hi) {
			hi = h
		}
	}
	return lo, hi, len(e.samples) > 0
}

// ours brings a moment of the agent onto our timeline, with a bound on the error.
func (e *estimate) ours(t time.Time) (at time.Time, err time.Duration, ok bool) {
	if e == nil {
		return time.Time{}, 0, false
	}
	lo, hi, ok := e.bounds(t)
	if !ok {
		return time.Time{}, 0, false
	}
	if e.before != nil && t.Before(e.samples[0].at) {
		// Before or during an interruption of unknown length: by either estimate.
		l, h, ok := e.before.bounds(t)
		if ok {
			if l.Before(lo) {
				lo = l
			}
			if h.After(hi) {
				hi = h
			}
		}
	}
	err = max(hi.Sub(lo)/2, 0)
	return lo.Add(hi.Sub(lo) / 2), err, true
}
