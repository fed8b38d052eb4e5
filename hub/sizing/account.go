package sizing

import (
	"slices"
	"time"
)

// Account is what a recommendation rests on, episode by episode and place by place, for whoever draws it.
type Account struct {
	Points []Point // the newest samples, in time
	Of     int     // of so many
	// Places that were last beyond doubt in the worst departure of an episode, most often first.
	Places []Contribution
}

// Point is an episode as a sample.
type Point struct {
	Episode int64
	Begun   time.Time
	Sample
	Other string // what of its regime differs, so that it is not in the number
	Burst Burst
	Place Place // that was last beyond doubt in its worst departure
}

// Contribution is what one place adds to the number.
type Contribution struct {
	Named         // in how many episodes of the regime it was last
	Worst float64 // of these, in seconds
	// Without is the number as it would be without it; nil if there is none.
	Without *int64
}

const contributions = 5

// AccountOf says what a recommendation that was made of the same input rests on, with at most so many points.
func AccountOf(in Input, pool Pool, o Options, r Recommendation, points int) (a Account) {
	in, o = in.prepared(), o.filled()
	var own []measured
	last, worst := map[Place]int{}, map[Place]float64{}
	for _, e := range in.Episodes {
		m := measure(e, o)
		if m.entered == 0 {
			continue
		}
		p := Point{Episode: m.id, Begun: m.begun, Sample: m.Sample, Other: m.regime.differs(r.Regime), Burst: BurstOf(m.most), Place: m.top}
		a.Points = append(a.Points, p)
		if p.Other != "" {
			continue
		}
		own = append(own, m)
		if m.top != (Place{}) {
			last[m.top]++
			worst[m.top] = max(worst[m.top], m.Seconds)
		}
	}
	a.Of = len(a.Points)
	a.Points = slices.Clone(a.Points[max(0, a.Of-points):])
	pooled := pool.of(r.Regime, time.Time{}, o)
	for _, n := range often(last, contributions) {
		c := Contribution{Named: n, Worst: worst[n.Place]}
		if r.Seconds != nil {
			without := r.without(n.Place, own, pooled, o) + r.Added
			c.Without = &without
		}
		a.Places = append(a.Places, c)
	}
	return a
}
