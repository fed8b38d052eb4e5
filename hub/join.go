package hub

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/hub/serving"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// joiner puts together what the agents say about each departure. It reads no clock, starts nothing and does no I/O:
// lines go in, rows come out. Whoever uses it holds the hub's lock.
type joiner struct {
	nodes    map[string]*node
	numbered []*node         // by their numbers; nil: the number is free
	rows     map[string]*row // by pod UID, until nothing more can come
	held     int             // parts of all rows
	begun    time.Time       // of this hub
	// done are pods whose rows the hub before us has stored as complete: what is read of them again is only a part.
	done map[string]bool
	// kinds of places that a configuration declares.
	kinds []string
	// serves says how a workload is reached; nil: nobody looks.
	serves func(namespace, workload string) (s serving.Serves, soon bool)
	// unknown counts lines about pods that no departure was announced for.
	unknown int
	// early are those that may be announced yet (see beside.go).
	early []early
}

// Limits of what agents can make the hub hold.
const (
	maxRows = 20_000
	// patience is how long an agent that is connected may not have seen what a departure's slice says. Bookmarks come
	// once a minute (k8s v1.36.3 apiserver/pkg/storage/cacher, defaultBookmarkFrequency).
	patience = 90 * time.Second
	// replaced is how long an agent may be away that left something open: the next one on its node takes that up.
	replaced = time.Minute
	// grieving is how long a complete row stays for what its own node still tells: exits, the pod's end.
	grieving = 15 * time.Minute
	// maxLead is how far ahead of us a moment may be that an agent tells: more is nonsense.
	maxLead = time.Minute
)

// row is a departure as it is being joined.
type row struct {
	pod        ledger.Pod
	reason     ledger.Reason
	workload   string
	revision   string
	grace      *int64
	containers []ledger.Container
	exits      []ledger.Exit
	exitsFrom  moment // whose clock they are told by
	gone       moment
	ports      map[uint16]bool

	t0     moment
	source ledger.T0Source
	fixed  time.Time // T0 read off the API server's clock, if source says so

	version  uint64            // resource version by which every agent must have passed
	parts    [2][]part         // by family and by the nodes' numbers
	others   map[other]*part   // of replicas of consumers, which are few
	told     map[*node]int     // how many of others its agent told of
	facts    map[string]fact   // by kind of others
	since    []uint64          // first line of each node about it, by its number; 0: none
	open     int               // parts with something open
	stored   time.Time         // ours
	latest   *report.Departure // as it was built last, at that time
	kept     bool
	local    bool // some path was of a traffic policy Local
	proxies  *report.Proxies
	born     time.Time // ours, of the first line
	complete bool
	frozen   *report.Departure // what its places did, once it is complete: the parts are dropped
	finished time.Time         // ours, when it became complete
	missing  []report.Missing  // shared with other rows: it is never changed in place
	unread   []report.Missing  // likewise: kinds of places with replicas that cannot be read
	answered int
	expected int
	dirty    bool // what is stored, or being stored, is not what is known
	storing  bool
	counted  bool // in the metrics
	episode  int64
	routed   bool // some place routed to it; of a frozen row
	own      bool // the pod's own node has told of it

	witness     *witnessed // nil before any line
	unwitnessed int        // expected nodes that do not witness; -1 if none does
}

// leaves: the pod ends; it is not only taken out of Services.
func leaves(r ledger.Reason) bool {
	return r != ledger.Unready && r != ledger.Selector && r != ledger.Vanished
}

// take applies one line that an agent wrote. now is receipt, ours.
func (j *joiner) take(n *node, e *ledger.Event, now time.Time) {
	if e.At.After(n.newest) {
		n.newest = e.At
	}
	switch e.Type {
	case ledger.EventDeparture:
		if e.Pod != nil && e.Pod.UID != "" {
			j.departure(n, e, e.Leaving(), now)
		}
	case ledger.EventFarewell:
		if e.Pod != nil {
			j.farewell(n, e)
		}
	case ledger.EventRemovals:
		for i := range e.Departures {
			j.settled(n, e, &e.Departures[i], now)
		}
	case ledger.EventWitness:
		if e.Witness != nil {
			j.witness(n, e)
		}
	case ledger.EventStop:
		// An agent that starts again takes its removals up; until then they are what they were.
	}
}

