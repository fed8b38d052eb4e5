package hub

import (
	"cmp"
	"slices"
	"sort"
	"strconv"
	"time"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// joiner puts together what the agents say about each departure. It reads no clock, starts nothing and does no I/O:
// lines go in, rows come out. Whoever uses it holds the hub's lock.
type joiner struct {
	nodes map[string]*node
	rows  map[string]*row // by pod UID, until nothing more can come
	begun time.Time       // of this hub
	// done are pods whose rows the hub before us has stored as complete: what is read of them again is only a part.
	done map[string]bool
	// unknown counts lines about pods that no departure was announced for.
	unknown int
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

// node is a node of the cluster with what its agent says of itself.
type node struct {
	name     string
	uid      string    // of the Node object
	created  time.Time // the Node object, by the API server's clock
	ready    bool      // the Node's condition
	expected bool      // it is in the Node list
	taints   []string

	agent    agentState
	clocks   map[string]*estimate // by boot, the newest few
	boots    []string
	next     uint64 // sequence number of the next line, in boot
	boot     string
	applied  uint64 // newest slice resource version its watcher applied
	backend  string
	families []ledger.Family // measured
	version  string
	notReady string
	lost     uint64
	heard    time.Time
	followed bool      // its newest lines were read once
	failed   bool      // it was asked, and did not answer as it should
	newest   time.Time // moment of the newest line
}

type agentState struct {
	state report.AgentState
	why   string
	pod   string
	ip    string
}

// clock is the estimate for a boot, nil if there is none yet.
func (n *node) clock(boot string) *estimate { return n.clocks[boot] }

// sampled takes in what the agent's clock said.
func (n *node) sampled(c Clock, sent, received time.Time) {
	if n.clocks == nil {
		n.clocks = map[string]*estimate{}
	}
	if n.clocks[c.Boot] == nil {
		n.boots = append(n.boots, c.Boot)
		if len(n.boots) > 3 {
			delete(n.clocks, n.boots[0])
			n.boots = n.boots[1:]
		}
	}
	n.clocks[c.Boot] = n.clocks[c.Boot].add(c, sent, received)
}

func (n *node) measured() bool { return len(n.families) > 0 }

// moment is one that an agent told: on its timeline.
type moment struct {
	node *node
	boot string
	at   time.Time
}

// ours is the moment in our time. Without a clock sample yet its error is unknown.
func (m moment) ours() (at time.Time, err time.Duration, ok bool) {
	if m.node == nil || m.at.IsZero() {
		return time.Time{}, 0, false
	}
	return m.node.clock(m.boot).ours(m.at)
}

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

	version  uint64 // resource version by which every agent must have passed
	parts    map[partKey]*part
	open     int              // parts with something open
	stored   time.Time        // ours
	since    map[*node]uint64 // first line of each node about it
	kept     bool
	born     time.Time // ours, of the first line
	complete bool
	frozen   *report.Departure // what its places did, once it is complete: the parts are dropped
	finished time.Time         // ours, when it became complete
	missing  []report.Missing
	answered int
	expected int
	dirty    bool
	episode  int64
	routed   bool // some place routed to it; of a frozen row
	own      bool // the pod's own node has told of it
}

type partKey struct {
	node   *node
	family ledger.Family
}

// part is one place's share.
type part struct {
	boot, backend       string
	lo, hi              time.Time // the latest of both, over the removals
	unbounded           bool      // a landing without a lower bound
	candidates          []ledger.Interval
	seenFirst, seenLast time.Time
	outcomes            outcomes
	open                ledger.Open
	was                 *part // of the boot before, if nothing was open when that ended
	fresh               bool  // something landed of which this boot saw the beginning
}

// outcomes counts removals by outcome, in the order of ledger.Outcomes.
type outcomes [7]uint32

func (o outcomes) addTo(m map[ledger.Outcome]int) {
	for i, n := range o {
		if n > 0 {
			m[ledger.Outcomes[i]] += int(n)
		}
	}
}

// leaves: the pod ends; it is not only taken out of Services.
func leaves(r ledger.Reason) bool {
	return r != ledger.Unready && r != ledger.Selector && r != ledger.Vanished
}

// take applies one line that an agent wrote. now is receipt, ours.
func (j *joiner) take(n *node, e ledger.Event, now time.Time) {
	if e.At.After(n.newest) {
		n.newest = e.At
	}
	switch e.Type {
	case ledger.EventDeparture:
		if e.Pod != nil && e.Pod.UID != "" {
			j.departure(n, e, now)
		}
	case ledger.EventFarewell:
		if e.Pod != nil {
			j.farewell(n, e)
		}
	case ledger.EventRemovals:
		for i := range e.Departures {
			j.settled(n, e, &e.Departures[i])
		}
	case ledger.EventStop:
		// An agent that starts again takes its removals up; until then they are what they were.
	}
}

func (j *joiner) departure(n *node, e ledger.Event, now time.Time) {
	r := j.rows[e.Pod.UID]
	if r != nil && r.frozen != nil && !leaves(r.reason) && (leaves(e.Reason) || now.Sub(r.finished) > time.Second) {
		r = nil // it was taken out of Services before; now it leaves, or came back and goes again
	}
	if r == nil && j.done[e.Pod.UID] {
		return
	}
	if r == nil {
		if len(j.rows) >= maxRows {
			j.unknown++
			return
		}
		r = &row{pod: *e.Pod, reason: e.Reason, born: now, parts: map[partKey]*part{}, since: map[*node]uint64{}, ports: map[uint16]bool{}}
		j.rows[e.Pod.UID] = r
	}
	j.first(r, n, e.Seq)
	r.dirty = true
	upgrade := leaves(e.Reason) && !leaves(r.reason)
	own := e.T0Source == ledger.FromPod || len(e.Containers) > 0
	if upgrade {
		r.t0, r.source, r.fixed, r.complete = moment{}, "", time.Time{}, false
	}
	if upgrade || own && leaves(e.Reason) || r.reason == ledger.Vanished {
		r.reason = e.Reason
	}
	if own {
		r.pod = *e.Pod
		r.own, r.workload, r.revision, r.containers = true, e.Workload, e.Revision, e.Containers
	}
	if e.Grace != nil && r.grace == nil {
		r.grace = e.Grace
	}
	if v := version(e.ResourceVersion); v > r.version {
		r.version = v
	}
	if upgrade || leaves(e.Reason) == leaves(r.reason) {
		r.earlier(n, e)
	}
}

// earlier takes a T0 in if it is better: a moment that an agent saw before one off the API server's clock before none,
// and the earlier of two.
func (r *row) earlier(n *node, e ledger.Event) {
	m := moment{n, e.Boot, e.T0}
	switch e.T0Source {
	case ledger.FromPod, ledger.FromSlice:
		if !r.t0.at.IsZero() {
			was, _, ok1 := r.t0.ours()
			is, _, ok2 := m.ours()
			if !ok1 || !ok2 { // no clocks to compare yet: by what they show
				was, is = r.t0.at, m.at
			}
			if !is.Before(was) {
				return
			}
		}
		r.t0, r.source = m, e.T0Source
	case ledger.FromDeletion:
		if r.t0.at.IsZero() && (r.fixed.IsZero() || e.T0.Before(r.fixed)) {
			r.fixed, r.source = e.T0, e.T0Source
		}
	default:
		if r.source == "" {
			r.source = ledger.T0Unknown
		}
	}
}

func (j *joiner) farewell(n *node, e ledger.Event) {
	r := j.rows[e.Pod.UID]
	if r == nil {
		return
	}
	j.first(r, n, e.Seq)
	r.dirty = true
	if len(e.Exits) >= len(r.exits) {
		r.exits, r.exitsFrom = e.Exits, moment{n, e.Boot, e.At}
	}
	if e.Gone {
		r.gone = moment{n, e.Boot, e.At}
	}
}

func (j *joiner) settled(n *node, e ledger.Event, s *ledger.Settled) {
	r := j.rows[s.UID]
	if r == nil {
		if !j.done[s.UID] {
			j.unknown++
		}
		return
	}
	j.first(r, n, e.Seq)
	r.dirty = true
	if v := version(e.ResourceVersion); v > r.version {
		r.version = v
	}
	for _, p := range s.Ports {
		r.ports[p] = true
	}
	if r.frozen != nil {
		j.unknown++ // it was complete: this opens or ends something that nobody expected any more
		return
	}
	// Strings of the node, not of the line: there may be hundreds of rows with 5,000 parts each.
	k := partKey{n, ledger.IPv4}
	if e.Family == ledger.IPv6 {
		k.family = ledger.IPv6
	}
	p := r.parts[k]
	if p == nil && n.created.After(r.placesFixed()) {
		return // it never routed to the pod: that the path is not there says nothing
	}
	if p != nil && p.boot != n.boot && p.open != (ledger.Open{}) {
		r.open--
	}
	if p == nil || p.boot != n.boot {
		// Another boot of the agent takes up what the last one left open, and says so by what it opens.
		was := p
		switch {
		case was == nil:
		case was.open != (ledger.Open{}):
			was = nil
		case was.was != nil && !was.fresh:
			was = was.was // it only found gone what was gone
		}
		p = &part{boot: n.boot, was: was}
		r.parts[k] = p
	}
	was := p.open != (ledger.Open{})
	p.open = s.Open
	if is := p.open != (ledger.Open{}); is != was {
		r.open += map[bool]int{true: 1, false: -1}[is]
	}
	if p.backend = n.backend; e.Backend != n.backend {
		p.backend = e.Backend
	}
	if s.Retained > 0 {
		r.kept = true
	}
	for o, c := range s.Outcomes {
		if i := slices.Index(ledger.Outcomes, o); i >= 0 && c > 0 {
			p.outcomes[i] += uint32(c)
		}
	}
	if s.Outcomes[ledger.Landed] == 0 {
		return
	}
	p.fresh = p.fresh || !s.Rearmed
	if e.Lo.IsZero() && len(e.Candidates) == 0 {
		p.unbounded = true
	}
	if e.Hi.After(p.hi) {
		p.hi, p.candidates = e.Hi, e.Candidates
	}
	if e.Lo.After(p.lo) {
		p.lo = e.Lo
	}
	if !s.SeenFirst.IsZero() && (p.seenFirst.IsZero() || s.SeenFirst.Before(p.seenFirst)) {
		p.seenFirst = s.SeenFirst
	}
	if s.SeenLast.After(p.seenLast) {
		p.seenLast = s.SeenLast
	}
}

// joinSlack is how far the API server's clock, which dates Nodes to the second, may be ahead of ours. Before its agent speaks
// a new node needs longer than that.
const joinSlack = 2 * time.Second

// placesFixed is when the row's set of places was fixed: a node that was created later is none of them.
func (r *row) placesFixed() time.Time {
	at := r.origin().at
	if at.IsZero() {
		at = r.born
	}
	return at.Add(joinSlack)
}

// first notes the first line of a node about a row: from there on it must be read again if we die before the row
// is stored.
func (j *joiner) first(r *row, n *node, seq uint64) {
	if r.frozen != nil {
		return // it is stored
	}
	if have, ok := r.since[n]; !ok || seq < have {
		r.since[n] = seq
	}
}

// version reads a resource version. They are comparable numbers (KEP-5504, documented since Kubernetes 1.35); one that is
// not is 0 and waits for nobody.
func version(s string) uint64 {
	v, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0
	}
	return v
}

