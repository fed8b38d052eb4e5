package main

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/hub/sizing"
)

// measurement is what the trials say: -o json.
type measurement struct {
	Namespace string    `json:"namespace"`
	Canary    string    `json:"canary"` // as the hub knows it
	Begun     time.Time `json:"begun"`
	// Seconds is how long trials were made, For how long they were to be.
	Seconds   float64 `json:"seconds"`
	For       float64 `json:"for_seconds"`
	BurstSize int     `json:"burst_size"`
	// Kinds sums up the trials of a kind, Places the places and Stages where the last landing's time went.
	Kinds          []measuredKind        `json:"kinds"`
	Stages         []measuredStage       `json:"stages"`
	Places         []measuredPlace       `json:"places"`
	Trials         []measuredTrial       `json:"trials"`
	Recommendation sizing.Recommendation `json:"recommendation"`
}

// measuredKind sums up the trials of one kind. Its spread is of those that ended.
type measuredKind struct {
	Kind trialKind `json:"kind"`
	Pods int       `json:"pods"` // that leave in one
	N    int       `json:"n"`    // samples
	// Empty are trials of which no departure counts, Open those that had not ended when the time was over.
	Empty int `json:"empty,omitempty"`
	Open  int `json:"open,omitempty"`
	// Unknown are samples that are a lower bound, because something is not known to the end.
	Unknown int `json:"unknown,omitempty"`
	spread
	// Within is what the next stays within with the wanted probability; nil with too few. AtLeast: it is a lower bound.
	Within  *float64 `json:"within_seconds,omitempty"`
	AtLeast bool     `json:"at_least,omitempty"`
}

// spread is of some values, in seconds.
type spread struct {
	Shortest float64 `json:"shortest_seconds"`
	Median   float64 `json:"median_seconds"`
	Longest  float64 `json:"longest_seconds"`
}

// measuredStage is one stage of the last landing, over the trials of a kind that have it.
type measuredStage struct {
	Stage string    `json:"stage"`
	Kind  trialKind `json:"kind"`
	N     int       `json:"n"`
	spread
}

// measuredPlace is one place: when it let go, over all departures that list it.
type measuredPlace struct {
	sizing.Place
	Backend string `json:"backend,omitempty"`
	N       int    `json:"n"`
	Pending int    `json:"pending,omitempty"` // departures in which it had not let go at the end
	Last    int    `json:"last"`              // trials in whose worst departure it was last beyond doubt
	// Some: rows of more than 64 places list the latest only, so what follows is of those.
	Some    bool                  `json:"latest_only,omitempty"`
	Medians map[trialKind]float64 `json:"median_seconds,omitempty"` // by kind of trial
	Longest float64               `json:"longest_seconds"`
}

type measuredTrial struct {
	Kind       trialKind          `json:"kind"`
	Begun      time.Time          `json:"begun"`
	Seconds    float64            `json:"seconds"` // worst last call, as far as it is known
	Ended      bool               `json:"ended"`
	Unheard    int                `json:"unheard,omitempty"` // pods that the hub has not told of
	Departures []report.Departure `json:"departures"`
}

// resultOf sums up what a run has seen.
func resultOf(r *trialRun) measurement {
	m := measurement{Namespace: r.canary.namespace, Canary: "service/" + r.canary.name, Seconds: r.took.Seconds(), For: r.lasts.Seconds(), BurstSize: r.burstSize}
	for _, t := range r.done {
		m.Trials = append(m.Trials, t.measured())
	}
	m.sum()
	return m
}

func (t *trial) measured() measuredTrial {
	m := measuredTrial{Kind: t.kind, Begun: t.begun, Seconds: t.longest(), Ended: !t.ended.IsZero(), Departures: []report.Departure{}}
	for _, uid := range t.uids {
		if d, ok := t.rows[uid]; ok {
			m.Departures = append(m.Departures, d)
		} else {
			m.Unheard++
		}
	}
	slices.SortFunc(m.Departures, report.Worse)
	return m
}

// sum fills everything that follows from the trials.
func (m *measurement) sum() {
	if len(m.Trials) > 0 {
		m.Begun = m.Trials[0].Begun
	}
	es := m.episodes()
	m.Recommendation = sizing.Recommend(sizing.Input{Workload: sizing.Workload{Namespace: m.Namespace, Name: m.Canary}, Episodes: es, Trials: true}, sizing.Pool{}, sizing.Options{})
	if m.slowSync() > 0 && m.Recommendation.Seconds != nil {
		m.Recommendation.AtLeast = true
	}
	for _, k := range trialKinds {
		m.Kinds = append(m.Kinds, m.ofKind(k))
	}
	m.stages()
	m.places()
}

