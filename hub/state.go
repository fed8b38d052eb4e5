package hub

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/hub/store"
)

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
	h.consumers(&s)
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
