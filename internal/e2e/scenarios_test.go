//go:build linux

package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lastcall-k8s/lastcall/ledger"
)

// rollout: the main job. Every departure lands on every node; what landed is gone by the node's own tools.
func rollout(t *testing.T, w *everywhere) {
	s, agents := w.shop(t, "rollout", 3, 0), w.agents
	old := s.pods(t)
	before := time.Now()
	patch := `{"spec":{"template":{"metadata":{"annotations":{"restarted":"yes"}}}}}`
	if _, err := s.client.AppsV1().Deployments(s.namespace).Patch(t.Context(), "shop", "application/merge-patch+json", []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, p := range old {
		for i, a := range agents {
			e, settled := outcome(t, a, string(p.UID))
			if settled.Outcomes[ledger.Landed] != 1 || len(settled.Outcomes) != 1 {
				t.Errorf("%s on %s: %v, want one landed", p.Name, a.Node, settled.Outcomes)
			}
			if e.Hi.Before(before) || e.Hi.After(time.Now()) || settled.SeenFirst.Before(before) {
				t.Errorf("%s on %s: seen %v, landed by %v; the restart began %v", p.Name, a.Node, settled.SeenFirst, e.Hi, before)
			}
			if on, err := s.routes(w.Nodes[i], netip.MustParseAddrPort(p.Status.PodIP+":8080")); err != nil || on {
				t.Errorf("%s on %s: landed, but its node's tool still shows %s: %v", p.Name, a.Node, p.Status.PodIP, err)
			}
			d := event(t, a, "departure", func(e ledger.Event) bool {
				return e.Type == ledger.EventDeparture && e.Pod.UID == string(p.UID) && (a.Node != p.Spec.NodeName || e.T0Source == ledger.FromPod)
			})
			// A server that ends at once may be gone before the slice is written: then no slice ever says terminating.
			known := d.Reason == ledger.Delete || d.Reason == ledger.Vanished && a.Node != p.Spec.NodeName
			if !known || d.Pod.Name != p.Name || d.Pod.Node != p.Spec.NodeName {
				t.Errorf("%s on %s: departure %+v", p.Name, a.Node, d)
			}
			// Its own node knows more, though not always before the slices tell.
			if a.Node == p.Spec.NodeName {
				if d.Workload != "deployment/shop" || d.Grace == nil || *d.Grace != 30 {
					t.Errorf("%s on its own node: workload %q, grace %v", p.Name, d.Workload, d.Grace)
				}
				if d.T0.Before(before) || d.T0.After(e.Hi) {
					t.Errorf("%s: T0 %v, landed by %v", p.Name, d.T0, e.Hi)
				}
			}
		}
	}
	for _, a := range agents {
		text, err := a.Metrics(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		own := 0
		for l := range strings.Lines(text) {
			if strings.HasPrefix(l, "lastcall_") && !strings.HasPrefix(l, "lastcall_build_info") {
				own++
			}
			if strings.Contains(l, "shop") || strings.Contains(l, "rollout") {
				t.Errorf("a name of the workload is in the metrics: %s", l)
			}
		}
		if own > 60 {
			t.Errorf("%s: %d series of our own, the budget is 60", a.Node, own)
		}
	}
}

// stuck: a kube-proxy that does not react is a pending removal, then an expired one, and in the end a
// late landing.
func stuck(t *testing.T, w *world, node string) {
	s := w.shop(t, "stuck-"+node, 2, 0)
	a := w.agent(t, node, "--horizon", "2s")
	resume := w.stopKubeProxy(t, node)
	p := s.pods(t)[0]
	s.delete(t, p)
	settledOf(t, a, "pending", string(p.UID), isPending)
	_, settled := outcome(t, a, string(p.UID))
	if settled.Outcomes[ledger.Expired] != 1 {
		t.Errorf("outcomes %v, want expired", settled.Outcomes)
	}
	before := time.Now()
	resume()
	late := event(t, a, "late landing", func(e ledger.Event) bool { return e.Type == ledger.EventLate && e.UID == string(p.UID) })
	if late.Hi.Before(before) {
		t.Errorf("landed at %v, before kube-proxy went on at %v", late.Hi, before)
	}
}

// restored: a pod that is ready again before kube-proxy reacted has not left.
func restored(t *testing.T, w *world, node string) {
	s := w.shop(t, "restored", 2, 0)
	a := w.agent(t, node)
	w.stopKubeProxy(t, node)
	p := s.pods(t)[0]
	w.setReady(t, p, "false")
	departed(t, a, string(p.UID), ledger.Unready)
	settledOf(t, a, "pending", string(p.UID), isPending)
	w.setReady(t, p, "true")
	if _, settled := outcome(t, a, string(p.UID)); settled.Outcomes[ledger.Restored] != 1 {
		t.Errorf("outcomes %v, want restored", settled.Outcomes)
	}
}

// taken: another pod serves at the address and port before kube-proxy reacted to the end of the first. hostNetwork is how an
// address is used again within seconds for sure.
func taken(t *testing.T, w *world, node string) {
	ns := w.namespace(t, "taken")
	w.service(t, ns, "shop", atPort("shop", 18100))
	stays, old := w.pod(t, ns, "stays", onHost("node-1", 18100)), w.pod(t, ns, "old", onHost("node-2", 18100))
	w.current(t, stays, old)
	at := netip.MustParseAddrPort(old.Status.PodIP + ":18100")
	w.routed(t, at)
	a := w.agent(t, node)
	w.stopKubeProxy(t, node)
	w.delete(t, *old)
	settledOf(t, a, "pending", string(old.UID), isPending)
	within(t, soon, func() error { // its server must be gone, or the next one cannot listen
		_, err := w.client.CoreV1().Pods(ns).Get(t.Context(), old.Name, metav1.GetOptions{})
		if !apierrors.IsNotFound(err) {
			return fmt.Errorf("%s is still there: %v", old.Name, err)
		}
		return nil
	})
	fresh := w.pod(t, ns, "new", onHost("node-2", 18100))
	if _, settled := outcome(t, a, string(old.UID)); settled.Outcomes[ledger.Replaced] != 1 {
		t.Errorf("outcomes %v, want superseded", settled.Outcomes)
	}
	silent(t, a, string(fresh.UID))
}

// kubeProxyRestarts: one that starts builds all its rules anew. What it leaves out has landed by that commit, and what had landed
// before does not seem to come back.
func kubeProxyRestarts(t *testing.T, w *world, node string) {
	s := w.shop(t, "proxy-restarts-"+node, 3, 0)
	a := w.agent(t, node)
	pods := s.pods(t)
	s.delete(t, pods[0])
	if got, _ := ended(t, a, string(pods[0].UID), 1); got[ledger.Landed] != 1 {
		t.Errorf("outcomes %v, want landed", got)
	}
	if err := w.StopKubeProxy(t.Context(), node); err != nil {
		t.Fatal(err)
	}
	s.delete(t, pods[1])
	still := time.Now()
	settledOf(t, a, "pending", string(pods[1].UID), isPending)
	before := time.Now()
	if err := w.StartKubeProxy(context.Background(), node); err != nil {
		t.Fatal(err)
	}
	e, settled := outcome(t, a, string(pods[1].UID))
	if settled.Outcomes[ledger.Landed] != 1 || e.Hi.Before(before) || e.Lo.Before(still) {
		t.Errorf("%+v in (%v, %v], kube-proxy started after %v", settled, e.Lo, e.Hi, before)
	}
	for _, e := range a.Events() {
		if e.Type == ledger.EventResurrection && e.UID == string(pods[0].UID) {
			t.Errorf("%+v: kube-proxy only rebuilt its rules", e)
		}
	}
}

// nodeLeaves: a place that ends is excluded, not slow.
func nodeLeaves(t *testing.T, w *world, thin string) {
	s := w.shop(t, "leaves", 2, 0)
	a := w.agent(t, thin)
	w.stopKubeProxy(t, thin)
	p := s.pods(t)[0]
	s.delete(t, p)
	settledOf(t, a, "pending", string(p.UID), isPending)
	nodes := w.client.CoreV1().Nodes()
	old, err := nodes.Get(t.Context(), thin, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := nodes.Delete(t.Context(), thin, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		old.ResourceVersion, old.UID = "", ""
		if _, err := nodes.Create(context.Background(), old, metav1.CreateOptions{}); err != nil {
			t.Error("putting the node back: ", err)
		}
	})
	if _, settled := outcome(t, a, string(p.UID)); settled.Outcomes[ledger.Excluded] != 1 {
		t.Errorf("outcomes %v, want excluded", settled.Outcomes)
	}
}
