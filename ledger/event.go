package ledger

import "time"

// The event lines of /v1/events. Every line starts with a header; times are RFC 3339 with nanoseconds,
// by the node's own clock.
type header struct {
	Boot string    `json:"boot"`
	Seq  uint64    `json:"seq"`
	Type string    `json:"type"` // start, departure, removals, late, resurrection, stop
	At   time.Time `json:"at"`
}

// Start is the first line of a boot.
type startEvent struct {
	header
	Node    string `json:"node"`
	Version string `json:"version"`
	Place   string `json:"place"`
	Backend string `json:"backend"`
}

// departureEvent says that a pod started to leave, as seen from this node.
type departureEvent struct {
	header
	Pod             Pod       `json:"pod"`
	Reason          Reason    `json:"reason"`
	T0              time.Time `json:"t0,omitzero"`
	T0Source        T0Source  `json:"t0_source"`
	Grace           *int64    `json:"grace_seconds,omitempty"`
	Workload        string    `json:"workload,omitempty"`
	ResourceVersion string    `json:"resource_version,omitempty"`
}

// removalsEvent is one line per commit that settled something, or per API event that opened or settled
// something without a commit. Its interval is that of the commit.
type removalsEvent struct {
	header
	Place      string     `json:"place"`
	Backend    string     `json:"backend"`
	Family     Family     `json:"family"`
	Lo         time.Time  `json:"lo,omitzero"`
	Hi         time.Time  `json:"hi,omitzero"`
	Generation uint64     `json:"generation,omitempty"`
	Candidates []interval `json:"candidates,omitempty"`
	Departures []tallied  `json:"departures"`
}

type interval struct {
	Lo time.Time `json:"lo,omitzero"`
	Hi time.Time `json:"hi"`
}

// tallied is what a line says of one pod: the removals that ended with it, by outcome, and what
// is open after it.
type tallied struct {
	UID      string          `json:"uid"`
	Outcomes map[Outcome]int `json:"outcomes,omitempty"`
	// Seen is the earliest and the latest receipt of the API events behind the landed removals;
	// absent for removals re-armed from a baseline.
	SeenFirst time.Time `json:"seen_first,omitzero"`
	SeenLast  time.Time `json:"seen_last,omitzero"`
	Rearmed   bool      `json:"rearmed,omitempty"`
	openCount
}

type openCount struct {
	Pending  int `json:"pending"`
	Retained int `json:"retained"`
}

type lateEvent struct {
	header
	UID      string    `json:"uid"`
	Service  string    `json:"service"`
	Endpoint string    `json:"endpoint"`
	Lo       time.Time `json:"lo,omitzero"`
	Hi       time.Time `json:"hi"`
}

type resurrectionEvent struct {
	header
	UID      string `json:"uid"`
	Service  string `json:"service"`
	Endpoint string `json:"endpoint"`
}

type stopEvent struct {
	header
	// Open is what this agent leaves unsettled, by pod UID.
	Open map[string]openCount `json:"open"`
}

// Started writes the first line of this boot.
func (r *Ring) Started(at time.Time, node, version, place, backend string) {
	e := startEvent{Node: node, Version: version, Place: place, Backend: backend}
	r.append(at, "start", &e, &e.header)
}

func (r *Ring) departure(d Departure, at time.Time) {
	e := departureEvent{Pod: d.Pod, Reason: d.Reason, T0: d.T0, T0Source: d.Source,
		Workload: d.Workload, ResourceVersion: d.ResourceVersion}
	if d.Grace >= 0 {
		e.Grace = &d.Grace
	}
	r.append(at, "departure", &e, &e.header)
}

func (r *Ring) resurrection(k Key, at time.Time) {
	e := resurrectionEvent{UID: k.UID, Service: k.Path.Service.String(), Endpoint: k.Path.Endpoint.String()}
	r.append(at, "resurrection", &e, &e.header)
}

func (r *Ring) stop(open map[string]openCount, at time.Time) {
	e := stopEvent{Open: open}
	r.append(at, "stop", &e, &e.header)
}

// batch collects what one call of the ledger settles, so that a commit becomes one line however many
// removals landed by it.
type batch struct {
	place, backend string
	order          []group
	lines          map[group]*removalsEvent
	late_          []lateEvent
}

// group is what the removals of one line have in common.
type group struct {
	family     Family
	at, lo, hi int64 // nanoseconds; lo and hi are 0 without a commit
}

func (l *Ledger) newBatch() *batch {
	return &batch{place: l.cfg.Place, backend: l.cfg.Backend, lines: map[group]*removalsEvent{}}
}

// pod returns the pod's tally on the group's line.
func (b *batch) pod(g group, at time.Time, uid string) *tallied {
	e := b.lines[g]
	if e == nil {
		e = &removalsEvent{header: header{At: at}, Place: b.place, Backend: b.backend, Family: g.family}
		b.lines[g] = e
		b.order = append(b.order, g)
	}
	for i := range e.Departures {
		if e.Departures[i].UID == uid {
			return &e.Departures[i]
		}
	}
	e.Departures = append(e.Departures, tallied{UID: uid, Outcomes: map[Outcome]int{}})
	return &e.Departures[len(e.Departures)-1]
}

// touch makes sure that the pod's open counts are told.
func (b *batch) touch(k Key, at time.Time) {
	b.pod(group{family: k.Path.Family(), at: at.UnixNano()}, at, k.UID)
}

func (b *batch) outcome(k Key, o Outcome, at time.Time) {
	b.pod(group{family: k.Path.Family(), at: at.UnixNano()}, at, k.UID).Outcomes[o]++
}

func (b *batch) landed(r Removal, ld Landing) {
	g := group{family: r.Path.Family(), at: ld.Hi.UnixNano(), lo: ld.Lo.UnixNano(), hi: ld.Hi.UnixNano()}
	p := b.pod(g, ld.Hi, r.UID)
	p.Outcomes[Landed]++
	if r.Rearmed {
		p.Rearmed = true
	} else {
		if p.SeenFirst.IsZero() || r.Seen.Before(p.SeenFirst) {
			p.SeenFirst = r.Seen
		}
		if r.Seen.After(p.SeenLast) {
			p.SeenLast = r.Seen
		}
	}
	e := b.lines[g]
	e.Lo, e.Hi, e.Generation = ld.Lo, ld.Hi, ld.Generation
	if e.Candidates == nil {
		for _, c := range ld.Candidates {
			e.Candidates = append(e.Candidates, interval(c))
		}
	}
}

func (b *batch) late(r Removal, ld Landing) {
	b.late_ = append(b.late_, lateEvent{UID: r.UID, Service: r.Path.Service.String(),
		Endpoint: r.Path.Endpoint.String(), Lo: ld.Lo, Hi: ld.Hi})
}

// publish writes the lines; the open counts are those after the whole batch.
func (b *batch) publish(l *Ledger) {
	for _, g := range b.order {
		e := b.lines[g]
		for i := range e.Departures {
			p := &e.Departures[i]
			if c := l.pods[p.UID]; c != nil {
				p.openCount = openCount{Pending: c.pending, Retained: c.retained}
			}
		}
		l.cfg.Events.append(e.At, "removals", e, &e.header)
	}
	for i := range b.late_ {
		e := &b.late_[i]
		l.cfg.Events.append(e.Hi, "late", e, &e.header)
	}
}
