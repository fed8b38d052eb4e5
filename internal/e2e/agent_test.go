//go:build linux

package e2e

// Scenarios in which the agent is what fails, or what it learns from.

import (
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lastcall-k8s/lastcall/internal/nodeagent"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// killed: a restarted agent takes up what the old one had pending, and bounds it by what it reads itself.
func killed(t *testing.T, w *world, node string) {
	s := w.shop(t, "killed", 2, 30)
	first := w.agent(t, node)
	resume := w.stopKubeProxy(t, node)
	p := s.pods(t)[0]
	s.delete(t, p)
	settledOf(t, first, "pending", string(p.UID), isPending)
	first.Kill()
	dead := time.Now()
	second := w.agent(t, node)
	settledOf(t, second, "re-armed", string(p.UID), isPending)
	before := time.Now()
	resume()
	e, settled := outcome(t, second, string(p.UID))
	// Read as routed before: the commit that ended it is bounded on both sides.
	if settled.Outcomes[ledger.Landed] != 1 || !settled.Rearmed || e.Hi.Before(before) || e.Lo.Before(dead) {
		t.Errorf("landed in (%v, %v], the first agent died at %v, kube-proxy went on at %v: %+v", e.Lo, e.Hi, dead, before, settled)
	}
	// When it had been seen is unknown, so no latency is claimed. (In balance: see books.agree.)
	if !settled.SeenFirst.IsZero() {
		t.Errorf("seen %v", settled.SeenFirst)
	}
}

// killedMeanwhile: what landed while no agent ran is known to have landed by the next one's baseline, and no better.
func killedMeanwhile(t *testing.T, w *world, node string) {
	s := w.shop(t, "killed-meanwhile", 2, 30)
	first := w.agent(t, node)
	resume := w.stopKubeProxy(t, node)
	p := s.pods(t)[0]
	s.delete(t, p)
	settledOf(t, first, "pending", string(p.UID), isPending)
	first.Kill()
	resume()
	_, gone := w.unrouted(t, node, netip.MustParseAddrPort(p.Status.PodIP+":8080"))
	second := w.agent(t, node)
	e, settled := outcome(t, second, string(p.UID))
	if settled.Outcomes[ledger.Landed] != 1 || !settled.Rearmed || !e.Lo.IsZero() || e.Hi.Before(gone) || !settled.SeenFirst.IsZero() {
		t.Errorf("landed in (%v, %v], and was gone by %v: %+v", e.Lo, e.Hi, gone, settled)
	}
}

// stopped: an agent that ends in good order settles nothing that it did not see, and says what it leaves open.
func stopped(t *testing.T, w *world, node string) {
	s := w.shop(t, "stopped", 2, 30)
	w.take(t, node)
	w.stopKubeProxy(t, node)
	p := s.pods(t)[0]
	var a *nodeagent.Agent
	t.Run("agent", func(t *testing.T) {
		a = w.agent(t, node)
		s.delete(t, p)
		settledOf(t, a, "pending", string(p.UID), isPending)
	})
	if e := last(a.Events()); e.Type != ledger.EventStop || e.Open[string(p.UID)] != (ledger.Open{Pending: 1}) {
		t.Errorf("its last line: %+v", e)
	}
}

// starved: an agent that gets no CPU while it all happens stamps late what it reads, and its intervals are as wide as that. The
// truth is inside.
func starved(t *testing.T, w *world, node string) {
	s := w.shop(t, "starved-"+node, 2, 0)
	a := w.agent(t, node)
	freeze := func(s syscall.Signal) {
		if err := syscall.Kill(a.Pid(), s); err != nil {
			t.Error(err)
		}
	}
	freeze(syscall.SIGSTOP)
	wake := sync.OnceFunc(func() { freeze(syscall.SIGCONT) })
	t.Cleanup(wake)
	p := s.pods(t)[0]
	s.delete(t, p)
	still, gone := w.unrouted(t, node, netip.MustParseAddrPort(p.Status.PodIP+":8080"))
	wake()
	e, settled := outcome(t, a, string(p.UID))
	if settled.Outcomes[ledger.Landed] != 1 || e.Lo.After(gone) || e.Hi.Before(still) {
		t.Errorf("%+v in (%v, %v], it went between %v and %v", settled, e.Lo, e.Hi, still, gone)
	}
}

// apiServerRestarts: what happened while nobody could watch is found by the relist.
func apiServerRestarts(t *testing.T, w *world) {
	s := w.shop(t, "restarts", 2, 0)
	a := w.agent(t, w.Nodes[0].Name)
	if err := w.RestartAPIServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	within(t, time.Minute, func() error {
		_, err := a.Get(t.Context(), "http://127.0.0.1:9747/readyz")
		return err
	})
	p := s.pods(t)[0]
	s.delete(t, p)
	if _, settled := outcome(t, a, string(p.UID)); settled.Outcomes[ledger.Landed] != 1 {
		t.Errorf("outcomes %v, want landed", settled.Outcomes)
	}
}

// compacted: an agent that was cut off during a removal, and then from the history that could have told of it, lists again. What is
// gone then left at an unknown time: it landed by now, and no latency is claimed.
func compacted(t *testing.T, w *world) {
	ns := w.namespace(t, "compacted")
	w.service(t, ns, "shop")
	stays, goes, before := w.pod(t, ns, "stays"), w.pod(t, ns, "goes"), time.Now()
	w.served(t, stays, goes)
	node := w.Nodes[1].Name
	way := w.gate(t, node)
	a := w.agent(t, node, "--kubeconfig", way.kubeconfig)
	way.close()
	now := int64(0)
	w.delete(t, *goes, metav1.DeleteOptions{GracePeriodSeconds: &now})
	_, gone := w.unrouted(t, node, netip.MustParseAddrPort(goes.Status.PodIP+":8080"))
	if err := w.CompactHistory(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := w.RestartAPIServer(t.Context()); err != nil { // or its cache would still know
		t.Fatal(err)
	}
	way.open()
	e, settled := outcome(t, a, string(goes.UID))
	if settled.Outcomes[ledger.Landed] != 1 || !settled.Rearmed || e.Hi.After(time.Now()) || e.Lo.After(gone) || e.Hi.Before(before) {
		t.Errorf("landed in (%v, %v], was gone by %v: %+v", e.Lo, e.Hi, gone, settled)
	}
	d := event(t, a, "departure", func(e ledger.Event) bool { return e.Type == ledger.EventDeparture && e.Pod.UID == string(goes.UID) })
	if d.T0Source != ledger.T0Unknown {
		t.Errorf("T0 %v from %s, and nobody here saw it", d.T0, d.T0Source)
	}
	text, err := a.Metrics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(text, `lastcall_agent_events_lost_total{source="watch"}`) || strings.Contains(text, `lastcall_agent_events_lost_total{source="watch"} 0`) {
		t.Errorf("no hole in the watch was counted")
	}
}
