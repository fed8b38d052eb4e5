package hub

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/hub/store"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// stuckAfter is from when on a pending removal is not slow but stuck.
const stuckAfter = 5 * time.Minute

// agents are all nodes' agents by name, and for how long the one that was silent longest has been silent, in seconds.
func (h *Hub) agents() (as []report.Agent, lag float64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.cfg.Now()
	for _, n := range h.join.nodes {
		if !n.expected {
			continue
		}
		a := report.Agent{Node: n.name, State: cmp.Or(n.agent.state, report.AgentMissing), Why: n.agent.why, Pod: n.agent.pod,
			Version: n.version, Backend: n.backend, Measured: n.measured(), NotReady: n.notReady, Lost: n.lost,
			Heard: n.heard, Taints: n.taints, NodeReady: n.ready}
		if n.boot != nil {
			a.Boot = n.boot.id
		}
		if err, ok := n.clockError(); ok {
			a.ClockError = &err
		}
		if a.State == report.AgentFollowing || a.State == report.AgentCatchingUp {
			lag = max(lag, now.Sub(n.heard).Seconds())
		}
		as = append(as, a)
	}
	slices.SortFunc(as, func(a, b report.Agent) int { return cmp.Compare(a.Node, b.Node) })
	return as, lag
}

// clockError bounds the error of the node's clock now, in seconds.
func (n *node) clockError() (float64, bool) {
	if n.boot == nil || n.boot.clock.Load() == nil {
		return 0, false
	}
	e := n.boot.clock.Load()
	at := time.Unix(0, e.samples[len(e.samples)-1].at)
	if n.newest.After(at) {
		at = n.newest
	}
	_, err, ok := e.ours(at)
	return err.Seconds(), ok
}

// Status is the hub's account of itself.
func (h *Hub) Status(ctx context.Context) (report.Status, error) {
	s := report.Status{Version: h.cfg.Version, StoreBytes: h.cfg.Store.Bytes()}
	v := h.view()
	s.Agents, s.Lag = v.agents, v.lag
	if st, err := h.cfg.Store.Stats(ctx); err == nil {
		s.Departures, s.Oldest = st.Departures, st.Oldest
	} else if ctx.Err() == nil {
		s.StoreError = err.Error()
	}
	if err := h.cfg.Store.Err(); err != nil {
		s.StoreError = err.Error()
	}
	return s, nil
}

// Places are all places and how they did a second ago, those with trouble first.
func (h *Hub) Places(context.Context) ([]report.Place, error) {
	return slices.Clone(h.view().places), nil
}

func (h *Hub) places() []report.Place {
	type key struct {
		node   string
		family ledger.Family
	}
	past := map[key]report.Place{}
	for _, p := range h.cfg.Store.Places() {
		past[key{p.Node, p.Family}] = p
	}
	pending := map[key]int{}
	oldest := map[key]time.Time{}
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.cfg.Now()
	for _, r := range h.join.rows {
		if r.open == 0 {
			continue
		}
		for p, family := range r.places {
			if p.pending == 0 {
				continue
			}
			at := key{p.boot.node.name, family}
			pending[at] += int(p.pending)
			if o := oldest[at]; o.IsZero() || r.born.Before(o) {
				oldest[at] = r.born
			}
		}
	}
	ps := []report.Place{}
	for _, n := range h.join.nodes {
		if !n.expected {
			continue
		}
		families := n.families
		if len(families) == 0 {
			families = []ledger.Family{""}
		}
		for _, f := range families {
			k := key{n.name, f}
			p := past[k]
			p.Node, p.Kind, p.Backend, p.Family = n.name, "kube-proxy", n.backend, f
			p.Pending = pending[k]
			if o := oldest[k]; !o.IsZero() {
				age := now.Sub(o).Seconds()
				p.Oldest = &age
			}
			if err, ok := n.clockError(); ok {
				p.ClockError = &err
			}
			p.State, p.Why = n.place(p)
			if len(n.families) > 1 && f == ledger.IPv6 && p.Samples == 0 && p.Pending == 0 && p.State == report.PlaceOK {
				continue // kube-proxy programs both families everywhere; most clusters use one
			}
			ps = append(ps, p)
		}
	}
	trouble := func(p report.Place) int {
		return slices.Index([]report.PlaceState{report.PlaceStuck, report.PlaceNotMeasured, report.PlaceOK}, p.State)
	}
	slices.SortFunc(ps, func(a, b report.Place) int {
		return cmp.Or(trouble(a)-trouble(b), cmp.Compare(a.Node, b.Node), cmp.Compare(a.Family, b.Family))
	})
	return ps
}

// place judges one.
func (n *node) place(p report.Place) (report.PlaceState, string) {
	switch {
	case !n.ready:
		return report.PlaceNotMeasured, "the node is not Ready: its places are excluded"
	case n.agent.state == "" || n.agent.state == report.AgentMissing:
		return report.PlaceNotMeasured, "no agent runs there; see kubectl lastcall check"
	case n.agent.state == report.AgentUnreachable || n.agent.state == report.AgentRefused:
		return report.PlaceNotMeasured, n.agent.why
	case !n.measured():
		return report.PlaceNotMeasured, cmp.Or(n.notReady, "its dataplane is "+cmp.Or(n.backend, "unknown"))
	case p.Oldest != nil && *p.Oldest > stuckAfter.Seconds():
		return report.PlaceStuck, fmt.Sprintf("it still sends new connections to %d deleted pods' endpoints; kube-proxy there has not applied what it was told: "+
			"look at its log on %s, a longer preStop will not help", p.Pending, n.name)
	}
	return report.PlaceOK, ""
}

// NodeHistory is what is known of one node.
func (h *Hub) NodeHistory(ctx context.Context, name string) (report.NodeHistory, error) {
	x := report.NodeHistory{Node: name, Places: []report.Place{}, Departures: []report.Departure{}}
	ps, err := h.Places(ctx)
	if err != nil {
		return x, err
	}
	for _, p := range ps {
		if p.Node == name {
			x.Places = append(x.Places, p)
			x.Of = max(x.Of, p.Samples)
		}
	}
	if len(x.Places) == 0 {
		return x, missingError("no node " + name + " is known here")
	}
	page, err := h.cfg.Store.Departures(ctx, store.Filter{LastNode: name, Limit: 10})
	if err != nil {
		return x, err
	}
	for _, d := range page.Departures {
		whole, err := h.Departure(ctx, d.UID)
		if err != nil {
			whole = d
		}
		x.Departures = append(x.Departures, whole)
	}
	return x, nil
}
