package hub

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"
	"unique"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/hub/sizing"
	"github.com/lastcall-k8s/lastcall/hub/store"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// configured is whose configuration a history has, and of when: the workload's own, or that of the last pod that left.
type configured struct {
	at       time.Time
	template bool
}

// history is what sizing takes of a workload: its newest episodes, the oldest first, and its configuration. That is the workload's as it
// was read when pods left; if none was, or pods left after it, that of the last one. open: with those that may still go on, as they are now.
func (h *Hub) history(ctx context.Context, k workloadKey, since time.Time, open bool) (in sizing.Input, of configured, err error) {
	es, err := h.episodes(ctx, store.EpisodeFilter{Namespace: k.namespace, Workload: k.workload, Since: since, Limit: maxEpisodes})
	if err != nil {
		return in, of, err
	}
	present := h.present()
	var newest report.Departure
	var template *report.Template
	members := 0
	for _, e := range es { // the newest first
		if e.Open && !open {
			continue
		}
		if members += e.Left; members > maxMembers && len(in.Episodes) > 0 {
			break
		}
		s, err := h.sample(ctx, e, present)
		if err != nil {
			return in, of, err
		}
		if newest.T0.IsZero() && template == nil {
			template = e.Template
		}
		for _, d := range s.Departures {
			if len(d.Containers) > 0 && d.T0.After(newest.T0) {
				newest = d
			}
		}
		in.Episodes = append(in.Episodes, s)
	}
	slices.Reverse(in.Episodes)
	in.Workload, of = sizing.Workload{Namespace: k.namespace, Name: k.workload, Containers: newest.Containers}, configured{at: newest.T0}
	if newest.Reason == ledger.Delete { // an eviction may ask for another
		in.Workload.Grace = newest.Grace
	}
	if t := template; t != nil {
		l := sizing.Live{Containers: t.Containers, Grace: t.Grace, Replicas: t.Replicas, Recreate: t.Recreate}
		in.Workload, of = l.Workload(k.namespace, k.workload, newest.Containers), configured{t.At, true}
	}
	in.Now = present.now(in.Episodes)
	in.NotMeasured = h.notMeasured(k)
	return in, of, nil
}

// sample reads an episode's rows, and keeps of each what sizing needs.
func (h *Hub) sample(ctx context.Context, e report.Episode, p present) (s sizing.Episode, err error) {
	s.Episode = e
	err = h.cfg.Store.EpisodeRows(ctx, e.ID, func(d report.Departure) bool {
		s.Departures = append(s.Departures, d)
		p.trim(&s)
		return len(s.Departures) < maxMembers && ctx.Err() == nil
	})
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return s, err
	}
	if e.Open {
		for _, d := range h.live(func(r *row) bool { return r.episode == e.ID }) {
			if i := slices.IndexFunc(s.Departures, func(o report.Departure) bool { return o.UID == d.UID }); i >= 0 {
				s.Departures = slices.Delete(s.Departures, i, i+1)
			}
			s.Departures = append(s.Departures, d)
			p.trim(&s)
		}
	}
	slices.SortStableFunc(s.Departures, func(a, b report.Departure) int { return a.T0.Compare(b.T0) })
	return s, nil
}

// trim takes in the last row of an episode: its part of the regime and what connections showed, and drops what is not needed.
func (p present) trim(s *sizing.Episode) {
	d := &s.Departures[len(s.Departures)-1]
	of := sizing.RegimeOf(report.Explanation{Departures: []report.Departure{*d}})
	if d.Strip != nil && subset(of.Dataplane, p.Dataplane) {
		// Of more than 64 places a row lists the latest only: which modes are among them is chance, where nodes differ.
		of.Dataplane = p.Dataplane
	}
	s.Regime.Dataplane = union(s.Regime.Dataplane, of.Dataplane)
	s.Regime.Places, s.Regime.Policies = union(s.Regime.Places, of.Places), union(s.Regime.Policies, of.Policies)
	s.Regime.Version, s.Regime.MinSync = unionOf(", ", s.Regime.Version, of.Version), unionOf(", ", s.Regime.MinSync, of.MinSync)
	s.Regime.Nodes = max(s.Regime.Nodes, of.Nodes)
	if w, ok := witnessOf(*d); ok {
		if s.Witnessed == nil {
			s.Witnessed = map[string]sizing.Witness{}
		}
		s.Witnessed[d.UID] = w
	}
	d.Slowest = slices.Clone(d.Slowest[:min(len(d.Slowest), latestPlaces)])
	for i := range d.Slowest {
		l := &d.Slowest[i]
		if l.Outcomes[ledger.Expired] == 0 {
			l.Outcomes = nil
		}
		l.Seen, l.Stages = nil, nil
		l.Node, l.Kind, l.Backend = once(l.Node), once(l.Kind), once(l.Backend)
	}
	d.Strip, d.Straggler, d.Connections, d.ToldWhy = nil, nil, nil, ""
}

