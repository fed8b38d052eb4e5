//go:build linux

package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lastcall-k8s/lastcall/internal/nodeagent"
	"github.com/lastcall-k8s/lastcall/internal/testbed"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// legacy: a node whose kube-proxy programs iptables-legacy. It is measured like the others, and when kube-proxy comes
// back in another mode the same agent goes on, with what was pending.
func legacy(t *testing.T, w *world, name string) {
	node, err := w.Node(name)
	if err != nil {
		t.Fatal(err)
	}
	s := w.shop(t, "legacy", 4, 0)
	a := w.agent(t, node.Name)
	metric(t, a, `lastcall_agent_dataplane_info{backend="iptables-legacy",family="ipv4",measured="true"} 1`)
	gone := s.pods(t)

	before := time.Now()
	s.delete(t, gone[0])
	s.landed(t, a, node, "iptables-legacy", string(gone[0].UID), gone[0].Status.PodIP, before)

	resume := w.stopKubeProxy(t, node.Name)
	s.delete(t, gone[1])
	event(t, a, "pending", func(e ledger.Event) bool {
		return slices.ContainsFunc(e.Departures, func(d ledger.Settled) bool { return d.UID == string(gone[1].UID) && d.Pending == 1 })
	})
	before = time.Now()
	resume()
	s.landed(t, a, node, "iptables-legacy", string(gone[1].UID), gone[1].Status.PodIP, before)

	if err := w.StopKubeProxy(t.Context(), node.Name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := w.StopKubeProxy(ctx, node.Name); err != nil {
			t.Error(err)
		}
		if err := w.StartKubeProxy(ctx, node.Name); err != nil {
			t.Error(err)
		}
	})
	before = time.Now()
	s.delete(t, gone[2]) // pending until the other mode cleans up after this one
	event(t, a, "pending", func(e ledger.Event) bool {
		return slices.ContainsFunc(e.Departures, func(d ledger.Settled) bool { return d.UID == string(gone[2].UID) && d.Pending == 1 })
	})
	if err := w.StartKubeProxy(t.Context(), node.Name, "mode=nftables"); err != nil {
		t.Fatal(err)
	}
	s.landed(t, a, node, "iptables-legacy", string(gone[2].UID), gone[2].Status.PodIP, before)
	metric(t, a, `lastcall_agent_dataplane_info{backend="nftables",family="ipv4",measured="true"} 1`)
	node.Mode = testbed.NFTables
	before = time.Now()
	s.delete(t, gone[3])
	s.landed(t, a, node, "nftables", string(gone[3].UID), gone[3].Status.PodIP, before)
	for _, e := range a.Events() {
		if e.Type == ledger.EventStop {
			t.Error("the agent stopped in between")
		}
	}
}

// metric waits until the agent exports a line.
func metric(t *testing.T, a *nodeagent.Agent, line string) {
	t.Helper()
	within(t, soon, func() error {
		text, err := a.Metrics(t.Context())
		if err == nil && !strings.Contains(text, "\n"+line+"\n") {
			err = fmt.Errorf("no metric %s", line)
		}
		return err
	})
}

// landed waits for the pod's landing on the node and holds it against the node's own tool.
func (s *shop) landed(t *testing.T, a *nodeagent.Agent, node testbed.Node, backend, uid, ip string, before time.Time) {
	t.Helper()
	e, settled := outcome(t, a, uid)
	if settled.Outcomes[ledger.Landed] != 1 || len(settled.Outcomes) != 1 || e.Backend != backend {
		t.Errorf("%s on %s: %v, want one landed on %s", uid, e.Backend, settled.Outcomes, backend)
	}
	// Lo may be missing: kube-proxy may have let go before the first read, and after another mode was found the log of
	// commits has just begun.
	if e.Lo.After(e.Hi) || e.Hi.Before(before) || e.Hi.After(time.Now()) {
		t.Errorf("%s landed in (%v, %v], and left after %v", uid, e.Lo, e.Hi, before)
	}
	slop, _ := e.Slop()
	t.Logf("%s: landed in %v after it was seen, slop %v", backend, e.Hi.Sub(settled.SeenFirst), slop)
	if on, err := s.routes(node, netip.MustParseAddrPort(ip+":8080")); err != nil || on {
		t.Errorf("landed, but the node's tool still shows %s: %v", ip, err)
	}
}
