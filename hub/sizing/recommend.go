package sizing

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// Basis is what a recommendation rests on.
type Basis string

const (
	BasisOwn     Basis = "own"     // the workload's own episodes
	BasisPool    Basis = "pool"    // those of all workloads in the same regime
	BasisMeasure Basis = "measure" // trials made on purpose
	BasisNone    Basis = "none"    // too few of any
)

// Recommendation is the answer with all that it rests on.
type Recommendation struct {
	Namespace string `json:"namespace"`
	Workload  string `json:"workload"`

	// Seconds is how long preStop must sleep; nil if there is too little to say so.
	Seconds *int64 `json:"seconds,omitempty"`
	// AtLeast: it is a lower bound, since something is not measured or not known (Missing, Unsupported, Class.Unknown).
	AtLeast bool `json:"at_least,omitempty"`
	// Added is the part of Seconds that the user added for what is not measured.
	Added    int64   `json:"added_seconds,omitempty"`
	Quantile float64 `json:"quantile"`
	Needed   int     `json:"needed"` // episodes of a class, for that quantile
	Basis    Basis   `json:"basis"`
	// Class is the burst class that decides: the one with the largest bound; without a bound the one with most episodes.
	Class   Class   `json:"class"`
	Classes []Class `json:"classes,omitempty"` // all that occurred
	// Unsupported are classes that occurred, are larger than any with a bound, and have too few episodes themselves.
	Unsupported []Burst `json:"unsupported,omitempty"`
	Regime      Regime  `json:"regime"`
	// Largest is the worst of the workload's own episodes in this regime; nil if there is none.
	Largest *Worst `json:"largest,omitempty"`

	Episodes   Episodes   `json:"episodes"`
	Departures Departures `json:"departures"`
	Stuck      []Named    `json:"stuck_places,omitempty"` // most often first, at most 5
	Missing    []Absent   `json:"missing,omitempty"`      // most often first, at most 20
	// Consumers are the kinds of places besides kube-proxy in the samples, and what their word is worth.
	Consumers []Worth `json:"consumers,omitempty"`
	// Idle are kinds of places that were read and do not send to the workload.
	Idle []string `json:"idle,omitempty"`
	// MissingMore is how many more there are.
	MissingMore int      `json:"missing_more,omitempty"`
	Driver      *Driver  `json:"driver,omitempty"`
	Present     Present  `json:"present"`
	Drain       Drain    `json:"drain"`
	Grace       Grace    `json:"grace"`
	Cost        *Cost    `json:"cost,omitempty"`
	Stopping    Stopping `json:"stopping"`
	// Verdicts, the one to act on first is first. There is at least one.
	Verdicts []Verdict `json:"verdicts"`
}

// Class is one burst class with its bound.
type Class struct {
	Burst Burst `json:"burst"`
	Basis Basis `json:"basis"`
	Bound       // of the basis
	Own   int   `json:"own"` // episodes of the workload
	// OrLarger: of the pool, episodes of larger classes were taken too.
	OrLarger bool `json:"or_larger,omitempty"`
}

// Worst is an episode to look at.
type Worst struct {
	Seconds float64 `json:"seconds"`
	AtLeast bool    `json:"at_least,omitempty"`
	Episode int64   `json:"episode,omitempty"`
	UID     string  `json:"uid,omitempty"` // of its worst departure
}

// Episodes counts the workload's.
type Episodes struct {
	Used  int `json:"used"`  // samples in this regime
	Stuck int `json:"stuck"` // of these, with a stuck place
	// Unknown are those used that are not whole, Coarse those whose T0 is known to a second only.
	Unknown int `json:"unknown"`
	Coarse  int `json:"coarse"`
	Empty   int `json:"empty"` // no departure of theirs enters
	// Other counts those of another regime, by what differs.
	Other map[string]int `json:"other_regime,omitempty"`
}

// Departures counts those of all the workload's episodes.
type Departures struct {
	Entered int         `json:"entered"`
	Out     map[Out]int `json:"out,omitempty"`
	Late    int         `json:"late"`
	InTime  int         `json:"in_time"`
	Unknown int         `json:"unknown"` // nobody knows whether they were late
	// Longer is how many of Entered in this regime had a last call that is surely later than what preStop sleeps now: with
	// it they would be late. 0 if that is unknown.
	Longer  int  `json:"longer"`
	Of      int  `json:"of"`
	Refused *int `json:"refused,omitempty"`
}

