package sizing

import (
	"slices"
	"strings"
	"time"
)

// measured is an episode as a sample.
type measured struct {
	Sample
	gap, missing bool // why it is not whole
	stuck        bool
	stuckAt      []Place
	coarse       bool
	top          Place     // who was last in its worst departure
	next         float64   // what the episode would be without top
	lows         []float64 // lower ends of the last calls of those that entered
	entered      int       // departures; 0: it is no sample
	outs         map[Out]int
	most         int // pods terminating at once
	begun, ended time.Time
	regime       Regime
	id           int64
	uid          string // of the worst departure
}

// measure makes a sample of an episode: the worst of its departures.
func measure(e Episode, o Options) measured {
	m := measured{regime: e.Regime, most: e.Episode.Most, begun: e.Episode.Begun, ended: e.Episode.Ended, id: e.Episode.ID, outs: map[Out]int{}}
	m.gap = e.Episode.Open // a worse departure may still join
	var ds []departed
	for _, d := range e.Departures {
		s, out := depart(d, o)
		if out != "" {
			m.outs[out]++
			// Departures of an episode share its slowest place: one that is left out may have been the worst.
			m.gap = m.gap || out == OutCoverage || out == OutNoT0
			continue
		}
		ds = append(ds, s)
		if d.LastCall != nil {
			m.lows = append(m.lows, min(d.LastCall.Lo, s.Seconds))
		} else {
			m.lows = append(m.lows, 0)
		}
		if m.entered++; m.uid == "" || s.Seconds > m.Seconds || s.Seconds == m.Seconds && d.UID < m.uid {
			m.Seconds, m.uid, m.top = s.Seconds, d.UID, s.top
		}
		m.gap, m.missing, m.coarse = m.gap || s.gap, m.missing || s.missing, m.coarse || s.coarse
		m.stuck = m.stuck || s.isStuck
		m.stuckAt = append(m.stuckAt, s.stuck...)
	}
	for _, s := range ds {
		m.next = max(m.next, s.without(m.top))
	}
	slices.SortFunc(m.stuckAt, byPlace)
	m.stuckAt = slices.Compact(m.stuckAt)
	m.Whole = !m.gap && !m.missing
	return m
}

func (s departed) without(p Place) float64 {
	if p != (Place{}) && s.top == p {
		return s.next
	}
	return s.Seconds
}

// without is the sample as it would have been without a place.
func (m measured) without(p Place) Sample {
	s := m.Sample
	if p != (Place{}) && m.top == p {
		s.Seconds = m.next
	}
	return s
}

// sample is what the bound is made of. A user who adds seconds for places that nobody measures has answered for them.
func (m measured) sample(o Options) Sample {
	s := m.Sample
	s.Whole = !m.gap && (!m.missing || o.Unmeasured > 0)
	return s
}

func byPlace(a, b Place) int {
	if c := strings.Compare(a.Node, b.Node); c != 0 {
		return c
	}
	if c := strings.Compare(a.Kind, b.Kind); c != 0 {
		return c
	}
	return strings.Compare(a.Replica, b.Replica)
}

// byTime sorts episodes by their begin.
func byTime(a, b measured) int {
	if c := a.begun.Compare(b.begun); c != 0 {
		return c
	}
	return int(a.id - b.id)
}
