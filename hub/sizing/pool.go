package sizing

import (
	"slices"
	"time"
)

// Pool is the episodes of many workloads, for those that have too few of their own. The zero Pool is empty.
type Pool struct {
	kinds   map[poolKey][]measured // each in time
	chained map[poolKey][]measured // across workloads
}

// poolKey is what episodes that are pooled have in common; of kube-proxy's version and minSyncPeriod, and of nodes, decides who asks.
type poolKey struct {
	dataplane, places, policies string
}

func keyOf(r Regime) poolKey {
	return poolKey{r.Dataplane, r.Places, r.Policies}
}

// PoolOf pools episodes of all workloads.
func PoolOf(es []Episode, o Options) Pool {
	var ts []Taken
	for _, e := range es {
		if t, ok := Take(e, o); ok {
			ts = append(ts, t)
		}
	}
	return PoolOfTaken(ts, o)
}

func (p Pool) add(m measured) {
	k := keyOf(m.regime)
	p.kinds[k] = append(p.kinds[k], m)
}

func (p Pool) sorted(o Options) Pool {
	for k, ms := range p.kinds {
		slices.SortFunc(ms, byTime)
		p.chained[k] = chain(ms, o.Gap)
	}
	return p
}

// of returns the episodes comparable to a regime; if a moment is given, made of those only that had ended before it.
func (p Pool) of(now Regime, before time.Time, o Options) (out []measured) {
	ms := p.chained[keyOf(now)]
	if !before.IsZero() {
		ms = nil
		for _, m := range p.kinds[keyOf(now)] {
			if m.ended.Before(before) {
				ms = append(ms, m)
			}
		}
		ms = chain(ms, o.Gap)
	}
	for _, m := range ms {
		if m.regime.differs(now) == "" {
			out = append(out, m)
		}
	}
	return out
}

// chain makes one of episodes that overlap or follow within the gap, in whichever workload: they share syncs and stragglers, so
// they are one sample.
func chain(ms []measured, gap time.Duration) (out []measured) {
	var open []measured // those of the newest chain that have not ended
	for _, m := range ms {
		open = slices.DeleteFunc(open, func(l measured) bool { return l.ended.Before(m.begun) })
		open = append(open, m)
		n := len(out)
		if n == 0 || m.begun.Sub(out[n-1].ended) >= gap {
			m.lows = nil
			out = append(out, m)
			continue
		}
		most := 0
		for _, l := range open {
			most += l.most
		}
		out[n-1] = merge(out[n-1], m, most)
	}
	return out
}

// merge makes one episode of two. most is how many pods were terminating at once when b began, if those of each episode
// that had not ended were: nobody can tell from episodes alone, and the larger class is the later.
func merge(a, b measured, most int) measured {
	top := a.top
	if b.Seconds > a.Seconds {
		top, a.id, a.uid = b.top, b.id, b.uid
	}
	a.next = max(a.without(top).Seconds, b.without(top).Seconds)
	a.top, a.Seconds = top, max(a.Seconds, b.Seconds)
	a.gap, a.missing, a.stuck, a.coarse = a.gap || b.gap, a.missing || b.missing, a.stuck || b.stuck, a.coarse || b.coarse
	a.Whole = a.Whole && b.Whole
	a.entered += b.entered
	a.most = max(a.most, most)
	if b.ended.After(a.ended) {
		a.ended = b.ended
	}
	return a
}