// Named is a place and in how many episodes it was what it is listed for.
type Named struct {
	Place
	Episodes int `json:"episodes"`
}

// Worth is what the answers of a kind of consumers show, and how much later than that they may still send, in seconds: that is in the
// samples, and so in the number.
type Worth struct {
	Kind     string  `json:"kind"`
	Fidelity string  `json:"fidelity"`
	LagBound float64 `json:"lag_bound_seconds,omitempty"`
}

// Absent is a place that is not measured, or was not in some departures.
type Absent struct {
	report.Missing
	Departures int `json:"departures,omitempty"` // 0: never measured
}

// Recommend sizes one workload.
func Recommend(in Input, pool Pool, o Options) Recommendation {
	return recommend(in, pool, o.filled(), time.Time{})
}

// recommend takes of the pool only what had ended before a moment, if one is given.
func recommend(in Input, pool Pool, o Options, before time.Time) Recommendation {
	in = in.prepared()
	r := Recommendation{Namespace: in.Workload.Namespace, Workload: in.Workload.Name, Quantile: o.Quantile,
		Needed: Needed(o.Quantile), Basis: BasisNone}
	var all []measured
	for _, e := range in.Episodes {
		all = append(all, measure(e, o))
	}
	r.Regime = regimeNow(in, all)
	own := r.count(all)
	r.departures(in.Episodes)
	r.missing(in, own)
	r.worth(in, own)
	r.Idle = in.Idle
	pooled := pool.of(r.Regime, before, o)
	r.classes(own, pooled, in.Trials, o)
	r.seconds(own, pooled, o)
	r.driver(own, pooled, o)
	r.Present = presentOf(in.Workload)
	r.longer(own)
	r.Stopping, r.Drain = stoppingOf(in.Episodes)
	r.Grace = graceOf(r.Seconds, r.Present, r.Drain)
	r.Cost = costOf(in, r.Seconds, r.Present, r.Grace)
	r.judge()
	return r
}

// regimeNow is the one given, or that of the newest episode that is a sample: one that only has pods which were kept says
// little of its regime.
func regimeNow(in Input, all []measured) Regime {
	if in.Now != nil {
		return *in.Now
	}
	for _, m := range slices.Backward(all) {
		if m.entered > 0 {
			return m.regime
		}
	}
	return Regime{}
}

// prepared sorts the episodes and fills what the newest of them says.
func (in Input) prepared() Input {
	in.Episodes = slices.Clone(in.Episodes)
	slices.SortStableFunc(in.Episodes, func(a, b Episode) int {
		return cmp.Or(a.Episode.Begun.Compare(b.Episode.Begun), cmp.Compare(a.Episode.ID, b.Episode.ID))
	})
	for i := len(in.Episodes) - 1; i >= 0; i-- {
		e := in.Episodes[i]
		for _, d := range e.Departures {
			if len(in.Workload.Containers) == 0 {
				in.Workload.Containers = d.Containers
			}
			if in.Workload.Grace == nil && d.Reason == ledger.Delete { // an eviction may ask for another
				in.Workload.Grace = d.Grace
			}
		}
	}
	return in.withoutIdle()
}

// count sorts out what is a sample of this regime.
func (r *Recommendation) count(all []measured) (own []measured) {
	r.Departures.Out, r.Episodes.Other = map[Out]int{}, map[string]int{}
	stuck := map[Place]int{}
	for _, m := range all {
		for out, n := range m.outs {
			r.Departures.Out[out] += n
		}
		r.Departures.Entered += m.entered
		what := m.regime.differs(r.Regime)
		switch {
		case m.entered == 0:
			r.Episodes.Empty++
			continue
		case what != "":
			r.Episodes.Other[what]++
			continue
		}
		own = append(own, m)
		r.Episodes.Used++
		if m.stuck {
			r.Episodes.Stuck++
		}
		for _, p := range m.stuckAt {
			stuck[p]++
		}
		if !m.Whole {
			r.Episodes.Unknown++
		}
		if m.coarse {
			r.Episodes.Coarse++
		}
		if w := r.Largest; w == nil || m.Seconds > w.Seconds {
			r.Largest = &Worst{m.Seconds, !m.Whole, m.id, m.uid}
		}
	}
	r.Stuck = often(stuck, 5)
	return own
}