// departure takes in that a pod leaves.
func (j *joiner) departure(n *node, e *ledger.Event, l ledger.Leaving, now time.Time) {
	r := j.rows[l.Pod.UID]
	if r != nil && r.frozen != nil && !leaves(r.reason) && (leaves(l.Reason) || now.Sub(r.finished) > time.Second) {
		r = nil // it was taken out of Services before; now it leaves, or came back and goes again
	}
	if r == nil && j.done[l.Pod.UID] {
		return
	}
	if r == nil {
		if len(j.rows) >= maxRows {
			j.unknown++
			return
		}
		r = &row{pod: l.Pod, reason: l.Reason, born: now, ports: map[uint16]bool{}}
		j.rows[l.Pod.UID] = r
	}
	j.first(r, n, e.Seq)
	r.dirty = true
	upgrade := leaves(l.Reason) && !leaves(r.reason)
	own := l.T0Source == ledger.FromPod || len(l.Containers) > 0
	if upgrade {
		r.t0, r.source, r.fixed, r.complete = moment{}, "", time.Time{}, false
	}
	if upgrade || own && leaves(l.Reason) || r.reason == ledger.Vanished {
		r.reason = l.Reason
	}
	if own {
		r.pod = l.Pod
		r.own, r.workload, r.revision, r.containers = true, l.Workload, l.Revision, l.Containers
	}
	if l.Grace != nil && r.grace == nil {
		r.grace = l.Grace
	}
	r.version = max(r.version, version(e.ResourceVersion))
	if upgrade || leaves(l.Reason) == leaves(r.reason) {
		r.earlier(moment{n.boot, l.T0}, l.T0Source)
	}
	j.announced(l.Pod.UID, now)
}

// earlier takes a T0 in if it is better: a moment that an agent saw before one off the API server's clock before none, and of
// two moments the earlier. Clocks that are compared have errors, and the earliest of thousands would be the one with the
// largest: a slice was earlier only if it was so beyond them. Otherwise the agent on the pod's own node is believed.
func (r *row) earlier(m moment, source ledger.T0Source) {
	switch source {
	case ledger.FromPod, ledger.FromSlice:
		if r.t0.at.IsZero() || m.before(r.t0) || source == ledger.FromPod && r.source == ledger.FromSlice && !r.t0.before(m) {
			r.t0, r.source = m, source
		}
	case ledger.FromDeletion:
		if r.t0.at.IsZero() && (r.fixed.IsZero() || m.at.Before(r.fixed)) {
			r.fixed, r.source = m.at, source
		}
	default:
		if r.source == "" {
			r.source = ledger.T0Unknown
		}
	}
}

// before reports whether a moment was before another beyond their errors; without clocks to compare, by what they show.
func (m moment) before(n moment) bool {
	a, errA, ok1 := m.ours()
	b, errB, ok2 := n.ours()
	if !ok1 || !ok2 || m.boot == n.boot {
		return m.at.Before(n.at)
	}
	return a.Add(errA + errB).Before(b)
}

// began is when it began to leave, ours, or when we learnt of it.
func (r *row) began() time.Time {
	if o := r.origin(); o.known {
		return o.at
	}
	return r.born
}

func (j *joiner) farewell(n *node, e *ledger.Event) {
	r := j.rows[e.Pod.UID]
	if r == nil {
		return
	}
	j.first(r, n, e.Seq)
	r.dirty = true
	if len(e.Exits) >= len(r.exits) {
		r.exits, r.exitsFrom = e.Exits, moment{n.boot, e.At}
	}
	if e.Gone {
		r.gone = moment{n.boot, e.At}
	}
}

