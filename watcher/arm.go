package watcher

import (
	"net/netip"
	"slices"
	"time"

	"github.com/lastcall-k8s/lastcall/ledger"
)

// arm ends the baseline. What is terminating in it left before the agent started, at a time that
// nobody knows: each path on which such an endpoint would have been expected is re-armed, or
// retained if it is still in the expected set. Endpoints that are merely not ready are no departures.
func (s *state) arm(at time.Time) []ledger.Change {
	s.armed, s.base = true, at
	c := cause{at: at, relisted: true}
	return s.collect(func() {
		for _, n := range sortedNames(s.pods) {
			own := s.pods[n]
			if own.reason == "" {
				continue
			}
			own.told, own.at = true, at
			if own.deletion.IsZero() { // such as finished Jobs
				own.over = true
				continue
			}
			s.departPod(own, own.reason, true, c)
			s.farewell(own, false, c)
		}
		for _, n := range sortedNames(s.services) {
			e := s.services[n]
			s.announceTerminating(n, e, c)
			s.rearm(n, e, c)
		}
		s.baselineReady(c)
	})
}

func (s *state) rearm(n name, e *entry, c cause) {
	if !e.anyTerminating() {
		return
	}
	is := byID(e.expect(s.place))
	for _, x := range expect(e.service, e.untilNow(), s.place) {
		terminating := pick(x.endpoints, func(_ netip.AddrPort, ep *endpoint) bool { return ep.terminating })
		for _, addr := range terminating {
			ep := x.endpoints[addr]
			r := ledger.Removal{Key: ledger.Key{Path: x.path(n, addr), UID: ep.uid}, Frontends: x.frontends()}
			if holder := is[x.id()].endpoints[addr]; holder != nil && holder.uid == ep.uid {
				s.out = append(s.out, ledger.Change{At: c.at, Retained: &r})
				continue
			}
			r.Seen, r.Rearmed = c.at, true
			s.leave(r, nil, c)
		}
	}
}

func (e *entry) anyTerminating() bool {
	for _, sl := range e.slices {
		if slices.ContainsFunc(sl.endpoints, func(ep endpoint) bool { return ep.terminating }) {
			return true
		}
	}
	return false
}

// untilNow are the slices as they may have been before any of their endpoints began to terminate.
// Those keep the mark, but are ready.
func (e *entry) untilNow() []*slice {
	was := make([]*slice, 0, len(e.slices))
	for _, sl := range e.slices {
		c := *sl.slice
		c.endpoints = slices.Clone(c.endpoints)
		for i := range c.endpoints {
			if ep := &c.endpoints[i]; ep.terminating {
				ep.ready = true
			}
		}
		was = append(was, &c)
	}
	return was
}
