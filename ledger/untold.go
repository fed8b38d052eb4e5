package ledger

import (
	"slices"
	"time"
)

// untold is what was opened and is in no line yet. A line for each API event would be a line for each pod and node: instead
// it waits for the commit that settles it, which tells it too, and for a second at most.
type untold struct {
	leaving map[string]Leaving // by pod UID
	opened  map[share]*opened
	order   []share // of opened, oldest first; may name what was told meanwhile
}

type opened struct {
	at       time.Time
	version  string // newest
	removals int
	ports    []uint16
	kept     bool // retained on purpose, if only for a moment
	local    bool // of a traffic policy Local
}

// open notes what opened a removal; begun unless it was open before, as retained.
func (u *untold) open(k Key, c Change, begun bool) {
	at := shareOf(k)
	o := u.opened[at]
	if o == nil {
		o = &opened{}
		u.opened[at] = o
		u.order = append(u.order, at)
	}
	o.at = c.At
	if begun {
		o.removals++
	}
	o.kept = o.kept || c.Retained != nil
	o.local = o.local || k.Path.Policy == Local
	if c.ResourceVersion != "" {
		o.version = c.ResourceVersion
	}
	if port := k.Path.Endpoint.Port(); !slices.Contains(o.ports, port) {
		o.ports = append(o.ports, port)
	}
}

// names reports whether a pod is in a line to come.
func (u *untold) names(b *batch, uid string) bool {
	return u.opened[share{uid, IPv4}] != nil || u.opened[share{uid, IPv6}] != nil || b.names(uid)
}

func (b *batch) names(uid string) bool {
	for _, e := range b.lines {
		if slices.ContainsFunc(e.Departures, func(s Settled) bool { return s.UID == uid }) {
			return true
		}
	}
	return false
}

// take moves what is to be told of a pod to its place in a line.
func (u *untold) take(at share, s *Settled) {
	if l, ok := u.leaving[at.uid]; ok {
		s.Leaving = &l
		delete(u.leaving, at.uid)
	}
	if o := u.opened[at]; o != nil {
		s.Opened, s.Ports, s.ResourceVersion, s.Kept, s.Local = o.removals, o.ports, o.version, o.kept, o.local
		delete(u.opened, at)
	}
}

// tell writes it all: a line for each family.
func (l *Ledger) tell() {
	order := l.untold.order
	l.untold.order = nil
	for _, f := range []Family{IPv4, IPv6} {
		e := Event{Type: EventRemovals, Place: l.cfg.Place, Replica: l.cfg.Replica, Backend: l.cfg.Backend, Family: f}
		for _, at := range order {
			o := l.untold.opened[at]
			if o == nil || at.family != f {
				continue
			}
			if o.at.After(e.At) {
				e.At = o.at
			}
			if !slices.ContainsFunc(e.Departures, func(s Settled) bool { return s.UID == at.uid }) {
				e.Departures = append(e.Departures, Settled{UID: at.uid})
			}
		}
		if len(e.Departures) > 0 {
			l.write(e)
		}
	}
}
