//go:build linux

// Package e2e holds the agent against a real cluster: real API server, controllers, kubelet, kube-proxy, kernel.
package e2e

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"

	"github.com/lastcall-k8s/lastcall/internal/nodeagent"
	"github.com/lastcall-k8s/lastcall/internal/testbed"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// world is the cluster of all tests here, with the agent's binary.
type world struct {
	*testbed.Cluster
	client kubernetes.Interface
	binary string

	mu      sync.Mutex
	lanes   map[string]*sync.Mutex // by node
	holders map[string]string      // name of the test that has the lane
}

func newWorld(t *testing.T) *world {
	nodes, err := testbed.ParseNodes("nftables,iptables-nft")
	if err != nil {
		t.Fatal(err)
	}
	thin, err := testbed.ParseNodes("nftables,iptables-legacy")
	if err != nil {
		t.Fatal(err)
	}
	c := testbed.RequireCluster(t, testbed.Spec{Name: "lastcall-e2e", Nodes: nodes, Thin: thin})
	binary, err := nodeagent.Build(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	w := &world{Cluster: c, client: c.Client(), binary: binary, lanes: map[string]*sync.Mutex{}, holders: map[string]string{}}
	for _, n := range c.Nodes {
		w.lanes[n.Name] = &sync.Mutex{}
	}
	return w
}

// take gives the node to this test alone until it ends. There is one agent on a node, at most, since its ports are fixed, and
// whoever stops kube-proxy must not disturb others there. A test that takes several takes them in the order of Nodes.
func (w *world) take(t *testing.T, node string) {
	t.Helper()
	w.mu.Lock()
	holder := w.holders[node]
	mine := holder != "" && strings.HasPrefix(t.Name()+"/", holder+"/") // a part of it may ask too
	l := w.lanes[node]
	w.mu.Unlock()
	if mine {
		return
	}
	hold := func(name string) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.holders[node] = name
	}
	l.Lock()
	hold(t.Name())
	t.Cleanup(func() { hold(""); l.Unlock() })
}

// agent starts an agent on a node and follows it. It ends with the test, in balance.
func (w *world) agent(t *testing.T, node string, args ...string) *nodeagent.Agent {
	t.Helper()
	w.take(t, node)
	a, err := nodeagent.Start(t.Context(), w.Cluster, w.binary, node, t.Output(), args...)
	if err != nil {
		t.Fatal(err)
	}
	var following sync.WaitGroup
	following.Go(func() {
		if err := a.Follow(context.Background()); err != nil && !a.Killed() {
			t.Errorf("events of %s: %v", node, err)
		}
	})
	t.Cleanup(func() { endInBalance(t, a, following.Wait) })
	return a
}

// within retries f until it succeeds, and fails the test when it has not for d.
func within(t *testing.T, d time.Duration, f func() error) {
	t.Helper()
	deadline := time.Now().Add(d)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %v: %v", d, err)
		}
		select {
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// outcome waits until a removal of the pod ends and returns the line and the pod's part in it.
func outcome(t *testing.T, a *nodeagent.Agent, uid string) (ledger.Event, ledger.Settled) {
	t.Helper()
	var s ledger.Settled
	e := event(t, a, "outcome of "+uid, func(e ledger.Event) bool {
		for _, d := range e.Departures {
			if d.UID == uid && len(d.Outcomes) > 0 {
				s = d
				return true
			}
		}
		return false
	})
	return e, s
}

func event(t *testing.T, a *nodeagent.Agent, what string, f func(ledger.Event) bool) ledger.Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	e, err := a.Await(ctx, f)
	if err != nil {
		said := a.Events()
		for _, e := range said[max(0, len(said)-30):] {
			if text, err := json.Marshal(e); err == nil && e.Type != ledger.EventHeartbeat {
				t.Logf("%s said: %s", a.Node, text)
			}
		}
		t.Fatalf("%s: %v", what, err)
	}
	return e
}

func (w *world) signalKubeProxy(t *testing.T, node string, s syscall.Signal) {
	t.Helper()
	kp, err := w.KubeProxy(node)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(kp.Pid, s); err != nil {
		t.Fatal(err)
	}
}

// stopKubeProxy freezes a node's kube-proxy until the returned func or the test's end.
func (w *world) stopKubeProxy(t *testing.T, node string) (resume func()) {
	t.Helper()
	w.signalKubeProxy(t, node, syscall.SIGSTOP)
	var once sync.Once
	resume = func() { once.Do(func() { w.signalKubeProxy(t, node, syscall.SIGCONT) }) }
	t.Cleanup(resume)
	return resume
}
