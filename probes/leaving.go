package probes

import (
	"net/netip"
	"slices"
	"time"

	"github.com/lastcall-k8s/lastcall/ledger"
)

const (
	// unanswered is when a SYN without an answer counts as lost: it was sent again after 1, 3 and 7 s
	// (tcp(7), initial RTO 1 s).
	unanswered = 10 * time.Second
	// roundTrip is within which a reset comes, between nodes of a cluster.
	roundTrip = 200 * time.Millisecond
	// lingers is how long connections to a pod are counted after it has landed everywhere here: until those that
	// began just before are decided.
	lingers = unanswered + 2*time.Second
	// landedMargin is what a connection may be late after landed: it may have passed the rules before.
	landedMargin = 2 * time.Millisecond
	// secondThoughts is how long a connection after landing is only suspect: kube-proxy may have learnt before us that
	// the endpoint is back.
	secondThoughts = 2 * time.Second
	// longestWindow bounds a window: the horizon of a removal.
	longestWindow = 30 * time.Minute

	// lookGap is how often windows are looked through.
	lookGap = 250 * time.Millisecond

	maxLeaving  = 4096
	maxFlows    = 16384
	maxClosed   = 8192
	maxSuspects = 1024
)

// leavings are the pods that leave, with what connection tracking showed of the connections to them. It is plain
// bookkeeping over values that carry their time.
type leavings struct {
	report       func(uid string, w ledger.Witness)
	afterLanding func(ledger.AfterLanding)
	// older: connections that began before anybody listened are told of too.
	older bool

	byUID    map[string]*leaving
	byAddr   map[netip.Addr][]*leaving // the latest last
	flows    map[flowTuple]*flow
	waiting  []*flow // for an answer, oldest first
	closed   []*flow // kept so that none is counted twice, oldest first
	suspects []suspect
	unsure   []*leavingPath // landed, and waiting for a moment without events
	fresh    []*leaving     // not listened for yet
	moved    bool           // other addresses count than when they were last asked for
	looked   time.Time      // for windows that are over
}

func newLeavings(report func(string, ledger.Witness), afterLanding func(ledger.AfterLanding)) *leavings {
	return &leavings{report: report, afterLanding: afterLanding, byUID: map[string]*leaving{},
		byAddr: map[netip.Addr][]*leaving{}, flows: map[flowTuple]*flow{}}
}

// leaving is one pod that leaves this node, or that this node's rules should give up.
type leaving struct {
	uid   string
	w     ledger.Witness // own, and what was counted
	drain ledger.Drain
	// here are this node's own addresses, of a pod of this node: the kubelet's probes come from them.
	here     map[netip.Addr]bool
	declared []uint16 // ports
	addrs    []netip.Addr
	paths    map[ledger.Path]*leavingPath
	served   map[uint16]bool // ports of all paths there ever were
	gone     bool
	calm     time.Time // since when nothing more is expected
	tracked  int       // flows
}

// leavingPath is a removal. Its place sends connections there until it has landed.
type leavingPath struct {
	frontends []ledger.Frontend
	landed    time.Time
	sure      bool // whatever is received from now on began after landed and the margin
	datagrams datagrams
}

// flow is one connection.
type flow struct {
	*leaving
	key                           flowTuple
	at                            time.Time
	dnat                          bool
	answered, established, closed bool
	path                          *leavingPath // of a UDP flow only
}

type suspect struct {
	*leaving
	path ledger.Path
	at   time.Time
}

// note takes in what the watcher learnt.
func (ls *leavings) note(c ledger.Change, here map[netip.Addr]bool, now time.Time) {
	switch {
	case c.Departed != nil:
		ls.depart(*c.Departed, here, now)
	case c.Left != nil:
		ls.open(*c.Left, now)
	case c.Retained != nil:
		ls.open(*c.Retained, now)
	case c.Returned != nil:
		ls.settle(*c.Returned, now)
	case c.Superseded != nil:
		ls.settle(*c.Superseded, now)
	case c.Farewell != nil && c.Farewell.Gone:
		if l := ls.byUID[c.Farewell.Pod.UID]; l != nil {
			l.gone = true
			l.reckonCalm(now)
		}
	case c.Excluded:
		for _, l := range ls.byUID {
			l.paths, l.gone = nil, true
			l.reckonCalm(now)
		}
	}
}

