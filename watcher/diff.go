package watcher

import (
	"net/netip"
	"slices"
	"time"

	"github.com/lastcall-k8s/lastcall/ledger"
)

// compare tells what an event meant for the paths of one service: what left, first; then what was
// taken into the expected set or is kept in it although its pod leaves.
func (s *state) compare(n name, e *entry, before, after []expectation, c cause) {
	s.announceTerminating(n, e, c)
	was, is := byID(before), byID(after)
	var now map[string]*endpoint // what the slices say now, by pod UID; made when a path left
	for _, x := range before {
		holders := is[x.id()].endpoints
		gone := pick(x.endpoints, func(addr netip.AddrPort, ep *endpoint) bool {
			return holders[addr] == nil || holders[addr].uid != ep.uid
		})
		for _, addr := range gone {
			ep, holder := x.endpoints[addr], holders[addr]
			if now == nil {
				now = e.byUID()
			}
			s.departEndpoint(n, ep, s.whyLeft(ep, now[ep.uid], e), c)
			s.leave(ledger.Removal{
				Key:           ledger.Key{Path: x.path(n, addr), UID: ep.uid},
				Frontends:     x.frontends(),
				ExpectedSince: s.time(ep.since),
				Seen:          c.at,
				Rearmed:       c.relisted, // it left at some time while nobody watched
			}, holder, c)
		}
	}
	s.pass++
	for _, x := range after {
		s.age(x, was[x.id()], c)
	}
	for _, x := range after {
		held := was[x.id()].endpoints
		entered := func(addr netip.AddrPort) bool {
			return held[addr] == nil || held[addr].uid != x.endpoints[addr].uid
		}
		retained := func(addr netip.AddrPort) bool {
			return x.endpoints[addr].terminating && (entered(addr) || !held[addr].terminating)
		}
		news := pick(x.endpoints, func(addr netip.AddrPort, _ *endpoint) bool {
			return entered(addr) || retained(addr)
		})
		for _, addr := range news {
			ep := x.endpoints[addr]
			key := ledger.Key{Path: x.path(n, addr), UID: ep.uid}
			if entered(addr) {
				s.enter(key, c)
			}
			if retained(addr) {
				s.out = append(s.out, ledger.Change{At: c.at, ResourceVersion: c.version, Retained: &ledger.Removal{
					Key: key, Frontends: x.frontends(), ExpectedSince: s.time(ep.since)}})
			}
		}
	}
}

// announceTerminating announces the pods that the slices of a service show to be terminating.
func (s *state) announceTerminating(n name, e *entry, c cause) {
	for _, sl := range e.slices {
		c.version = sl.version
		for i := range sl.endpoints {
			if ep := &sl.endpoints[i]; ep.terminating {
				s.departEndpoint(n, ep, ledger.Delete, c)
			}
		}
	}
}

// whyLeft is the reason for which an endpoint's path is not expected any more; now is what the
// slices of the service say of its pod, nil if nothing.
func (s *state) whyLeft(was, now *endpoint, e *entry) ledger.Reason {
	switch {
	case now != nil && now.terminating:
		return ledger.Delete
	case now != nil && !now.ready:
		return ledger.Unready
	case now != nil, e.service == nil:
		return ledger.Selector // the Service, its ports or the topology changed
	case s.uids[was.uid] != nil:
		return ledger.Selector // it is here, and it does not leave
	}
	return ledger.Vanished
}

// leave opens a removal. If another pod is expected on the path now, it ends at once.
func (s *state) leave(r ledger.Removal, holder *endpoint, c cause) {
	s.out = append(s.out, ledger.Change{At: c.at, ResourceVersion: c.version, Left: &r})
	if holder != nil {
		s.out = append(s.out, ledger.Change{At: c.at, Superseded: &r.Key})
		return
	}
	s.left.add(r.Key, c.at)
}

// enter ends the removal of whoever left the path before.
func (s *state) enter(k ledger.Key, c cause) {
	uid, ok := s.left.take(k.Path)
	switch {
	case !ok:
	case uid == k.UID:
		s.out = append(s.out, ledger.Change{At: c.at, Returned: &k})
		if s.departures.known[uid].rank == inferred {
			delete(s.departures.known, uid) // when it goes again, that is another departure
		}
	default:
		old := ledger.Key{Path: k.Path, UID: uid}
		s.out = append(s.out, ledger.Change{At: c.at, Superseded: &old})
	}
}

// age notes since when the endpoints of x are expected. An endpoint that was expected before, on any
// port, keeps its time.
func (s *state) age(x, was expectation, c cause) {
	for addr, ep := range x.endpoints {
		if prev := was.endpoints[addr]; prev != nil && prev.uid == ep.uid {
			ep.since, ep.pass = prev.since, s.pass
		}
	}
	for _, ep := range x.endpoints {
		if ep.pass != s.pass && !c.relisted {
			ep.since = max(c.at.Sub(s.base), 1)
		}
	}
}

func (s *state) time(since time.Duration) time.Time {
	if since == 0 {
		return time.Time{}
	}
	return s.base.Add(since)
}

func byID(xs []expectation) map[portID]expectation {
	m := make(map[portID]expectation, len(xs))
	for _, x := range xs {
		m[x.id()] = x
	}
	return m
}

// byUID finds endpoints by pod. In doubt it prefers one that says that its pod leaves.
func (e *entry) byUID() map[string]*endpoint {
	m := map[string]*endpoint{}
	for _, sl := range e.slices {
		for i := range sl.endpoints {
			ep := &sl.endpoints[i]
			if prev := m[ep.uid]; prev == nil || ep.terminating {
				m[ep.uid] = ep
			}
		}
	}
	return m
}

// pick returns the addresses that want a word, in order.
func pick(m map[netip.AddrPort]*endpoint, want func(netip.AddrPort, *endpoint) bool) []netip.AddrPort {
	var addrs []netip.AddrPort
	for addr, ep := range m {
		if want(addr, ep) {
			addrs = append(addrs, addr)
		}
	}
	slices.SortFunc(addrs, netip.AddrPort.Compare)
	return addrs
}
