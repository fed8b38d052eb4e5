package sizing

import "slices"

// Backtest is how recommendations would have done: before each episode, the one that the episodes ended by then gave.
type Backtest struct {
	// Tested are episodes of a known last call that had a firm recommendation before them, for their regime and burst class.
	Tested   int `json:"tested"`
	Exceeded int `json:"exceeded"` // of these, that took longer
	// Without are those before which there was no firm recommendation, Outside those of a regime or burst class that none had
	// been given for, Unknown those whose last call is not known well enough to tell.
	Without int `json:"without"`
	Outside int `json:"outside"`
	Unknown int `json:"unknown"`
	// Worst are those exceeded, the latest first, at most 20.
	Worst []Exceeded `json:"worst,omitempty"`
}

// Exceeded is an episode that took longer than had been recommended before it.
type Exceeded struct {
	Episode     int64   `json:"episode"`
	UID         string  `json:"uid,omitempty"`
	Seconds     float64 `json:"seconds"`
	Recommended int64   `json:"recommended_seconds"`
}

// Walk goes through a workload's episodes in time. It costs as many recommendations as there are episodes: whoever runs all the time
// calls [Backtest.Test] for each new episode instead.
func Walk(in Input, pool Pool, o Options) (b Backtest) {
	in = in.prepared()
	for _, e := range in.Episodes {
		b.Test(in, pool, o, e)
	}
	return b
}

// Test holds an episode against what those that had ended before it began recommend.
func (b *Backtest) Test(in Input, pool Pool, o Options, e Episode) {
	o = o.filled()
	o.Unmeasured = 0 // the test is of what was measured
	before := in
	before.Now = &e.Regime // the cluster's state just before is known
	before.Episodes = nil
	for _, h := range in.Episodes {
		if h.Episode.Ended.Before(e.Episode.Begun) {
			before.Episodes = append(before.Episodes, h)
		}
	}
	b.Add(recommend(before, pool, o, e.Episode.Begun), e, o)
}

// Add tests a recommendation by the episode that followed it.
func (b *Backtest) Add(r Recommendation, e Episode, o Options) {
	o = o.filled()
	m := measure(e, o)
	supported := slices.ContainsFunc(r.Classes, func(c Class) bool {
		return c.Enough && slices.Index(bursts, c.Burst) >= slices.Index(bursts, BurstOf(m.most))
	})
	switch {
	case m.entered == 0:
		return // it is no sample, and was none to be promised
	case r.Seconds == nil || r.AtLeast:
		b.Without++
	case m.regime.differs(r.Regime) != "" || !supported:
		b.Outside++
	case m.Seconds > float64(*r.Seconds): // also if it was longer still
		b.Tested++
		b.Exceeded++
		b.Worst = append([]Exceeded{{m.id, m.uid, m.Seconds, *r.Seconds}}, b.Worst[:min(len(b.Worst), 19)]...)
	case !m.Whole:
		b.Unknown++
	default:
		b.Tested++
	}
}
