package hub

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// stuckAfter is from when on a pending removal is not slow but stuck.
const stuckAfter = 5 * time.Minute

// Places are all places and how they did a second ago, those with trouble first.
func (h *Hub) Places(context.Context) ([]report.Place, error) {
	return slices.Clone(h.view().places), nil
}

func (h *Hub) places() []report.Place {
	past := map[pastKey]report.Place{}
	for _, p := range h.cfg.Store.Places() {
		past[pastKey{p.Node, p.Kind, p.Family}] = p
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.cfg.Now()
	open := h.join.pending()
	ps := []report.Place{}
	beside := map[spot]bool{}
	for _, n := range h.join.nodes {
		if n.beside != "" && !n.ended() {
			ps = append(ps, h.join.replicas(n, past, open, now, nil)...)
			for _, c := range n.consumers {
				beside[spot{c.Place, c.Replica, ""}] = true
			}
		}
	}
	for _, n := range h.join.nodes {
		if !n.expected {
			continue
		}
		families := n.families
		if len(families) == 0 {
			families = []ledger.Family{""}
		}
		for _, f := range families {
			p := past[pastKey{n.name, kubeProxy, f}]
			p.Node, p.Kind, p.Backend, p.Family = n.name, kubeProxy, n.backend, f
			open.of(n, f).tell(&p, now)
			if err, ok := n.clockError(); ok {
				p.ClockError = &err
			}
			p.State, p.Why = n.place(p)
			if len(n.families) > 1 && f == ledger.IPv6 && p.Samples == 0 && p.Pending == 0 && p.State == report.PlaceOK {
				continue // kube-proxy programs both families everywhere; most clusters use one
			}
			ps = append(ps, p)
		}
		ps = append(ps, h.join.replicas(n, past, open, now, beside)...)
	}
	if h.cfg.Served != nil {
		ps = append(ps, h.unserved(h.join.census(now, now.Add(joinSlack)).reading)...)
	}
	trouble := func(p report.Place) int {
		return slices.Index([]report.PlaceState{report.PlaceStuck, report.PlaceNotMeasured, report.PlaceOK}, p.State)
	}
	slices.SortFunc(ps, func(a, b report.Place) int {
		return cmp.Or(trouble(a)-trouble(b), cmp.Compare(a.Node, b.Node), spot{a.Kind, a.Replica, a.Family}.compare(spot{b.Kind, b.Replica, b.Family}))
	})
	return ps
}

// pastKey is what the store sums up by: replicas come and go, so those of a kind on a node are one there.
type pastKey struct {
	node, kind string
	family     ledger.Family
}

// opened is what is pending at a place, and since when.
type opened struct {
	pending int
	oldest  time.Time
}

func (o opened) tell(p *report.Place, now time.Time) {
	p.Pending = o.pending
	if !o.oldest.IsZero() {
		age := now.Sub(o.oldest).Seconds()
		p.Oldest = &age
	}
}

// pendingPlaces is what is pending at all places. Rows that 5,000 nodes have not answered are read every second.
type pendingPlaces struct {
	nodes  [2][]opened // kube-proxy's, by family and by the nodes' numbers
	others map[otherAt]opened
}

// otherAt is a replica on a node, whichever boot of its agent tells of it.
type otherAt struct {
	node *node
	spot
}

func (j *joiner) pending() pendingPlaces {
	open := pendingPlaces{others: map[otherAt]opened{}}
	for i := range open.nodes {
		open.nodes[i] = make([]opened, len(j.numbered))
	}
	for _, r := range j.rows {
		if r.open == 0 {
			continue
		}
		for i := range r.parts {
			for at := range r.parts[i] {
				if p := &r.parts[i][at]; p.pending > 0 {
					open.nodes[i][at].add(p, r)
				}
			}
		}
		for k, p := range r.others {
			if p.pending > 0 {
				at := otherAt{k.boot.node, spot{k.kind, k.replica, k.family}}
				o := open.others[at]
				o.add(p, r)
				open.others[at] = o
			}
		}
	}
	return open
}

func (o *opened) add(p *part, r *row) {
	o.pending += int(p.pending)
	if o.oldest.IsZero() || r.born.Before(o.oldest) {
		o.oldest = r.born
	}
}

// of is what is pending at a node's kube-proxy; of no family, nothing.
func (p pendingPlaces) of(n *node, f ledger.Family) opened {
	if i := slices.Index(families[:], f); i >= 0 {
		return p.nodes[i][n.number]
	}
	return opened{}
}

// replicas are the places of a node that are not kube-proxy's: one for each replica and family that did something, and one
// of a replica that did nothing yet. Others tell of those in but.
func (j *joiner) replicas(n *node, past map[pastKey]report.Place, open pendingPlaces, now time.Time, but map[spot]bool) (ps []report.Place) {
	for _, c := range n.consumers {
		if but[spot{c.Place, c.Replica, ""}] {
			continue
		}
		if !j.kindKnown(c.Place) {
			c.Unread = kindUnknown
		}
		some := false
		for _, f := range [...]ledger.Family{ledger.IPv4, ledger.IPv6, ""} {
			p := past[pastKey{n.name, c.Place, f}]
			p.Node, p.Kind, p.Replica, p.Backend, p.Family = n.name, c.Place, c.Replica, c.Fidelity, f
			open.others[otherAt{n, spot{c.Place, c.Replica, f}}].tell(&p, now)
			if p.Samples+p.Last+p.Pending == 0 && (f != "" || some) {
				continue
			}
			some = true
			if err, ok := n.clockError(); ok {
				p.ClockError = &err
			}
			p.State, p.Why = n.replica(p, c.Unread)
			ps = append(ps, p)
		}
	}
	return ps
}

// silent says why nothing is heard from a node.
func (n *node) silent() string {
	switch {
	case n.beside != "" && !n.agent.following():
		return n.unheard()
	case n.beside != "":
		return ""
	case !n.ready:
		return "the node is not Ready: its places are excluded"
	case n.agent.state == "" || n.agent.state == report.AgentMissing:
		return "no agent runs there; see kubectl lastcall check"
	case n.agent.state == report.AgentUnreachable || n.agent.state == report.AgentRefused:
		return n.agent.why
	}
	return ""
}

// replica judges one.
func (n *node) replica(p report.Place, unread string) (report.PlaceState, string) {
	why := cmp.Or(n.silent(), unread)
	switch {
	case why != "":
		return report.PlaceNotMeasured, why
	case p.Oldest != nil && *p.Oldest > stuckAfter.Seconds():
		return report.PlaceStuck, fmt.Sprintf("it still sends new connections to %d deleted pods' endpoints; look at the log of %s on %s, "+
			"a longer preStop will not help", p.Pending, p.Replica, n.name)
	}
	return report.PlaceOK, ""
}

// place judges one.
func (n *node) place(p report.Place) (report.PlaceState, string) {
	switch silent := n.silent(); {
	case silent != "":
		return report.PlaceNotMeasured, silent
	case !n.measured():
		return report.PlaceNotMeasured, cmp.Or(n.notReady, "its dataplane is "+cmp.Or(n.backend, "unknown"))
	case p.Oldest != nil && *p.Oldest > stuckAfter.Seconds():
		return report.PlaceStuck, fmt.Sprintf("it still sends new connections to %d deleted pods' endpoints; kube-proxy there has not applied what it was told: "+
			"look at its log on %s, a longer preStop will not help", p.Pending, n.name)
	}
	return report.PlaceOK, ""
}
