package hub

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json" // takes a third of the time that encoding/json does: go test -bench Decode
	"golang.org/x/sync/errgroup"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// What an agent, or whoever answers in its place, can make us hold and wait for.
const (
	maxLine    = 1 << 20 // a commit that settled 5,000 pods is half of it
	maxBatch   = 256     // lines that are applied at once
	silence    = 10 * time.Second
	clockEvery = time.Minute
	clockTries = 4
	askers     = 32  // agents whose clocks are compared at once
	dials      = 256 // agents that are connected to at once: one that is dead takes until the timeout
	catchUps   = 64  // agents whose old lines are read at once
	backoffMax = 15 * time.Second
)

// reader follows one agent.
type reader struct {
	hub      *Hub
	node     *node
	base     string    // "https://10.0.0.1:9748"
	compared time.Time // when the clocks were compared last
	cancel   context.CancelFunc
	done     chan struct{}
}

// slots bound how much is done at once after a restart of ours.
type slots struct{ dial, catchUp chan struct{} }

// supervise starts and stops a reader per agent, until ctx ends.
func (h *Hub) supervise(ctx context.Context) error {
	s := slots{make(chan struct{}, dials), make(chan struct{}, catchUps)}
	defer func() {
		h.mu.Lock()
		rs := h.readers
		h.readers = map[string]*reader{}
		h.mu.Unlock()
		for _, r := range rs {
			r.cancel()
		}
		for _, r := range rs {
			<-r.done
		}
	}()
	for {
		h.mu.Lock()
		var ended []*reader
		for name, r := range h.readers {
			n := h.join.nodes[name]
			if n == nil || n.agent.ip == "" || r.base != h.address(n) {
				r.cancel()
				ended = append(ended, r)
				delete(h.readers, name)
			}
		}
		h.mu.Unlock()
		for _, r := range ended {
			<-r.done
		}
		h.mu.Lock()
		for _, r := range ended {
			if a := &r.node.agent; a.ip == "" { // it may have said a last word after its pod had gone
				*a = agentState{state: report.AgentMissing, why: "no agent runs there"}
			}
		}
		for name, n := range h.join.nodes {
			if n.agent.ip == "" || h.readers[name] != nil {
				continue
			}
			ctx, cancel := context.WithCancel(ctx)
			r := &reader{hub: h, node: n, base: h.address(n), cancel: cancel, done: make(chan struct{})}
			h.readers[name] = r
			go func() {
				defer close(r.done)
				r.run(ctx, s)
			}()
		}
		h.mu.Unlock()
		select {
		case <-ctx.Done():
			return nil
		case <-h.wake:
		}
	}
}

func (h *Hub) address(n *node) string {
	return "https://" + net.JoinHostPort(n.agent.ip, strconv.Itoa(cmp.Or(n.agent.port, h.cfg.AgentPort)))
}

// run follows the agent until ctx ends, through all that may happen to it.
func (r *reader) run(ctx context.Context, s slots) {
	wait := 250 * time.Millisecond
	for ctx.Err() == nil {
		begun := time.Now()
		err := r.follow(ctx, s)
		if ctx.Err() != nil {
			return
		}
		r.failed(err)
		if time.Since(begun) > time.Minute {
			wait = 250 * time.Millisecond
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait/2 + rand.N(wait)):
		}
		wait = min(2*wait, backoffMax)
	}
}

// nonsense is an answer that no agent of this cluster gives.
type nonsense struct{ error }

func (r *reader) failed(err error) {
	r.hub.mu.Lock()
	defer r.hub.mu.Unlock()
	a := &r.node.agent
	r.node.failed = true
	a.state, a.why = report.AgentUnreachable, "agent does not answer"
	if err != nil && !errors.Is(err, io.EOF) {
		a.why += ": " + plain(err)
	}
	var n nonsense
	if errors.As(err, &n) {
		a.state, a.why = report.AgentRefused, "refused: "+n.Error()
		r.hub.metrics.refused.Inc()
	}
}

// plain is an error without the URL that every one of them repeats.
func plain(err error) string {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Error()
	}
	return err.Error()
}