// episodes makes an episode of each trial: pods that leave on purpose, 2 s after everybody had let go of those before, are samples of
// their own. What of the regime is the same for all is read off all, since not every row names every place.
func (m *measurement) episodes() (es []sizing.Episode) {
	var all []report.Departure
	for _, t := range m.Trials {
		all = append(all, t.Departures...)
	}
	regime := sizing.RegimeOf(report.Explanation{Departures: all})
	for i, t := range m.Trials {
		e := report.Episode{ID: int64(i + 1), Namespace: m.Namespace, Workload: m.Canary, Begun: t.Begun, Ended: t.Begun.Add(inSeconds(t.Seconds)),
			Left: len(t.Departures) + t.Unheard, Most: m.podsOf(t.Kind), Open: !t.Ended}
		es = append(es, sizing.Episode{Explanation: report.Explanation{Episode: e, Departures: t.Departures}, Regime: regime})
	}
	return es
}

// slowSync is kube-proxy's longest minSyncPeriod if that is more than the rest before a trial, else 0. Each trial then begins as long
// after a sync as we rest, and waits for what is left of that period; a rollout begins anywhere in it.
func (m *measurement) slowSync() (longest time.Duration) {
	for word := range strings.SplitSeq(m.Recommendation.Regime.MinSync, ", ") {
		if d, err := time.ParseDuration(word); err == nil && d > max(longest, restTime) {
			longest = d
		}
	}
	return longest
}

func (m *measurement) podsOf(k trialKind) int {
	if k == single {
		return 1
	}
	return m.BurstSize
}

func (m *measurement) ofKind(k trialKind) measuredKind {
	s := measuredKind{Kind: k, Pods: m.podsOf(k)}
	var values []float64
	trials := 0
	for _, t := range m.Trials {
		if t.Kind == k {
			trials++
			if t.Ended {
				values = append(values, t.Seconds)
			} else {
				s.Open++
			}
		}
	}
	s.spread = spreadOf(values)
	for _, c := range m.Recommendation.Classes {
		if c.Burst == sizing.BurstOf(s.Pods) {
			s.N, s.Unknown = c.N, c.Unknown
			if c.Enough {
				within := c.Seconds
				s.Within, s.AtLeast = &within, !c.Firm || m.slowSync() > 0
			}
		}
	}
	s.Empty = trials - s.N
	return s
}

func spreadOf(values []float64) spread {
	if len(values) == 0 {
		return spread{}
	}
	slices.Sort(values)
	return spread{values[0], values[(len(values)-1)/2], values[len(values)-1]}
}

// stages are of the last landing of each trial's worst departure, so that they add up.
func (m *measurement) stages() {
	values := map[string]map[trialKind][]float64{"api": {}, "watch": {}, "program": {}}
	for _, t := range m.Trials {
		if len(t.Departures) == 0 {
			continue
		}
		ls := t.Departures[0].Slowest
		i := slices.IndexFunc(ls, func(l report.Landing) bool { return l.Landed != nil })
		if i < 0 || ls[i].Stages == nil {
			continue
		}
		st := ls[i].Stages
		for stage, s := range map[string]float64{"api": st.API, "watch": st.Watch, "program": st.Program} {
			values[stage][t.Kind] = append(values[stage][t.Kind], s)
		}
	}
	m.Stages = []measuredStage{}
	for _, stage := range []string{"api", "watch", "program"} {
		for _, k := range trialKinds {
			if vs := values[stage][k]; len(vs) > 0 {
				m.Stages = append(m.Stages, measuredStage{stage, k, len(vs), spreadOf(vs)})
			}
		}
	}
}

// places are all that a row lists, who was longest first.
func (m *measurement) places() {
	at := map[sizing.Place]*measuredPlace{}
	values := map[sizing.Place]map[trialKind][]float64{}
	of := func(l report.Landing) *measuredPlace {
		p := sizing.Place{Kind: l.Kind, Node: l.Node, Replica: l.Replica}
		if at[p] == nil {
			at[p], values[p] = &measuredPlace{Place: p, Medians: map[trialKind]float64{}}, map[trialKind][]float64{}
		}
		at[p].Backend = cmp.Or(l.Backend, at[p].Backend)
		return at[p]
	}
	for _, t := range m.Trials {
		for i, d := range t.Departures {
			latest := map[sizing.Place]float64{} // of both families
			for _, l := range d.Slowest {
				p := of(l)
				p.Some = p.Some || d.Strip != nil
				if l.Pending > 0 {
					p.Pending++
				}
				if l.Landed != nil && !l.Unusable {
					latest[p.Place] = max(latest[p.Place], l.Landed.Hi)
				}
			}
			for p, s := range latest {
				values[p][t.Kind] = append(values[p][t.Kind], s)
			}
			if i == 0 && d.Straggler != nil {
				of(*d.Straggler).Last++
			}
		}
	}
	m.Places = []measuredPlace{}
	for p, s := range at {
		for k, vs := range values[p] {
			of := spreadOf(vs)
			s.N, s.Medians[k], s.Longest = s.N+len(vs), of.Median, max(s.Longest, of.Longest)
		}
		m.Places = append(m.Places, *s)
	}
	slices.SortFunc(m.Places, func(a, b measuredPlace) int {
		return cmp.Or(b.Pending-a.Pending, cmp.Compare(b.Longest, a.Longest), cmp.Compare(a.Node, b.Node), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Replica, b.Replica))
	})
}