func often(ps map[Place]int, most int) (list []Named) {
	for p, n := range ps {
		list = append(list, Named{p, n})
	}
	slices.SortFunc(list, func(a, b Named) int { return cmp.Or(b.Episodes-a.Episodes, byPlace(a.Place, b.Place)) })
	return list[:min(len(list), most)]
}

// departures counts who was late, of those that leave on request.
func (r *Recommendation) departures(es []Episode) {
	for _, e := range es {
		for _, d := range e.Departures {
			switch {
			case d.Reason != ledger.Delete && d.Reason != ledger.Evict && d.Reason != ledger.Preempt, d.Kept:
			case d.Late == report.Yes:
				r.Departures.Late++
			case d.Late == report.No:
				r.Departures.InTime++
			default:
				r.Departures.Unknown++
			}
			if d.Refused != nil {
				sum := *d.Refused
				if r.Departures.Refused != nil {
					sum += *r.Departures.Refused
				}
				r.Departures.Refused = &sum
			}
		}
	}
}

// kubeletStart is how much later than T0 the kubelet may start preStop, so that what comes within it is not surely late.
const kubeletStart = 1.0

func (r *Recommendation) longer(own []measured) {
	for _, m := range own {
		for _, lo := range m.lows {
			r.Departures.Of++
			if p := r.Present.PreStop; p != nil && lo > float64(*p)+kubeletStart {
				r.Departures.Longer++
			}
		}
	}
}

// worth collects the kinds of consumers that are in the samples.
func (r *Recommendation) worth(in Input, own []measured) {
	used := map[int64]bool{}
	for _, m := range own {
		used[m.id] = true
	}
	kinds := map[string]Worth{}
	for _, e := range in.Episodes {
		if !used[e.Episode.ID] {
			continue
		}
		for _, d := range e.Departures {
			for _, k := range d.Kinds {
				if k.Fidelity != "" {
					kinds[k.Kind] = Worth{k.Kind, k.Fidelity, max(kinds[k.Kind].LagBound, k.LagBound)}
				}
			}
		}
	}
	for _, k := range slices.Sorted(maps.Keys(kinds)) {
		r.Consumers = append(r.Consumers, kinds[k])
	}
}

// gapWhy says what there was to watch before a pod left.
func gapWhy(k report.Kind) string {
	if k.Consumer() {
		return "a replica had not been seen to send to the pod before it left"
	}
	return "was not watched as the pod left"
}

// missing names what is not measured: what the hub knows of, and what did not answer or was not watched in departures of the samples.
func (r *Recommendation) missing(in Input, own []measured) {
	used := map[int64]bool{}
	for _, m := range own {
		used[m.id] = true
	}
	times := map[report.Missing]int{}
	for _, m := range in.NotMeasured {
		times[m] = 0
	}
	for _, e := range in.Episodes {
		if !used[e.Episode.ID] {
			continue
		}
		for _, d := range e.Departures {
			for _, m := range d.Missing {
				if n, always := times[m]; !always || n > 0 {
					times[m]++
				}
			}
			for _, k := range d.Kinds {
				if k.Outcomes[ledger.Gap] > 0 {
					times[report.Missing{Place: k.Kind, Kind: k.Kind, Why: gapWhy(k)}]++
				}
			}
		}
	}
	for m, n := range times {
		r.Missing = append(r.Missing, Absent{m, n})
	}
	often := func(a Absent) int {
		if a.Departures == 0 {
			return 1 << 30
		}
		return a.Departures
	}
	slices.SortFunc(r.Missing, func(a, b Absent) int {
		return cmp.Or(often(b)-often(a), cmp.Compare(a.Place, b.Place), cmp.Compare(a.Why, b.Why))
	})
	if n := len(r.Missing); n > 20 {
		r.Missing, r.MissingMore = r.Missing[:20], n-20
	}
}
