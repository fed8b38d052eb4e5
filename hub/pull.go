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
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/lastcall-k8s/lastcall/hub/report"
)

// What an agent, or whoever answers in its place, can make us hold and wait for.
const (
	silence    = 10 * time.Second
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
