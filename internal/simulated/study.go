package simulated

import (
	"math/rand/v2"
	"slices"

	"github.com/lastcall-k8s/lastcall/hub/sizing"
)

// Study is how often the bound of n episodes held in a world.
type Study struct {
	World     string `json:"world"`
	Episodes  int    `json:"episodes"`
	Censored  string `json:"censored,omitempty"`
	Runs      int    `json:"runs"`
	Coverage  Mean   `json:"coverage"`      // of the bounds that are firm
	FirmShare Mean   `json:"firm_share"`    // of the runs
	Broken    Mean   `json:"broken_claims"` // firm and exceeded, of all
	// Shown is the coverage of the number that is shown, in all runs: no less than the largest, and marked where it is a lower bound.
	Shown Mean `json:"shown_coverage"`
	// Naive is the coverage of a bound that takes departures for independent, and Dropped that of one that leaves out what is
	// not known to the end.
	Naive   Mean `json:"naive_coverage"`
	Dropped Mean `json:"dropped_coverage,omitzero"`
}

// Censoring makes samples that are not known to the end.
type Censoring struct {
	Share float64
	// Longest: the longest episodes of a hundred are those that are not known; else any.
	Longest bool
}

func (c Censoring) String() string {
	switch {
	case c.Share == 0:
		return ""
	case c.Longest:
		return "the longest"
	}
	return "any"
}

// naiveRuns are enough to see that it fails.
const naiveRuns = 100

// Run draws n episodes, bounds the next one, and asks the law how likely it stays within; as often as runs.
func Run(w World, l Law, r *rand.Rand, n, runs int, c Censoring, q float64) Study {
	s := Study{World: w.String(), Episodes: n, Censored: c.String(), Runs: runs}
	var held, firm, broken, shown, naive, dropped []float64
	for i := range runs {
		var samples, known, departures []sizing.Sample
		for range n {
			var worst float64
			if i < naiveRuns {
				calls := w.Episode(r)
				worst = slices.Max(calls)
				for _, x := range calls {
					departures = append(departures, sizing.Sample{Seconds: x, Whole: true})
				}
			} else {
				worst = w.Worst(r)
			}
			x := sizing.Sample{Seconds: worst, Whole: true}
			if c.Longest && l.Within(worst) > 1-c.Share || !c.Longest && r.Float64() < c.Share {
				x = sizing.Sample{Seconds: worst * r.Float64()}
			} else {
				known = append(known, x)
			}
			samples = append(samples, x)
		}
		if i < naiveRuns {
			naive = append(naive, l.Within(sizing.BoundOf(departures, q).Seconds))
		}
		if b := sizing.BoundOf(known, q); b.Enough {
			dropped = append(dropped, l.Within(b.Seconds))
		}
		b := sizing.BoundOf(samples, q)
		shown = append(shown, l.Within(max(b.Seconds, b.Largest)))
		if !b.Enough || !b.Firm {
			firm, broken = append(firm, 0), append(broken, 0)
			continue
		}
		within := l.Within(b.Seconds)
		held, firm, broken = append(held, within), append(firm, 1), append(broken, 1-within)
	}
	s.Coverage, s.FirmShare, s.Broken = Coverage(held, l), Coverage(firm, l), Coverage(broken, l)
	s.Naive, s.Shown = Coverage(naive, l), Coverage(shown, l)
	if c.Share > 0 {
		s.Dropped = Coverage(dropped, l)
	}
	return s
}