// census is what all rows of a moment have in common: who is expected, and who can answer.
type census struct {
	created []time.Time // of the expected, oldest first
	unfit   []unfit     // expected, and cannot answer
	fit     []*node     // by the version they have applied, lowest first
}

// unfit is a node that cannot answer, and why; soft if it may come back in a moment.
type unfit struct {
	node *node
	why  string
	soft bool
}

// settling is how long after its start a hub waits for agents that it has not reached yet: they are not missing.
const settling = time.Minute

// census counts the nodes, once for all rows; 5,000 of them for each row would be most of the hub's work.
func (j *joiner) census(now time.Time) census {
	var c census
	for _, n := range j.nodes {
		if !n.expected || !n.ready {
			continue
		}
		c.created = append(c.created, n.created)
		following := n.agent.state == report.AgentFollowing || n.agent.state == report.AgentCatchingUp
		n.followed = n.followed || n.agent.state == report.AgentFollowing
		switch {
		case !following || !n.followed:
			missing := n.agent.state == report.AgentMissing || n.agent.state == ""
			c.unfit = append(c.unfit, unfit{n, cmp.Or(n.agent.why, "agent does not answer"), !missing && !n.followed && !n.failed && now.Sub(j.begun) < settling})
		case !n.measured():
			c.unfit = append(c.unfit, unfit{n, "not measured: " + cmp.Or(n.backend, "unknown dataplane"), false})
		default:
			c.fit = append(c.fit, n)
		}
	}
	slices.SortFunc(c.fit, func(a, b *node) int { return cmp.Compare(a.applied, b.applied) })
	slices.SortFunc(c.created, time.Time.Compare)
	return c
}

