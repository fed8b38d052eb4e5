package hub

import (
	"bufio"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json" // takes a third of the time that encoding/json does: go test -bench Decode

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/ledger"
)

const (
	maxLine  = 1 << 20 // a commit that settled 5,000 pods is half of it
	maxBatch = 256     // lines that are applied at once
)

// batches are reused: 5,000 agents say something every second, and what they say is read into the same memory.
var batches = sync.Pool{New: func() any { return new([]ledger.Event) }}

// batch reads what has arrived and applies it at once: 5,000 readers wait for the same lock, and one that has much to tell
// would wait for all of them before each line.
func (r *reader) batch(lines *bufio.Reader) (caught bool, err error) {
	events := batches.Get().(*[]ledger.Event)
	defer batches.Put(events)
	*events = (*events)[:0]
	for more := true; more; {
		line, err := readLine(lines)
		if err != nil {
			return false, err
		}
		e := next(events)
		if err := decode(line, e); err != nil {
			return false, err
		}
		more = e.Type != ledger.EventHeartbeat && len(*events) < maxBatch && lines.Buffered() > 0
	}
	return r.hub.lines(r.node, *events)
}

// next is an empty event at the end of the list. It keeps the room for departures that it had.
func next(events *[]ledger.Event) *ledger.Event {
	n := len(*events)
	if n == cap(*events) {
		*events = append(*events, ledger.Event{})
	} else {
		*events = (*events)[:n+1]
	}
	e := &(*events)[n]
	*e = ledger.Event{Departures: e.Departures[:0]}
	return e
}

func decode(line []byte, e *ledger.Event) error {
	if err := json.Unmarshal(line, e); err != nil {
		return nonsense{fmt.Errorf("a line that is no event: %w", err)}
	}
	return nil
}

// readLine reads one line of bounded length.
func readLine(r *bufio.Reader) ([]byte, error) {
	var whole []byte
	for {
		part, err := r.ReadSlice('\n')
		if err == nil && whole == nil {
			return part, nil
		}
		whole = append(whole, part...)
		if err == nil {
			return whole, nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return nil, err
		}
		if len(whole) > maxLine {
			return nil, nonsense{fmt.Errorf("a line of more than %d MiB", maxLine>>20)}
		}
	}
}

// since is where to read on in a boot of the agent: "" is the boot that we know.
func (r *reader) since(boot string) uint64 {
	h := r.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	n := r.node
	if c, ok := h.resume[n.key]; ok && n.boot == nil {
		n.boot, n.next = n.bootOf(c.Boot), c.Next
	}
	if boot != "" && (n.boot == nil || boot != n.boot.id) {
		n.boot, n.next, n.applied = n.bootOf(boot), 1, 0
	}
	return max(r.node.next, 1)
}

// hello checks who answers. It wants to be asked again if the agent has begun anew since the lines that we wanted.
func (r *reader) hello(lines *bufio.Reader, asked uint64) (again bool, err error) {
	line, err := readLine(lines)
	if err != nil {
		return false, err
	}
	var e ledger.Event
	if err := decode(line, &e); err != nil {
		return false, err
	}
	h := r.hub
	if e.Type != ledger.EventHello || e.Boot == "" || len(e.Boot) > 64 || e.Node != r.node.name {
		return false, nonsense{fmt.Errorf("who answers is not the agent of %s, or of another version", r.node.name)}
	}
	known := r.since(e.Boot)
	h.mu.Lock()
	defer h.mu.Unlock()
	n := r.node
	of := n
	if n.host != nil {
		of = n.host
	}
	if e.NodeUID != "" && of.uid != "" && e.NodeUID != of.uid {
		return false, nonsense{fmt.Errorf("another cluster's agent: its Node %s has another UID", e.Node)}
	}
	if len(e.Families) > 2 || slices.ContainsFunc(e.Families, func(f ledger.Family) bool { return f != ledger.IPv4 && f != ledger.IPv6 }) {
		return false, nonsense{errors.New("IP families that there are not")}
	}
	if n.boot.backend == "" {
		n.boot.backend = bound(e.Backend, 64)
	}
	n.backend, n.families, n.version, n.notReady = bound(e.Backend, 64), e.Families, bound(e.Version, 128), bound(e.NotReady, 512)
	n.witness, n.proxy = e.Witnessing, ledger.Proxy{Version: bound(e.Proxy.Version, 64), MinSync: bound(e.Proxy.MinSync, 32)}
	if n.beside != "" {
		n.families, n.witness = nil, false
	}
	if why := n.consumed(e.Consumers); why != "" {
		return false, nonsense{errors.New(why)}
	}
	n.heard = h.cfg.Now()
	n.agent.state, n.agent.why = report.AgentCatchingUp, ""
	return known != asked, nil
}

func bound(s string, n int) string { return strings.ToValidUTF8(s[:min(len(s), n)], "") }

// lines applies lines after the first. caught is true when the agent has nothing older.
func (h *Hub) lines(n *node, events []ledger.Event) (caught bool, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.cfg.Now()
	for i := range events {
		if caught, err = h.line(n, &events[i], now); err != nil {
			return false, err
		}
	}
	return caught, nil
}

func (h *Hub) line(n *node, e *ledger.Event, now time.Time) (caught bool, err error) {
	n.heard = now
	if e.Boot != n.boot.id {
		return false, nonsense{errors.New("lines of two boots in one answer")}
	}
	switch e.Type {
	case ledger.EventHeartbeat:
		n.applied, n.notReady = max(version(e.ResourceVersion), n.applied), bound(e.NotReady, 512)
		n.agent.state, n.agent.why, n.failed = report.AgentFollowing, "", false
		if e.Consumers != nil {
			if why := n.consumed(e.Consumers); why != "" {
				return false, nonsense{errors.New(why)}
			}
		}
		return true, nil
	case ledger.EventGap:
		if e.From != n.next || e.To < e.From {
			return false, nonsense{errors.New("a gap that is none")}
		}
		n.lost += e.To - e.From + 1
		h.metrics.lost.Add(float64(e.To - e.From + 1))
		n.next = e.To + 1
		return false, nil
	}
	if e.Seq != n.next {
		return false, nonsense{fmt.Errorf("line %d where %d comes next", e.Seq, n.next)}
	}
	n.next++
	h.metrics.lines.Inc()
	if why := h.join.implausible(n, e, now); why != "" {
		// Counted and passed over: one bad line is no reason to lose the good ones.
		h.metrics.malformed.Inc()
		return false, nil
	}
	h.join.take(n, e, now)
	return false, nil
}
