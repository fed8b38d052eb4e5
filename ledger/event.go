package ledger

import (
	"slices"
	"time"
)

// Event is one line of /v1/events. Which fields are set depends on Type; times are by the node's own
// clock, in RFC 3339 with nanoseconds.
type Event struct {
	Boot string    `json:"boot"`
	Seq  uint64    `json:"seq,omitempty"` // hello, gap and heartbeat lines are not part of the sequence
	Type EventType `json:"type"`
	At   time.Time `json:"at,omitzero"`

	Node     string   `json:"node,omitempty"`      // start, hello
	NodeUID  string   `json:"node_uid,omitempty"`  // hello: of the Node object, which no other cluster has; "" before it is known
	Version  string   `json:"version,omitempty"`   // start, hello
	Place    string   `json:"place,omitempty"`     // start, hello, removals
	Replica  string   `json:"replica,omitempty"`   // removals, late: which place of that kind on this node, "" if it is the only one
	Backend  string   `json:"backend,omitempty"`   // start, hello, removals; hello: also of one that is not measured
	Families []Family `json:"families,omitempty"`  // start, hello: those that are measured
	Proxy    Proxy    `json:"kube_proxy,omitzero"` // hello: what kube-proxy on this node says of itself

	Pod      *Pod      `json:"pod,omitempty"` // departure, farewell
	Reason   Reason    `json:"reason,omitempty"`
	T0       time.Time `json:"t0,omitzero"`
	T0Source T0Source  `json:"t0_source,omitempty"`
	Grace    *int64    `json:"grace_seconds,omitempty"`
	Workload string    `json:"workload,omitempty"`
	Revision string    `json:"revision,omitempty"` // hash of the pod template
	// Containers of the pod, told by the agent on its own node.
	Containers []Container `json:"containers,omitempty"`
	Exits      []Exit      `json:"exits,omitempty"` // farewell: the containers that have ended
	Gone       bool        `json:"gone,omitempty"`  // farewell: the pod's object is gone
	// ResourceVersion is that of the object that showed a departure; in a heartbeat, that of the newest EndpointSlice
	// applied.
	ResourceVersion string `json:"resource_version,omitempty"`

	// The interval of a commit; without one, the line is about an API event that opened or settled
	// something. Several candidates: the commit was one of them.
	Family     Family          `json:"family,omitempty"` // removals
	Interval                   // removals, late
	Generation uint64          `json:"generation,omitempty"`
	Candidates []Interval      `json:"candidates,omitempty"`
	Departures []Settled       `json:"departures,omitempty"`
	Open       map[string]Open `json:"open,omitempty"` // stop: what is left, by pod UID

	UID      string `json:"uid,omitempty"` // late, resurrection, witness
	Service  string `json:"service,omitempty"`
	Endpoint string `json:"endpoint,omitempty"`

	// Witness is what connection tracking showed of a departure: witness.
	Witness *Witness `json:"witness,omitempty"`
	// Witnessing: this agent listens to connection tracking while pods leave: hello.
	Witnessing bool `json:"witnessing,omitempty"`
	// Consumers are the replicas that this agent reads or should: hello; heartbeat, if they are not what the last line
	// said. Absent there: nothing new; empty: there are none any more.
	Consumers []Consumer `json:"consumers,omitzero"`

	From uint64 `json:"from,omitempty"` // gap: the lines From to To are lost
	To   uint64 `json:"to,omitempty"`
	Next uint64 `json:"next,omitempty"` // heartbeat: where to resume

	// NotReady is why this agent does not measure, "" if it does: hello, heartbeat.
	NotReady string `json:"not_ready,omitempty"`
}

// Proxy is what of kube-proxy makes its latencies comparable, as it says itself. "" is unknown.
type Proxy struct {
	Version string `json:"version,omitempty"`
	MinSync string `json:"min_sync,omitempty"` // minSyncPeriod, as "1s"
}

// Consumer is a replica of an ingress controller, a DNS server or a mesh on this node.
type Consumer struct {
	Place   string `json:"place"` // its kind
	Replica string `json:"replica"`
	// Fidelity is what its answers show, and Lag how much later than that it may still act as before, in seconds.
	Fidelity string  `json:"fidelity,omitempty"`
	Lag      float64 `json:"lag_bound_seconds,omitempty"`
	// Unread is why nothing can be told of it now, "" if it is read.
	Unread string `json:"unread,omitempty"`
}