// depart takes up a pod of this node.
func (ls *leavings) depart(d ledger.Departure, here map[netip.Addr]bool, now time.Time) {
	var ports []uint16
	for _, c := range d.Containers {
		ports = append(ports, c.Ports...)
	}
	addrs := slices.DeleteFunc(slices.Clone(d.Addrs), func(a netip.Addr) bool {
		return here[a] && len(ports) == 0 // nothing tells its connections from the node's own
	})
	// Of pods whose T0 is unknown, the API learns when their containers are dead.
	if len(addrs) == 0 || d.Source == ledger.T0Unknown {
		return
	}
	if l := ls.take(d.Pod.UID, now); l != nil {
		l.w.Own, l.here, l.declared, l.calm = true, here, ports, time.Time{}
		for _, a := range addrs {
			ls.address(l, a)
		}
	}
}

// take finds the pod's entry or makes one; nil if there are too many.
func (ls *leavings) take(uid string, now time.Time) *leaving {
	l := ls.byUID[uid]
	if l == nil {
		if len(ls.byUID) >= maxLeaving {
			return nil
		}
		l = &leaving{uid: uid, paths: map[ledger.Path]*leavingPath{}, served: map[uint16]bool{}}
		l.w.Since = now
		ls.byUID[uid] = l
		ls.fresh = append(ls.fresh, l)
	}
	return l
}

func (ls *leavings) address(l *leaving, a netip.Addr) {
	if !slices.Contains(l.addrs, a) {
		l.addrs = append(l.addrs, a)
		ls.byAddr[a] = append(ls.byAddr[a], l)
		ls.moved = true
	}
}

// listening takes in that the events of all addresses are received since a moment.
func (ls *leavings) listening(since time.Time) {
	for _, l := range ls.fresh {
		l.w.Since = since
	}
	ls.fresh, ls.moved = nil, false
}

func (ls *leavings) open(r ledger.Removal, now time.Time) {
	l := ls.take(r.UID, now)
	if l == nil {
		return
	}
	if l.paths == nil { // the node was excluded, and is back
		l.paths = map[ledger.Path]*leavingPath{}
	}
	l.paths[r.Path] = &leavingPath{frontends: r.Frontends}
	l.served[r.Path.Endpoint.Port()] = true
	l.calm = time.Time{}
	ls.address(l, r.Path.Endpoint.Addr())
}

// land takes in that a path has landed.
func (ls *leavings) land(ld ledger.Landing, now time.Time) {
	if ld.Absent {
		ls.settle(ld.Key, now)
		return
	}
	if l := ls.byUID[ld.UID]; l != nil {
		if p := l.paths[ld.Path]; p != nil {
			p.landed = ld.Hi
			p.datagrams.from = ld.Lo
			if ld.Lo.IsZero() {
				p.datagrams.from = ld.Hi
			}
			ls.unsure = append(ls.unsure, p)
			l.reckonCalm(now)
		}
	}
}

// settle takes in that a removal ended otherwise: nothing is claimed of its path any more.
func (ls *leavings) settle(k ledger.Key, now time.Time) {
	if l := ls.byUID[k.UID]; l != nil {
		delete(l.paths, k.Path)
		l.reckonCalm(now)
	}
}

func (l *leaving) reckonCalm(now time.Time) {
	if l.w.Own && !l.gone {
		return
	}
	for _, p := range l.paths {
		if p.landed.IsZero() {
			return
		}
	}
	if l.calm.IsZero() {
		l.calm = now
	}
}

// empty takes in that no event was waiting at a moment: what comes later began later.
func (ls *leavings) empty(at time.Time) {
	ls.unsure = slices.DeleteFunc(ls.unsure, func(p *leavingPath) bool {
		p.sure = !at.Before(p.landed.Add(landedMargin))
		return p.sure
	})
}
