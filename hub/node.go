package hub

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// node is a node of the cluster with what its agent says of itself; or an agent that runs beside a consumer (see beside.go).
type node struct {
	name     string
	key      string    // what the joiner knows it by: its name, if it is a node
	beside   string    // of an agent beside a consumer: "namespace/pod"; "" of a node
	host     *node     // likewise: the node that it is on
	number   int       // among the joiner's: rows have their places by it
	uid      string    // of the Node object
	created  time.Time // likewise, by the API server's clock
	ready    bool      // the Node's condition
	expected bool      // it is in the Node list
	taints   []string

	agent     agentState
	boots     []*boot // the newest few, oldest first
	boot      *boot   // whose lines we read, nil before the first
	next      uint64  // sequence number of the next line, in boot
	applied   uint64  // newest slice resource version its watcher applied
	backend   string
	families  []ledger.Family // measured
	proxy     ledger.Proxy    // what kube-proxy there says of itself
	witness   bool            // it listens to connection tracking while pods leave
	version   string
	consumers []ledger.Consumer // replicas that it reads or should: replaced, never changed in place
	notReady  string
	lost      uint64
	heard     time.Time
	followed  bool      // its newest lines were read once
	failed    bool      // it was asked, and did not answer as it should
	newest    time.Time // moment of the newest line
}

type agentState struct {
	state report.AgentState
	why   string
	pod   string
	ip    string
	port  int // 0: that of all
}

func (a agentState) following() bool {
	return a.state == report.AgentFollowing || a.state == report.AgentCatchingUp
}

func (n *node) measured() bool { return len(n.families) > 0 }

// over: nothing is left of the node.
func (n *node) over() bool { return !n.expected && n.agent.ip == "" }

// ended: its places are no more.
func (n *node) ended() bool {
	if n.host != nil {
		return n.agent.ip == "" || n.host.ended()
	}
	return !n.expected || !n.ready
}

// boot is one run of a node's agent: a timeline of its own.
type boot struct {
	node    *node
	id      string
	backend string                   // as it said first: it does not change once lines are read
	clock   atomic.Pointer[estimate] // nil before it was compared with ours
}

// keptBoots is how many boots of an agent may be asked for by name.
const keptBoots = 3

// bootOf finds a boot, or makes it known.
func (n *node) bootOf(id string) *boot {
	if i := slices.IndexFunc(n.boots, func(b *boot) bool { return b.id == id }); i >= 0 {
		return n.boots[i]
	}
	b := &boot{node: n, id: id}
	n.boots = append(n.boots[max(0, len(n.boots)-keptBoots+1):], b)
	return b
}

// sampled takes in what the agent's clock said.
func (n *node) sampled(c Clock, sent, received time.Time) {
	b := n.bootOf(c.Boot)
	b.clock.Store(b.clock.Load().add(c, sent, received))
}

// moment is one that an agent told: on its timeline.
type moment struct {
	boot *boot
	at   time.Time
}

// ours is the moment in our time. Without a clock sample yet its error is unknown. It needs no lock.
func (m moment) ours() (at time.Time, err time.Duration, ok bool) {
	if m.boot == nil || m.at.IsZero() {
		return time.Time{}, 0, false
	}
	return m.boot.clock.Load().ours(m.at)
}

// at finds a node, or makes it known.
func (j *joiner) at(name string) *node {
	n := j.nodes[name]
	if n == nil {
		n = &node{name: name, key: name, agent: agentState{state: report.AgentMissing, why: "no agent runs there"}}
		j.nodes[name] = n
		// Sights of rows read the list without a lock: a number is given anew on a copy.
		if n.number = slices.Index(j.numbered, nil); n.number < 0 {
			n.number = len(j.numbered)
			j.numbered = append(j.numbered, n)
		} else {
			j.numbered = slices.Clone(j.numbered)
			j.numbered[n.number] = n
		}
	}
	return n
}

// forget drops the nodes of which nothing is left, and which no row knows.
func (j *joiner) forget() {
	hosts := map[*node]bool{}
	for _, n := range j.nodes {
		hosts[n.host] = true
	}
	for name, n := range j.nodes {
		if n.over() && !hosts[n] && !j.known(n) {
			delete(j.nodes, name)
			j.numbered = slices.Clone(j.numbered)
			j.numbered[n.number] = nil
		}
	}
}

// known reports whether a row knows the node.
func (j *joiner) known(n *node) bool {
	for _, r := range j.rows {
		if n.number < len(r.since) && r.since[n.number] != 0 {
			return true
		}
	}
	return false
}