// EventType tells the lines apart.
type EventType string

const (
	EventStart        EventType = "start"        // first line of a boot
	EventDeparture    EventType = "departure"    // a pod starts to leave, as seen from this node
	EventFarewell     EventType = "farewell"     // containers of a departing pod ended, or its object went
	EventRemovals     EventType = "removals"     // removals of some pods were opened or settled
	EventLate         EventType = "late"         // an expired removal landed after all
	EventResurrection EventType = "resurrection" // a landed path is routed again
	EventWitness      EventType = "witness"      // what connection tracking showed of one departure, when that is over
	EventStop         EventType = "stop"         // last line of a boot that ended well
	EventGap          EventType = "gap"          // lines that this reader missed
	EventHello        EventType = "hello"        // first line of an answer: who speaks
	EventHeartbeat    EventType = "heartbeat"    // nothing new; what was applied
)

// Leaving is what this node saw of a pod that starts to leave.
type Leaving struct {
	Pod        Pod         `json:"pod"`
	Reason     Reason      `json:"reason"`
	T0         time.Time   `json:"t0,omitzero"`
	T0Source   T0Source    `json:"t0_source,omitempty"`
	Grace      *int64      `json:"grace_seconds,omitempty"`
	Workload   string      `json:"workload,omitempty"`
	Revision   string      `json:"revision,omitempty"`
	Containers []Container `json:"containers,omitempty"`
}

// Leaving is what a departure line says.
func (e *Event) Leaving() Leaving {
	return Leaving{*e.Pod, e.Reason, e.T0, e.T0Source, e.Grace, e.Workload, e.Revision, e.Containers}
}

func (d Departure) leaving() Leaving {
	l := Leaving{Pod: d.Pod, Reason: d.Reason, T0: d.T0, T0Source: d.Source, Workload: d.Workload, Revision: d.Revision, Containers: d.Containers}
	if d.Grace >= 0 {
		l.Grace = &d.Grace
	}
	return l
}

// Settled is what a line says of one pod in the line's family: the removals that were opened, those that ended with it, by
// outcome, and what is open after it. Over all lines, opened = outcomes + open.
type Settled struct {
	UID string `json:"uid"`
	// Leaving announces the pod's departure with the first line about its removals.
	Leaving *Leaving `json:"leaving,omitempty"`
	// ResourceVersion is that of the object whose event opened removals.
	ResourceVersion string          `json:"resource_version,omitempty"`
	Opened          int             `json:"opened,omitempty"`
	Outcomes        map[Outcome]int `json:"outcomes,omitempty"`
	// SeenFirst and SeenLast are the earliest and the latest receipt of the API events behind the
	// landed removals; absent for those re-armed from a baseline.
	SeenFirst time.Time `json:"seen_first,omitzero"`
	SeenLast  time.Time `json:"seen_last,omitzero"`
	Rearmed   bool      `json:"rearmed,omitempty"`
	// Ports are the endpoint's ports of the removals that the line opened: which container serves.
	Ports []uint16 `json:"ports,omitempty"`
	// Kept: some of them were retained on purpose, now or for a moment before.
	Kept bool `json:"kept,omitempty"`
	// Local: some of them were of a Service's traffic policy Local.
	Local bool `json:"local,omitempty"`
	Open
}

// Open counts a pod's removals that are not settled.
type Open struct {
	Pending  int `json:"pending"`
	Retained int `json:"retained"`
}

// onTimeline puts every moment of the event on the timeline. T0 read off the API server's clock stays as it is.
func (e *Event) onTimeline(of func(time.Time) time.Time) {
	move := func(t *time.Time) {
		if !t.IsZero() {
			*t = of(*t)
		}
	}
	interval := func(i *Interval) { move(&i.Lo); move(&i.Hi) }
	move(&e.At)
	if e.T0Source != FromDeletion {
		move(&e.T0)
	}
	interval(&e.Interval)
	e.Candidates = slices.Clone(e.Candidates) // shared with the landings of other lines
	for i := range e.Candidates {
		interval(&e.Candidates[i])
	}
	for i := range e.Departures {
		s := &e.Departures[i]
		move(&s.SeenFirst)
		move(&s.SeenLast)
		if s.Leaving != nil && s.Leaving.T0Source != FromDeletion {
			move(&s.Leaving.T0)
		}
	}
	e.Exits = slices.Clone(e.Exits)
	for i := range e.Exits {
		move(&e.Exits[i].Told)
		move(&e.Exits[i].By)
	}
	if e.Witness != nil {
		e.Witness.onTimeline(move)
	}
}