// settled takes in what a place says of its removals.
func (j *joiner) settled(n *node, e *ledger.Event, s *ledger.Settled, now time.Time) {
	if s.Leaving != nil {
		l := *s.Leaving
		l.Pod.UID = s.UID
		j.departure(n, e, l, now)
	}
	r := j.rows[s.UID]
	if r == nil {
		if !j.done[s.UID] && !j.hold(n, e, s, now) {
			j.unknown++
		}
		return
	}
	j.first(r, n, e.Seq)
	r.dirty = true
	r.version = max(r.version, version(e.ResourceVersion), version(s.ResourceVersion))
	for _, p := range s.Ports {
		r.ports[p] = true
	}
	if n.created.After(r.placesFixed()) {
		return // it never routed to the pod: that the path is not there says nothing
	}
	if r.frozen != nil {
		j.unknown++ // it was complete: this opens or ends something that nobody expected any more
		return
	}
	var p *part
	if e.Place == kubeProxy {
		p = j.part(r, n, e.Family, now)
	} else if p = j.other(r, n, e, now); p == nil {
		j.unknown++
		return
	}
	was := p.open()
	if p.boot != n.boot {
		*p = p.begun(n.boot)
	}
	p.take(e, s)
	if is := p.open(); is != was {
		r.open += map[bool]int{true: 1, false: -1}[is]
	}
	r.kept = r.kept || s.Kept || s.Retained > 0
	r.local = r.local || s.Local
}

// joinSlack is how far the API server's clock, which dates Nodes to the second, may be ahead of ours. Before its agent speaks
// a new node needs longer than that.
const joinSlack = 2 * time.Second

// placesFixed is when the row's set of places was fixed: a node that was created later is none of them.
func (r *row) placesFixed() time.Time { return r.began().Add(joinSlack) }

// first notes the first line of a node about a row: from there on it must be read again if we die before the row
// is stored.
func (j *joiner) first(r *row, n *node, seq uint64) {
	if r.frozen != nil {
		return // it is stored
	}
	if n.number >= len(r.since) {
		r.since = append(r.since, make([]uint64, len(j.numbered)-len(r.since))...)
	}
	if have := r.since[n.number]; have == 0 || seq < have {
		r.since[n.number] = seq
	}
}

// version reads a resource version. They are comparable numbers (KEP-5504, documented since Kubernetes 1.35); one that is
// not is 0 and waits for nobody.
func version(s string) uint64 {
	if s == "" {
		return 0
	}
	v, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0
	}
	return v
}

// census is what all rows of a moment have in common: who is expected, and who can answer.
type census struct {
	expected int
	newest   time.Time        // when the newest of them was created
	missing  []report.Missing // expected, and cannot answer
	young    []report.Missing // likewise, but a row that is younger than returning waits for them
	coming   int              // nodes that cannot answer yet: every row waits for them
	fit      []*node          // by the version they have applied, lowest first
	beside   []*node          // likewise, those beside consumers
	witness  int              // nodes that witness connections
	reading  reading          // who reads which replicas
	readers  []*node          // nodes whose agents know any
	besides  []*node          // all agents beside consumers
	serving  map[workloadKey]served
	proxies  *report.Proxies // what the kube-proxies of those that are measured are
}

const (
	// settling is how long after its start a hub waits for agents that it has not reached yet: they are not missing.
	settling = time.Minute
	// returning is how long an agent that was lost may take to come back.
	returning = 10 * time.Second
	// learning is how long a row waits until it is known which consumers serve its workload.
	learning = 5 * time.Second
)

// census counts the nodes that were created until a moment, once for all rows but those that began to leave before the newest
// joined; 5,000 of them for each row would be most of the hub's work.
func (j *joiner) census(now, until time.Time) census {
	c := census{serving: map[workloadKey]served{}}
	var proxies proxySet
	for _, n := range j.nodes {
		if n.beside != "" && !n.ended() && !n.created.After(until) {
			c.besides = append(c.besides, n)
			c.coming += j.comes(n, now, &c.beside)
		}
		if !n.expected || !n.ready || n.created.After(until) {
			continue
		}
		if n.created.After(c.newest) {
			c.newest = n.created
		}
		c.expected++
		if n.witness {
			c.witness++
		}
		if n.measured() {
			proxies.add(n.proxy)
		}
		following := n.agent.following()
		if following && len(n.consumers) > 0 {
			c.readers = append(c.readers, n)
		}
		n.followed = n.followed || n.agent.state == report.AgentFollowing
		missing := report.Missing{Place: n.name, Why: cmp.Or(n.agent.why, "agent does not answer")}
		switch {
		case following && n.followed && n.measured():
			c.fit = append(c.fit, n)
		case following && n.followed:
			c.missing = append(c.missing, report.Missing{Place: n.name, Why: "not measured: " + cmp.Or(n.backend, "unknown dataplane")})
		case n.agent.state != report.AgentMissing && n.agent.state != "" && !n.followed && !n.failed && now.Sub(j.begun) < settling:
			c.coming++
		case n.agent.state == report.AgentUnreachable && now.Sub(n.heard) < returning:
			c.coming++
		case n.agent.state == report.AgentUnreachable:
			c.young = append(c.young, missing)
		default:
			c.missing = append(c.missing, missing)
		}
	}
	for _, ns := range [][]*node{c.fit, c.beside} {
		slices.SortFunc(ns, func(a, b *node) int { return cmp.Compare(a.applied, b.applied) })
	}
	c.young = append(c.young, c.missing...)
	c.reading = j.reading(c.readers, c.besides)
	c.proxies = proxies.report()
	return c
}

