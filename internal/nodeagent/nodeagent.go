//go:build linux

// Package nodeagent runs the real agent on a node of a testbed and follows what it says.
package nodeagent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/lastcall-k8s/lastcall/internal/testbed"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// Build compiles the agent as it is shipped and returns the binary's path.
func Build(ctx context.Context, dir string) (string, error) {
	binary := filepath.Join(dir, "lastcall")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", binary, "github.com/lastcall-k8s/lastcall/cmd/lastcall")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the agent: %w\n%s", err, out)
	}
	return binary, nil
}

// Agent is an agent that runs in a node's network namespace.
type Agent struct {
	Node   string
	v1     string // where it serves /v1
	http   *http.Client
	cmd    *exec.Cmd
	exited chan struct{}
	err    error
	killed atomic.Bool

	mu     sync.Mutex
	events []ledger.Event
	grown  chan struct{}
}

// Start starts the agent and returns when it is ready. Its log goes to log.
func Start(ctx context.Context, c *testbed.Cluster, binary, node string, log io.Writer, args ...string) (*Agent, error) {
	a := &Agent{Node: node, v1: "http://127.0.0.1:9749/v1", exited: make(chan struct{}), grown: make(chan struct{}),
		http: &http.Client{Transport: &http.Transport{DialContext: c.Dialer(node)}}}
	n, err := c.Node(node)
	if err != nil {
		return nil, err
	}
	args = append([]string{"agent", "--node-name", node, "--kubeconfig", c.NodeKubeconfig, "--list-jitter", "0", "--debug-listen", "127.0.0.1:9749",
		"--xtables-lock", filepath.Join(n.Root, "run/xtables.lock")}, args...)
	a.cmd = c.Command(node, binary, args...)
	a.cmd.Stdout, a.cmd.Stderr = log, log
	if err := a.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the agent on %s: %w", node, err)
	}
	go func() { a.err = a.cmd.Wait(); close(a.exited) }()
	if err := a.waitReady(ctx); err != nil {
		a.Stop() //nolint:errcheck // the first error is the one to tell
		return nil, err
	}
	return a, nil
}

// Beside is an agent that runs in a pod of the node, beside a consumer: it can be followed and asked for V1, no more. The client
// dials into the pod network and sends a token.
func Beside(node, podIP string, client *http.Client) *Agent {
	return &Agent{Node: node, v1: "https://" + net.JoinHostPort(podIP, "9748") + "/v1", http: client, exited: make(chan struct{}), grown: make(chan struct{})}
}

// V1 fetches what the agent serves below /v1.
func (a *Agent) V1(ctx context.Context, path string) (string, error) { return a.Get(ctx, a.v1+path) }

func (a *Agent) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	var why string
	for {
		body, err := a.Get(ctx, "http://127.0.0.1:9747/readyz")
		if err == nil {
			return nil
		}
		why = fmt.Sprint(err, body)
		select {
		case <-a.exited:
			return fmt.Errorf("the agent on %s exited: %w", a.Node, a.err)
		case <-ctx.Done():
			return fmt.Errorf("the agent on %s is not ready: %s", a.Node, why)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Get fetches a page of the agent from inside its node.
func (a *Agent) Get(ctx context.Context, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status)
	}
	return string(body), err
}

// Metrics is the agent's exposition.
func (a *Agent) Metrics(ctx context.Context) (string, error) {
	return a.Get(ctx, "http://127.0.0.1:9747/metrics")
}

// Follow collects the agent's events until ctx ends or the agent stops. Where the agent ends an answer so that readers hear
// another hello, it asks for the rest.
func (a *Agent) Follow(ctx context.Context) error {
	since, stopped := uint64(1), false
	for again := false; !stopped && ctx.Err() == nil; again = true {
		err := a.follow(ctx, since, func(e ledger.Event) {
			since, stopped = max(since, e.Seq+1), stopped || e.Type == ledger.EventStop
		})
		var refused *net.OpError
		if again && errors.As(err, &refused) {
			return nil // it ended without a last line, which whoever wants one misses
		}
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("events of %s: %w", a.Node, err)
		}
	}
	return nil
}

func (a *Agent) follow(ctx context.Context, since uint64, each func(ledger.Event)) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s/events?follow=1&since=%d", a.v1, since), nil)
	if err != nil {
		return err
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return ledger.ReadEvents(resp.Body, func(e ledger.Event) {
		a.mu.Lock()
		defer a.mu.Unlock()
		each(e)
		a.events = append(a.events, announced(e)...)
		close(a.grown)
		a.grown = make(chan struct{})
	})
}

// announced is a line after those departures that it announces along with their removals: as events of their own, they are found
// like all others.
func announced(e ledger.Event) (all []ledger.Event) {
	for _, d := range e.Departures {
		if l := d.Leaving; l != nil {
			all = append(all, ledger.Event{Boot: e.Boot, Seq: e.Seq, Type: ledger.EventDeparture, At: e.At, Pod: &l.Pod, Reason: l.Reason, T0: l.T0,
				T0Source: l.T0Source, Grace: l.Grace, Workload: l.Workload, Revision: l.Revision, Containers: l.Containers, ResourceVersion: d.ResourceVersion})
		}
	}
	return append(all, e)
}

// Await returns the first event for which f is true, waiting for it until ctx ends.
func (a *Agent) Await(ctx context.Context, f func(ledger.Event) bool) (ledger.Event, error) {
	n := 0
	for {
		a.mu.Lock()
		for ; n < len(a.events); n++ {
			if f(a.events[n]) {
				e := a.events[n]
				a.mu.Unlock()
				return e, nil
			}
		}
		grown := a.grown
		a.mu.Unlock()
		select {
		case <-grown:
		case <-a.exited:
			return ledger.Event{}, fmt.Errorf("the agent on %s exited: %w", a.Node, a.err)
		case <-ctx.Done():
			return ledger.Event{}, fmt.Errorf("no such event on %s among %d: %w", a.Node, n, ctx.Err())
		}
	}
}

// Events returns what was said so far.
func (a *Agent) Events() []ledger.Event {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]ledger.Event(nil), a.events...)
}

// Pid of the agent.
func (a *Agent) Pid() int { return a.cmd.Process.Pid }

// Stop ends the agent with SIGTERM and returns what it exited with.
func (a *Agent) Stop() error {
	a.cmd.Process.Signal(syscall.SIGTERM) //nolint:errcheck // it may have exited
	select {
	case <-a.exited:
		return a.err
	case <-time.After(20 * time.Second):
		a.cmd.Process.Kill() //nolint:errcheck // see above
		<-a.exited
		return fmt.Errorf("the agent on %s did not stop within 20 s of SIGTERM", a.Node)
	}
}

// Kill ends the agent with SIGKILL.
func (a *Agent) Kill() {
	a.killed.Store(true)
	a.cmd.Process.Kill() //nolint:errcheck // it may have exited
	<-a.exited
}

// Killed reports whether Kill was called: such an agent says no last word.
func (a *Agent) Killed() bool { return a.killed.Load() }
