package watcher

import (
	"time"

	"github.com/lastcall-k8s/lastcall/ledger"
)

// departures remembers what was announced, so that each pod's departure is announced once, and once
// more when something better is learnt.
type departures struct {
	known   map[string]departure // by pod UID
	sweepAt int
}

type departure struct {
	rank rank
	at   time.Time
}

// rank is how much is known of a departure.
type rank int

const (
	inferred rank = iota + 1 // paths went; no pod leaves, or nobody says so: unready, selector, vanished
	shown                    // a slice shows the pod terminating
	told                     // the pod itself says so; only its own node sees that
)

// chained is how long an inferred departure stands for the paths that go after it, the same gap that
// ends an episode. A pod that turns unready in one Service may an hour later leave another.
const chained = 60 * time.Second

// depart announces a departure unless as much is known.
func (s *state) depart(d ledger.Departure, r rank, c cause) {
	if k, ok := s.departures.known[d.Pod.UID]; ok && k.rank >= r {
		if k.rank > inferred || c.at.Sub(k.at) < chained {
			return
		}
	}
	if p := s.uids[d.Pod.UID]; p != nil {
		d.Workload, d.Revision, d.Containers = p.workload, p.revision, p.containers
	}
	d.ResourceVersion = c.version
	s.departures.known[d.Pod.UID] = departure{r, c.at}
	s.out = append(s.out, ledger.Change{At: c.at, Departed: &d})
	if len(s.departures.known) > max(s.departures.sweepAt, 1024) {
		s.sweep(c.at)
	}
}

// sweep forgets the departures of pods that are gone. It walks all endpoints, 5 ms for 100,000
// (BenchmarkSweep), at most once in a thousand departures.
func (s *state) sweep(now time.Time) {
	kept := map[string]departure{}
	for uid, d := range s.departures.known {
		// What was inferred stands for no longer; of others, news may still be on its way.
		if s.uids[uid] != nil || now.Sub(d.at) < chained {
			kept[uid] = d
		}
	}
	for _, e := range s.services {
		for _, sl := range e.slices {
			for i := range sl.endpoints {
				ep := &sl.endpoints[i]
				if ep.ready && !ep.terminating {
					continue // does not depart
				}
				if d, ok := s.departures.known[ep.uid]; ok {
					kept[ep.uid] = d
				}
			}
		}
	}
	s.departures.known, s.departures.sweepAt = kept, 2*len(kept)
}

// departEndpoint announces what the slices say of an endpoint's pod.
func (s *state) departEndpoint(n name, e *endpoint, why ledger.Reason, c cause) {
	d := ledger.Departure{
		Pod:    ledger.Pod{UID: e.uid, Namespace: n.namespace, Name: e.name, Node: e.node.Value()},
		Reason: why, T0: c.at, Source: ledger.FromSlice, Grace: -1,
	}
	if c.relisted {
		// Receipt of a list is no lower bound of anything: the slice may have said so long before.
		d.T0, d.Source = time.Time{}, ledger.T0Unknown
	}
	r := inferred
	if why == ledger.Delete {
		r = shown
	}
	s.depart(d, r, c)
}

// putPod takes in a pod of the own node.
func (s *state) putPod(n name, p *pod, c cause) {
	own := s.pods[n]
	if own != nil && own.uid != p.uid {
		s.dropPod(n, nil, c) // its name is used again and nobody told us that it went
		own = nil
	}
	isNew := own == nil
	if isNew {
		own = &ownPod{name: n}
		s.pods[n] = own
		s.uids[p.uid] = own
	}
	own.pod = p
	if s.armed && !own.told && p.reason != "" {
		own.told, own.at = true, c.at
		// A pod that comes into sight terminating was deleted before.
		s.departPod(own, p.reason, isNew || c.relisted, c)
	}
	s.farewell(own, false, c)
}

// farewell tells which containers of a departing pod have ended, whenever there are more of them, and that
// its object is gone.
func (s *state) farewell(own *ownPod, gone bool, c cause) {
	if !s.armed || !own.told || own.over || len(own.exits) <= own.exited && !gone {
		return
	}
	own.exited = len(own.exits)
	f := &ledger.Farewell{Gone: gone,
		Pod: ledger.Pod{UID: own.uid, Namespace: own.namespace, Name: own.name.name, Node: s.node}}
	for _, e := range own.exits {
		set := c.at.Round(0).Sub(own.at.Round(0)) - c.at.Sub(own.at) // Round drops the monotonic reading
		e.Told, e.By = c.at, endedBy(e.Finished, c.at, set)
		f.Exits = append(f.Exits, e)
	}
	s.out = append(s.out, ledger.Change{At: c.at, Farewell: f})
}

// endedBy brings finishedAt, which the kubelet read off this machine's wall clock and cut to whole seconds, to receipt: what had
// ended so long before. If the wall clock was set by so much since the departure, nobody can tell how long.
func endedBy(finished, receipt time.Time, set time.Duration) time.Time {
	if finished.IsZero() || set.Abs() > wallError {
		return receipt
	}
	return receipt.Add(-max(receipt.Round(0).Sub(finished)-time.Second-wallError, 0))
}

// wallError is how far a wall clock that nobody sets may part from the monotonic one while a pod leaves: 50 ms are 500 ppm of 100 s.
const wallError = 50 * time.Millisecond

// dropPod takes in that a pod is gone; last is its last state, nil if a list had to tell.
func (s *state) dropPod(n name, last *pod, c cause) {
	own := s.pods[n]
	if own == nil {
		return
	}
	defer func() { // the announcement wants the pod's workload
		delete(s.pods, n)
		if s.uids[own.uid] == own {
			delete(s.uids, own.uid)
		}
	}()
	if !s.armed {
		return
	}
	if last != nil && len(last.exits) > len(own.exits) {
		own.exits = last.exits
	}
	defer s.farewell(own, true, c)
	if own.told {
		return
	}
	defer func() { own.told, own.at = true, c.at }()
	switch {
	case last == nil:
		s.departPod(own, ledger.Vanished, true, c)
	case last.terminal && last.reason != "":
		s.departPod(own, last.reason, true, c)
	default:
		own.grace = 0
		s.departPod(own, ledger.Force, false, c)
	}
}

// departPod announces what a pod of the own node says of itself. If it is late, receipt says nothing
// of when the pod began to leave.
func (s *state) departPod(own *ownPod, why ledger.Reason, late bool, c cause) {
	d := ledger.Departure{
		Pod:    ledger.Pod{UID: own.uid, Namespace: own.namespace, Name: own.name.name, Node: s.node},
		Reason: why, T0: c.at, Source: ledger.FromPod, Grace: own.grace, Addrs: own.addrs,
	}
	switch {
	case why == ledger.NodeShutdown, why == ledger.KubeletEvict, why == ledger.Completed:
		// The API learns of these when the containers are dead.
		d.T0, d.Source = time.Time{}, ledger.T0Unknown
	case late && !own.deletion.IsZero() && own.grace >= 0:
		d.T0, d.Source = own.deletion.Add(-time.Duration(own.grace)*time.Second), ledger.FromDeletion
	case late:
		d.T0, d.Source = time.Time{}, ledger.T0Unknown
	}
	s.depart(d, told, c)
}
