package sizing

import "time"

// Taken is an episode as a pool keeps it: what bounds need of it, some hundred bytes, and not its rows.
type Taken struct{ m measured }

// Take is ok if the episode is a sample.
func Take(e Episode, o Options) (t Taken, ok bool) {
	m := measure(e, o.filled())
	m.lows, m.outs, m.stuckAt = nil, nil, nil // for who has the rows
	return Taken{m}, m.entered > 0
}

// Begun is when the episode began.
func (t Taken) Begun() time.Time { return t.m.begun }

// PoolOfTaken pools episodes that were taken one by one.
func PoolOfTaken(ts []Taken, o Options) Pool {
	p := Pool{map[poolKey][]measured{}, map[poolKey][]measured{}}
	for _, t := range ts {
		p.add(t.m)
	}
	return p.sorted(o.filled())
}
