package hub

import (
	"slices"
	"time"

	"github.com/lastcall-k8s/lastcall/ledger"
)

// reasons are those that agents tell.
var reasons = []ledger.Reason{ledger.Delete, ledger.Evict, ledger.Preempt, ledger.Force, ledger.NodeShutdown, ledger.KubeletEvict,
	ledger.NodeLost, ledger.Completed, ledger.Unready, ledger.Selector, ledger.Vanished}

// implausible says what is wrong with a line that decodes.
func (j *joiner) implausible(n *node, e *ledger.Event, now time.Time) string {
	ahead := func(t time.Time) bool {
		at, _, ok := moment{n.boot, t}.ours()
		return ok && at.Sub(now) > maxLead
	}
	switch {
	case ahead(e.At), ahead(e.Hi), e.T0Source != ledger.FromDeletion && ahead(e.T0):
		return "a moment to come"
	case !e.Hi.IsZero() && e.Lo.After(e.Hi):
		return "an interval that ends before it begins"
	case len(e.Departures) > 10_000, len(e.Exits) > 100:
		return "too much"
	case e.Type == ledger.EventRemovals && e.Family != ledger.IPv4 && e.Family != ledger.IPv6:
		return "no IP family"
	}
	if why := j.nowhere(n, e); why != "" {
		return why
	}
	if e.Type == ledger.EventWitness {
		return implausibleWitness(e, ahead)
	}
	if e.Type == ledger.EventDeparture && e.Pod != nil {
		if why := improbable(e.Leaving()); why != "" {
			return why
		}
	}
	for _, x := range e.Exits {
		if len(x.Name) > 253 || ahead(x.Told) || ahead(x.By) {
			return "an exit that is none"
		}
	}
	for _, d := range e.Departures {
		if ahead(d.SeenFirst) || ahead(d.SeenLast) {
			return "a moment to come"
		}
		if d.Leaving != nil {
			if why := improbable(*d.Leaving); why != "" {
				return why
			}
			if d.Leaving.T0Source != ledger.FromDeletion && ahead(d.Leaving.T0) {
				return "a moment to come"
			}
		}
		if d.UID == "" || len(d.UID) > 512 || d.Pending < 0 || d.Retained < 0 || len(d.Ports) > 1000 {
			return "a pod that is none"
		}
		for _, c := range d.Outcomes {
			if c < 0 || c > 1e6 {
				return "a count that is none"
			}
		}
	}
	if e.Pod != nil && tooLong(*e.Pod) {
		return "a name that is too long"
	}
	return ""
}

func tooLong(p ledger.Pod) bool {
	return len(p.UID) > 512 || len(p.Name) > 253 || len(p.Namespace) > 253 || len(p.Node) > 253
}

// improbable says what is wrong with an announced departure.
func improbable(l ledger.Leaving) string {
	switch {
	case !slices.Contains(reasons, l.Reason):
		return "a reason that this hub does not know" // it becomes the value of a label
	case l.Grace != nil && (*l.Grace < 0 || *l.Grace > 1e9):
		return "a grace period that is none"
	case tooLong(l.Pod), len(l.Workload) > 512, len(l.Revision) > 512:
		return "a name that is too long"
	case len(l.Containers) > 100:
		return "too much"
	}
	for _, c := range l.Containers {
		if len(c.Name) > 253 || c.PreStop.Seconds != nil && *c.PreStop.Seconds < 0 {
			return "a container that is none"
		}
	}
	return ""
}