// take waits for a slot. free gives it back, once.
func take(ctx context.Context, slots chan struct{}) (free func(), err error) {
	select {
	case slots <- struct{}{}:
		return sync.OnceFunc(func() { <-slots }), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// follow reads the agent's lines from where we are until the stream ends.
func (r *reader) follow(ctx context.Context, s slots) error {
	connected, err := take(ctx, s.dial)
	if err != nil {
		return err
	}
	defer connected()
	if err := r.ask(ctx, 1); err != nil {
		return err // without a clock nothing it says can be placed
	}
	outer := ctx
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// Old lines, after a restart of ours or theirs, are read from few agents at once.
	caughtUp, err := take(ctx, s.catchUp)
	if err != nil {
		return err
	}
	defer caughtUp()
	since := r.since("")
	body, err := r.get(ctx, "/v1/events?follow=1&since="+strconv.FormatUint(since, 10), false)
	if err != nil {
		return err
	}
	defer body.Close()
	connected()
	quiet := time.AfterFunc(silence, cancel) // a heartbeat comes every 2 s
	defer quiet.Stop()
	lines := bufio.NewReaderSize(body, 4<<10)
	for first := true; ; first = false {
		if _, err := lines.Peek(1); err != nil {
			if outer.Err() == nil && ctx.Err() != nil {
				return fmt.Errorf("silent for %v", silence)
			}
			return err
		}
		quiet.Reset(silence)
		if first {
			again, err := r.hello(lines, since)
			if err != nil || again {
				return err
			}
			continue
		}
		caught, err := r.batch(lines)
		if err != nil {
			return err
		}
		if caught {
			caughtUp()
		}
	}
}

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

// reasons are those that agents tell.
var reasons = []ledger.Reason{ledger.Delete, ledger.Evict, ledger.Preempt, ledger.Force, ledger.NodeShutdown, ledger.KubeletEvict,
	ledger.NodeLost, ledger.Completed, ledger.Unready, ledger.Selector, ledger.Vanished}

// implausible says what is wrong with a line that decodes.
func (j *joiner) implausible(n *node, e *ledger.Event, now time.Time) string {
	ahead := func(t time.Time) bool {
		at, _, ok := moment{n.boot, t}.ours()
		return ok && at.Sub(now) > maxLead
	}
	switch {
	case ahead(e.At), ahead(e.Hi), e.T0Source != ledger.FromDeletion && ahead(e.T0):
		return "a moment to come"
	case !e.Hi.IsZero() && e.Lo.After(e.Hi):
		return "an interval that ends before it begins"
	case len(e.Departures) > 10_000, len(e.Exits) > 100:
		return "too much"
	case e.Type == ledger.EventRemovals && e.Family != ledger.IPv4 && e.Family != ledger.IPv6:
		return "no IP family"
	}
	if why := j.nowhere(n, e); why != "" {
		return why
	}
	if e.Type == ledger.EventWitness {
		return implausibleWitness(e, ahead)
	}
	if e.Type == ledger.EventDeparture && e.Pod != nil {
		if why := improbable(e.Leaving()); why != "" {
			return why
		}
	}
	for _, x := range e.Exits {
		if len(x.Name) > 253 || ahead(x.Told) || ahead(x.By) {
			return "an exit that is none"
		}
	}
	for _, d := range e.Departures {
		if ahead(d.SeenFirst) || ahead(d.SeenLast) {
			return "a moment to come"
		}
		if d.Leaving != nil {
			if why := improbable(*d.Leaving); why != "" {
				return why
			}
			if d.Leaving.T0Source != ledger.FromDeletion && ahead(d.Leaving.T0) {
				return "a moment to come"
			}
		}
		if d.UID == "" || len(d.UID) > 512 || d.Pending < 0 || d.Retained < 0 || len(d.Ports) > 1000 {
			return "a pod that is none"
		}
		for _, c := range d.Outcomes {
			if c < 0 || c > 1e6 {
				return "a count that is none"
			}
		}
	}
	if e.Pod != nil && tooLong(*e.Pod) {
		return "a name that is too long"
	}
	return ""
}

func tooLong(p ledger.Pod) bool {
	return len(p.UID) > 512 || len(p.Name) > 253 || len(p.Namespace) > 253 || len(p.Node) > 253
}

// improbable says what is wrong with an announced departure.
func improbable(l ledger.Leaving) string {
	switch {
	case !slices.Contains(reasons, l.Reason):
		return "a reason that this hub does not know" // it becomes the value of a label
	case l.Grace != nil && (*l.Grace < 0 || *l.Grace > 1e9):
		return "a grace period that is none"
	case tooLong(l.Pod), len(l.Workload) > 512, len(l.Revision) > 512:
		return "a name that is too long"
	case len(l.Containers) > 100:
		return "too much"
	}
	for _, c := range l.Containers {
		if len(c.Name) > 253 || c.PreStop.Seconds != nil && *c.PreStop.Seconds < 0 {
			return "a container that is none"
		}
	}
	return ""
}

// compare compares the clocks of the agents that are followed, each about once a minute, until ctx ends.
func (h *Hub) compare(ctx context.Context) error {
	var g errgroup.Group
	g.SetLimit(askers)
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case now := <-t.C:
			for _, r := range h.uncompared(now) {
				g.Go(func() error {
					r.ask(ctx, clockTries) //nolint:errcheck // following says if it does not answer; an old estimate only grows wider
					return nil
				})
			}
		}
	}
	return g.Wait()
}

// uncompared are the readers whose turn it is: never all in one second, although all began in one.
func (h *Hub) uncompared(now time.Time) (rs []*reader) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range h.readers {
		if r.node.agent.following() && now.Sub(r.compared) > clockEvery/2+rand.N(clockEvery) {
			r.compared = now
			rs = append(rs, r)
		}
	}
	return rs
}

// ask compares clocks: a few requests on a connection of their own, so that they wait for nothing else.
func (r *reader) ask(ctx context.Context, tries int) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	h := r.hub
	for try := range tries + 1 { // the first pays for the connection and the token
		sent := h.cfg.Now()
		body, err := r.get(ctx, "/v1/clock", try == tries)
		if err != nil {
			return err
		}
		text, err := io.ReadAll(io.LimitReader(body, 4<<10))
		received := h.cfg.Now()
		body.Close()
		if err != nil {
			return err
		}
		c, err := decodeClock(text, received)
		if err != nil {
			return err
		}
		h.mu.Lock()
		r.node.sampled(c, sent, received)
		r.compared = time.Now()
		h.mu.Unlock()
	}
	return nil
}

// get asks the agent; last is for the connection not to be kept.
func (r *reader) get(ctx context.Context, path string, last bool) (io.ReadCloser, error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, r.base+path, nil)
	if err != nil {
		return nil, err
	}
	q.Close = last
	client := r.hub.cfg.Agents
	if r.node.beside != "" {
		client = r.hub.cfg.Beside
	}
	a, err := client.Do(q)
	if err != nil {
		return nil, err
	}
	if a.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(a.Body, 512))
		a.Body.Close()
		return nil, fmt.Errorf("%s answers %s: %s", path, a.Status, strings.TrimSpace(string(text)))
	}
	return a.Body, nil
}