// Start is what an agent says of itself in the first line of its boot.
type Start struct {
	Node, Version  string
	Place, Backend string
	Families       []Family // measured
}

// Started writes the first line of this boot.
func (r *Ring) Started(at time.Time, s Start) {
	r.append(Event{Type: EventStart, At: at, Node: s.Node, Version: s.Version,
		Place: s.Place, Backend: s.Backend, Families: s.Families})
}

func (r *Ring) departure(d Departure, at time.Time) {
	l := d.leaving()
	r.append(Event{Type: EventDeparture, At: at, Pod: &l.Pod, Reason: l.Reason, T0: l.T0, T0Source: l.T0Source, Grace: l.Grace,
		Workload: l.Workload, Revision: l.Revision, Containers: l.Containers, ResourceVersion: d.ResourceVersion})
}

func (r *Ring) farewell(f Farewell, at time.Time) {
	r.append(Event{Type: EventFarewell, At: at, Pod: &f.Pod, Exits: f.Exits, Gone: f.Gone})
}

func (r *Ring) resurrection(k Key, at time.Time) {
	r.append(Event{Type: EventResurrection, At: at, UID: k.UID,
		Service: k.Path.Service.String(), Endpoint: k.Path.Endpoint.String()})
}

func (r *Ring) stop(open map[string]Open, at time.Time) {
	r.append(Event{Type: EventStop, At: at, Open: open})
}

// batch collects what one call of the ledger settles, so that a commit becomes one line however many
// removals landed by it.
type batch struct {
	place, replica, backend string
	order                   []group
	lines                   map[group]*Event
	late_                   []Event
}

// group is what the removals of one line have in common.
type group struct {
	family     Family
	at, lo, hi int64 // nanoseconds; lo and hi are 0 without a commit
}

func (l *Ledger) newBatch() *batch {
	return &batch{place: l.cfg.Place, replica: l.cfg.Replica, backend: l.cfg.Backend, lines: map[group]*Event{}}
}

// pod returns the pod's tally on the group's line.
func (b *batch) pod(g group, at time.Time, uid string) *Settled {
	e := b.lines[g]
	if e == nil {
		e = &Event{Type: EventRemovals, At: at, Place: b.place, Replica: b.replica, Backend: b.backend, Family: g.family}
		b.lines[g] = e
		b.order = append(b.order, g)
	}
	for i := range e.Departures {
		if e.Departures[i].UID == uid {
			return &e.Departures[i]
		}
	}
	e.Departures = append(e.Departures, Settled{UID: uid, Outcomes: map[Outcome]int{}})
	return &e.Departures[len(e.Departures)-1]
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
	e.Interval, e.Generation = ld.Interval, ld.Generation
	if e.Candidates == nil {
		e.Candidates = ld.Candidates
	}
}

func (b *batch) late(r Removal, ld Landing) {
	b.late_ = append(b.late_, Event{Type: EventLate, At: ld.Hi, Place: b.place, Replica: b.replica, UID: r.UID, Service: r.Path.Service.String(),
		Endpoint: r.Path.Endpoint.String(), Interval: ld.Interval})
}

// publish writes the lines; the open counts are those after the whole batch.
func (b *batch) publish(l *Ledger) {
	for _, g := range b.order {
		l.write(*b.lines[g])
	}
	for _, e := range b.late_ {
		l.cfg.Events.append(e)
	}
}

// write appends a line about removals, with all that is to be told of its pods.
func (l *Ledger) write(e Event) {
	for i := range e.Departures {
		p := &e.Departures[i]
		at := share{p.UID, e.Family}
		if c := l.shares[at]; c != nil {
			p.Open = *c
		}
		l.untold.take(at, p)
	}
	l.cfg.Events.append(e)
}
