package sizing

import "slices"

// classes bounds each burst class that occurred, by the workload's own episodes or else by the pool.
//
// Bursts differ by nature, so each has its own order statistic, and preStop has to last for whichever comes next: the largest
// of them. A class with too few episodes is covered by a larger one that has enough, since a smaller burst is part of what
// a larger one does; a larger one is covered by nothing. Of a pool likewise: chained across workloads, its episodes are larger.
func (r *Recommendation) classes(own, pooled []measured, trials bool, o Options) {
	supported := -1
	for i, b := range bursts {
		c := Class{Burst: b, Basis: BasisNone}
		mine := samples(own, b, Place{}, o)
		c.Own = len(mine)
		if len(mine) == 0 {
			continue // it never occurred here
		}
		c.Bound = BoundOf(mine, o.Quantile)
		switch {
		case c.Enough && trials:
			c.Basis = BasisMeasure
		case c.Enough:
			c.Basis = BasisOwn
		default:
			c.ofPool(pooled, o)
		}
		r.Classes = append(r.Classes, c)
		if c.Enough {
			supported = i
		}
	}
	for _, c := range r.Classes {
		switch {
		case c.Enough && (r.Basis == BasisNone || c.Seconds >= r.Class.Seconds):
			r.Class, r.Basis = c, c.Basis
		case !c.Enough && supported >= 0 && slices.Index(bursts, c.Burst) > supported:
			r.Unsupported = append(r.Unsupported, c.Burst)
		case r.Basis == BasisNone && c.Own >= r.Class.Own:
			r.Class = c
		}
	}
}

// ofPool takes the pool's episodes of the same class, or if they are too few those of all larger ones too.
func (c *Class) ofPool(pooled []measured, o Options) {
	for _, orLarger := range []bool{false, true} {
		if p := BoundOf(poolSamples(pooled, c.Burst, orLarger, Place{}, o), o.Quantile); p.Enough {
			c.Basis, c.Bound, c.OrLarger = BasisPool, p, orLarger
			return
		}
	}
}

func poolSamples(pooled []measured, b Burst, orLarger bool, without Place, o Options) (out []Sample) {
	for i := slices.Index(bursts, b); i < len(bursts); i++ {
		out = append(out, samples(pooled, bursts[i], without, o)...)
		if !orLarger {
			break
		}
	}
	return out
}

// samples of a class, as they would be without a place.
func samples(ms []measured, b Burst, without Place, o Options) (out []Sample) {
	for _, m := range ms {
		if BurstOf(m.most) == b {
			s := m.sample(o)
			s.Seconds = m.without(without).Seconds
			out = append(out, s)
		}
	}
	return out
}

// seconds makes the number of it, and says when it is only a lower bound.
func (r *Recommendation) seconds(own, pooled []measured, o Options) {
	if r.Basis == BasisNone {
		return
	}
	for _, c := range r.Classes {
		r.AtLeast = r.AtLeast || c.Enough && !c.Firm
	}
	r.AtLeast = r.AtLeast || len(r.Unsupported) > 0
	for _, m := range r.Missing {
		never := m.Departures == 0 // what is missing in some departures is in their samples already
		r.AtLeast = r.AtLeast || never && o.Unmeasured == 0
	}
	r.Added = o.Unmeasured
	n := r.without(Place{}, own, pooled, o) + r.Added
	r.Seconds = &n
}

// without is the number as it would be without a place: the largest bound, and no less than what the workload has seen
// already.
func (r *Recommendation) without(p Place, own, pooled []measured, o Options) int64 {
	s := 0.0
	for _, c := range r.Classes {
		switch {
		case c.Basis == BasisPool:
			s = max(s, BoundOf(poolSamples(pooled, c.Burst, c.OrLarger, p, o), o.Quantile).Seconds)
		case c.Enough:
			s = max(s, BoundOf(samples(own, c.Burst, p, o), o.Quantile).Seconds)
		}
	}
	if !o.BoundOnly {
		for _, m := range own {
			s = max(s, m.without(p).Seconds)
		}
	}
	return wholeSeconds(s)
}