// once is a string that the others that are equal share their memory with: rows name the same nodes over and over.
func once(s string) string { return unique.Make(s).Value() }

// present is the regime of the cluster as the hub knows it now: the modes, versions and minSyncPeriods of the kube-proxies that are
// measured, and how many nodes there are. Which places and policies a workload has is read off its rows.
type present struct {
	sizing.Regime
	known bool // all agents were heard
}

func (h *Hub) present() (p present) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p.known = true
	modes := map[string]bool{}
	var proxies proxySet
	for _, n := range h.join.nodes {
		if !n.expected {
			continue
		}
		p.Nodes++
		if n.measured() {
			proxies.add(n.proxy)
		}
		switch {
		case n.measured() && n.backend != "":
			modes[n.backend] = true
		case n.agent.pod != "" && n.backend == "":
			p.known = false // just started, or not reachable: it may be of another mode
		}
	}
	p.Dataplane = strings.Join(slices.Sorted(maps.Keys(modes)), "+")
	p.known = p.known && len(modes) > 0
	if x := proxies.report(); x != nil {
		p.Version, p.MinSync = x.Versions, x.MinSync
	}
	return p
}

// now is the regime in which the next episode will happen: that of the newest one that has any, with what of the cluster is known better.
// nil: nothing is.
func (p present) now(es []sizing.Episode) *sizing.Regime {
	if !p.known {
		return nil
	}
	for _, e := range slices.Backward(es) {
		if e.Regime.Dataplane == "" {
			continue
		}
		r := e.Regime
		r.Dataplane, r.Version, r.MinSync, r.Nodes = p.Dataplane, p.Version, p.MinSync, p.Nodes
		return &r
	}
	return nil
}

// union and subset are of words as a regime has them: "iptables-nft+nftables".
func union(a, b string) string { return unionOf("+", a, b) }

func unionOf(sep, a, b string) string {
	if a == b || b == "" {
		return a
	}
	if a == "" {
		return b
	}
	words := append(strings.Split(a, sep), strings.Split(b, sep)...)
	slices.Sort(words)
	return strings.Join(slices.Compact(words), sep)
}

func subset(a, of string) bool { return a != "" && union(of, a) == of }

// witnessOf says what the connections of a pod tell about how it stopped. What does not follow beyond doubt is left out.
func witnessOf(d report.Departure) (w sizing.Witness, ok bool) {
	c := d.Connections
	if c == nil || !c.Own || c.Drain == nil {
		return w, false
	}
	dr := c.Drain
	whole := len(c.Incomplete) == 0
	killed := slices.ContainsFunc(d.Containers, func(c report.Container) bool {
		return c.Serves && c.ExitCode != nil && *c.ExitCode == 128+9
	})
	if dr.Last != nil && dr.LastAccepted != nil && dr.Unended == 0 && whole && !killed {
		drain := max(*dr.Last-*dr.LastAccepted, 0)
		w.Drain = &drain
	}
	// Who sent a reset nobody can tell. Where connections were reset before the pod was told to stop, that is a habit of its clients
	// and those after it say nothing; and one that was killed resets what it had open.
	if cut := dr.CutAfterTold; cut != nil && !killed && dr.Cut <= cut.Most {
		switch {
		case cut.Least > 0:
			w.Cut = &cut.Least
		case cut.Most == 0 && whole:
			w.Cut = new(int)
		case suddenly(d):
			w.Cut = &cut.Most
		}
	}
	// What is open when the server is killed ends with it.
	if g := d.Grace; killed && g != nil {
		switch {
		case dr.Unended > 0:
			w.Open = &dr.Unended
		case dr.Last != nil && *dr.Last >= float64(*g)-1:
			one := 1
			w.Open = &one
		case whole && (dr.Last == nil || *dr.Last < float64(*g)-1):
			w.Open = new(int)
		}
	}
	return w, w != sizing.Witness{}
}

// suddenly: resets came with the stop, though when that was is known to a second only, and one that cuts is gone within it: for 2 s and
// more connections had ended and none by a reset, and then three and more did. A client that always resets, whatever its rate, does
// that in at most 1.1 % of departures.
func suddenly(d report.Departure) bool {
	dr := d.Connections.Drain
	if d.Told == nil || d.Told.Lo < 2 || dr.OpenAtTold == nil || dr.CutAfterTold == nil {
		return false
	}
	before := dr.Closed + dr.Cut + dr.Unended - dr.OpenAtTold.Most
	return before > 0 && dr.Cut >= 3 && dr.Cut == dr.CutAfterTold.Most
}