// judge decides whether a row is complete: every expected agent has passed its resource version with nothing open, or is
// given up and named.
func (j *joiner) judge(r *row, c census, now time.Time) {
	if r.complete {
		return
	}
	if fixed := r.placesFixed(); c.newest.After(fixed) {
		c = j.census(now, fixed)
	}
	age := now.Sub(r.born)
	// Whoever is lost is missing; of those that were reached lately a young row still waits for an answer.
	r.expected, r.missing, r.proxies = c.expected, c.young, c.proxies
	serving := j.served(c, workloadKey{r.pod.Namespace, r.workload})
	r.unread = serving.unread
	r.unwitnessed = c.expected - c.witness
	if c.witness == 0 {
		r.unwitnessed = -1
	}
	waiting := c.coming
	if age < returning {
		r.missing = c.missing
		waiting += len(c.young) - len(c.missing)
	}
	if serving.soon && age < learning {
		waiting++
	}
	before := func(ns []*node) []*node {
		i, _ := slices.BinarySearchFunc(ns, r.version, func(n *node, v uint64) int { return cmp.Compare(n.applied, v) })
		return ns[:i]
	}
	behind := len(before(c.fit))
	if late := slices.Concat(before(c.fit), before(c.beside)); age < patience {
		waiting += len(late)
	} else if len(late) > 0 {
		r.missing = slices.Clone(r.missing)
		for _, n := range late {
			r.missing = append(r.missing, n.unseen())
		}
	}
	pending := r.open
	if waiting == 0 && r.open > 0 {
		pending, waiting = r.pendingAt(now)
	}
	r.answered = max(len(c.fit)-behind-pending, 0)
	// Slices follow the pod: before any place was told, silence means nothing.
	quiet := !r.placed() && age < 30*time.Second && leaves(r.reason)
	if waiting == 0 && pending == 0 && !quiet && age > time.Second {
		r.finish(now)
	}
}

// placed reports whether any place told something.
func (r *row) placed() bool { return len(r.parts[0])+len(r.parts[1])+len(r.others) > 0 }

// finish completes a row.
func (r *row) finish(now time.Time) {
	r.complete, r.finished, r.dirty = true, now, true
	r.giveUp()
}

// pendingAt counts the places where something is open whose agents are followed, and those whose agents may come back.
func (r *row) pendingAt(now time.Time) (pending, returning int) {
	for p, at := range r.places {
		switch n := p.boot.node; {
		case !p.open(), n.ended():
		case at.kind != kubeProxy && p.boot != n.boot: // whoever began anew there has not looked at it before
		case n.agent.following():
			pending++
		case now.Sub(n.heard) < replaced:
			returning++
		}
	}
	return pending, returning
}

// giveUp ends what is still open when nobody is waited for any more, so that every removal has an outcome.
func (r *row) giveUp() {
	for p := range r.places {
		o := ledger.Gap
		if p.boot.node.ended() {
			o = ledger.Excluded // the place itself ended
		}
		p.count(o, p.pending+p.retained)
		p.pending, p.retained = 0, 0
	}
	r.open = 0
}

// over reports whether nothing more is to be expected about a row, so that it can be forgotten.
func (r *row) over(now time.Time) bool {
	if !r.complete {
		return false
	}
	after := now.Sub(r.finished)
	switch {
	case after > grieving:
		return true
	case r.gone.at.IsZero():
		return false
	case r.unwitnessed < 0:
		return after > 5*time.Second
	}
	gone, _, ok := r.gone.ours()
	told := r.witness != nil && len(r.witness.own) > 0
	return after > witnessWait && (told || !ok || now.Sub(gone) > witnessWait)
}
