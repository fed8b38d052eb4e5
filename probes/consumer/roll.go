package consumer

import (
	"net/netip"
	"time"

	"github.com/lastcall-k8s/lastcall/ledger"
)

// roll is who was active when a replica was last looked at: as a whole, or for Named kinds by Service.
type roll struct {
	named bool
	calls map[ledger.ServicePort]*call
	size  int
}

// call is one look.
type call struct {
	at     time.Time // it was so then, or later
	active map[netip.AddrPort]struct{}
	full   bool // there were more than are remembered
}

// sighting is what the roll says of a path.
type sighting struct {
	presence
	at time.Time
}

func newRoll(named bool, of []Want, at time.Time) *roll {
	r := &roll{named: named, calls: map[ledger.ServicePort]*call{}}
	for _, w := range of {
		r.calls[w.Service] = &call{at: at, active: map[netip.AddrPort]struct{}{}}
	}
	if !named {
		r.calls[ledger.ServicePort{}] = &call{at: at, active: map[netip.AddrPort]struct{}{}}
	}
	return r
}

func (r *roll) add(under ledger.ServicePort, at netip.AddrPort) {
	c := r.calls[under]
	switch {
	case c == nil:
	case r.size >= maxActive:
		c.full = true
	default:
		c.active[at] = struct{}{}
		r.size++
	}
}

// take replaces what a newer look covers.
func (r *roll) take(newer *roll, a Answer) {
	for of, c := range newer.calls {
		c.at = c.at.Add(-a.Age)
		if old := r.calls[of]; old != nil {
			r.size -= len(old.active)
		}
		r.size += len(c.active)
		r.calls[of] = c
	}
	for of, c := range r.calls { // Services that are gone
		if r.size <= maxActive {
			break
		}
		r.size -= len(c.active)
		delete(r.calls, of)
	}
}

// before is what is known of a path from before it left. Only a look that was made while it was expected counts.
func (r *roll) before(rm ledger.Removal) sighting {
	key := rm.Path.Service
	if !r.named {
		key = ledger.ServicePort{}
	}
	c := r.calls[key]
	if c == nil || !c.at.After(rm.ExpectedSince) {
		return sighting{}
	}
	at := rm.Path.Endpoint
	if _, ok := c.active[at]; ok {
		return sighting{wasActive, c.at}
	}
	if _, ok := c.active[netip.AddrPortFrom(at.Addr(), 0)]; ok {
		return sighting{wasActive, c.at}
	}
	if c.full || c.at.Sub(rm.ExpectedSince) < settle {
		return sighting{}
	}
	return sighting{wasNot, c.at}
}

// looks says when a replica is to be looked at next: some seconds after the first of many endpoints was added, as long after the last, so
// that each can be told to be nowhere, and once more.
type looks struct {
	at                   []Want // for Named kinds
	known                map[Want]bool
	early, settled, late time.Time
}

func (l *looks) add(of []Want, named bool, now time.Time) {
	if named {
		if l.known == nil {
			l.known = map[Want]bool{}
		}
		for _, w := range of {
			if !l.known[w] && len(l.at) < maxNames {
				l.known[w] = true
				l.at = append(l.at, w)
			}
		}
	}
	if l.early.IsZero() {
		l.early = now.Add(settle) // which a stream of additions does not put off for ever
	} else {
		l.settled = now.Add(settle)
	}
	l.late = now.Add(settleLate)
}

// put moves the next look, after one that failed.
func (l *looks) put(at time.Time) {
	l.early = at
	l.over(at)
}

// over drops those that a look at that time makes needless.
func (l *looks) over(at time.Time) {
	for _, t := range []*time.Time{&l.settled, &l.late} {
		if !t.After(at) {
			*t = time.Time{}
		}
	}
}

func (l *looks) due() (next time.Time) {
	for _, t := range []time.Time{l.early, l.settled, l.late} {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	return next
}

// looked takes note of a look. Again asks for one more, to learn how the replica answers.
func (l *looks) looked(started, ended time.Time, again time.Duration) {
	l.early = time.Time{}
	if again > 0 {
		l.early = ended.Add(again)
	}
	l.over(started)
	if l.due().IsZero() {
		l.at, l.known = nil, nil
	}
}
