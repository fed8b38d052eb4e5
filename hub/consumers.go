package hub

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/lastcall-k8s/lastcall/hub/report"
)

// mostReasons bounds the reasons that are listed for a kind: they have addresses in them, so there may be one for each replica.
const mostReasons = 10

// consumers is the hub's account of what is read besides kube-proxy.
func (h *Hub) consumers(s *report.Status) {
	h.mu.Lock()
	now := h.cfg.Now()
	c := h.join.census(now, now.Add(joinSlack))
	kinds := map[string]*report.ConsumerKind{}
	reasons := map[string]map[string]*report.Unread{} // by kind and reason
	for t := range told(c.readers, c.besides) {
		k := kinds[t.Place]
		if k == nil {
			k = &report.ConsumerKind{Kind: t.Place}
			kinds[t.Place], reasons[t.Place] = k, map[string]*report.Unread{}
		}
		k.Replicas++
		k.Fidelity, k.LagBound = cmp.Or(k.Fidelity, t.Fidelity), max(k.LagBound, t.Lag)
		why := t.Unread
		if t.Place != besideUnknown && !h.join.kindKnown(t.Place) {
			why = kindUnknown
		}
		if why == "" {
			k.Read++
			continue
		}
		u := reasons[t.Place][why]
		if u == nil {
			u = &report.Unread{Why: why, Replica: t.Replica, Node: t.node.name}
			reasons[t.Place][why] = u
		}
		if u.Replicas++; t.Replica < u.Replica {
			u.Replica, u.Node = t.Replica, t.node.name
		}
	}
	unserved := h.unserved(c.reading)
	s.Unlisted = h.unlisted()
	h.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(kinds)) {
		k := kinds[name]
		for _, u := range reasons[name] {
			k.Unread = append(k.Unread, *u)
		}
		slices.SortFunc(k.Unread, func(a, b report.Unread) int { return cmp.Or(b.Replicas-a.Replicas, strings.Compare(a.Why, b.Why)) })
		for _, u := range k.Unread[min(len(k.Unread), mostReasons):] {
			k.UnreadMore += u.Replicas
		}
		k.Unread = k.Unread[:min(len(k.Unread), mostReasons)]
		s.Consumers = append(s.Consumers, *k)
	}
	for _, p := range unserved {
		s.Unserved = append(s.Unserved, report.Missing{Place: p.Kind, Kind: p.Kind, Why: p.Why})
	}
	switch {
	case h.cfg.Routes != nil:
		s.Routes = h.cfg.Routes()
	case h.cfg.Serves != nil:
		of, _ := h.cfg.Serves("", "")
		s.Routes = of.Unknown
	}
}