// judge decides whether a row is complete: every expected agent has passed its resource version with nothing open, or is
// given up and named.
func (j *joiner) judge(r *row, c census, now time.Time) {
	if r.complete {
		return
	}
	age, fixed := now.Sub(r.born), r.placesFixed()
	r.expected, r.missing = sort.Search(len(c.created), func(i int) bool { return c.created[i].After(fixed) }), nil
	open, unfit, behind := 0, 0, 0
	for _, u := range c.unfit {
		if u.node.created.After(fixed) {
			continue
		}
		unfit++
		switch {
		case u.soft, u.node.agent.state == report.AgentUnreachable && (age < 10*time.Second || now.Sub(u.node.heard) < 10*time.Second):
			open++ // it may come back
		default:
			r.missing = append(r.missing, report.Missing{Place: u.node.name, Why: u.why})
		}
	}
	for _, n := range c.fit {
		if n.applied >= r.version {
			break
		}
		if n.created.After(fixed) {
			continue
		}
		behind++
		if age < patience {
			open++
		} else {
			r.missing = append(r.missing, report.Missing{Place: n.name, Why: "has not seen the change"})
		}
	}
	pending := 0
	if r.open > 0 {
		for k, p := range r.parts {
			following := k.node.agent.state == report.AgentFollowing || k.node.agent.state == report.AgentCatchingUp // else given up above
			switch {
			case p.open == (ledger.Open{}), !k.node.expected, !k.node.ready:
			case following:
				pending++
			case !following && now.Sub(k.node.heard) < replaced:
				open++
			}
		}
	}
	r.answered = max(r.expected-unfit-behind-pending, 0)
	// Slices follow the pod: before any place was told, silence means nothing.
	quiet := len(r.parts) == 0 && age < 30*time.Second && leaves(r.reason)
	if open == 0 && pending == 0 && !quiet && age > time.Second {
		r.complete, r.finished, r.dirty = true, now, true
		r.giveUp()
	}
}

// giveUp ends what is still open when nobody is waited for any more, so that every removal has an outcome.
func (r *row) giveUp() {
	for k, p := range r.parts {
		n := uint32(p.open.Pending + p.open.Retained)
		if n == 0 {
			continue
		}
		o := ledger.Gap
		if !k.node.expected || !k.node.ready {
			o = ledger.Excluded // the place itself ended
		}
		p.outcomes[slices.Index(ledger.Outcomes, o)] += n
		p.open = ledger.Open{}
	}
	r.open = 0
}

// over reports whether nothing more is to be expected about a row, so that it can be forgotten.
func (r *row) over(now time.Time) bool {
	if !r.complete {
		return false
	}
	after := now.Sub(r.finished)
	return !r.gone.at.IsZero() && after > 5*time.Second || after > grieving
}
