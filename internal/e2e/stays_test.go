//go:build linux

package e2e

import (
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lastcall-k8s/lastcall/ledger"
)

// Scenarios in which a path stays, on purpose or by mistake, or seems to go and does not.

// released: kube-proxy keeps the only endpoint of a Service while it terminates (KEP-1669). It is retained, not late, until
// the readiness of another pod releases it, long before its own end.
func released(t *testing.T, e *everywhere) {
	ns := e.namespace(t, "released")
	e.service(t, ns, "shop")
	old := e.pod(t, ns, "old", sleeps(300))
	e.served(t, old)
	e.delete(t, *old)
	uid := string(old.UID)
	for _, a := range e.agents {
		settledOf(t, a, "retained", uid, isRetained)
	}
	before := time.Now()
	e.current(t, e.pod(t, ns, "new"))
	for _, a := range e.agents {
		line, s := settledOf(t, a, "outcome of", uid, func(s ledger.Settled) bool { return len(s.Outcomes) > 0 })
		if s.Outcomes[ledger.Landed] != 1 || s.SeenFirst.Before(before) || line.Hi.Before(before) {
			t.Errorf("%s: %+v by %v, the other pod was made %v", a.Node, s, line.Hi, before)
		}
	}
	if p, err := e.client.CoreV1().Pods(ns).Get(t.Context(), old.Name, metav1.GetOptions{}); err != nil || p.UID != old.UID || !isReady(p) {
		t.Errorf("the old pod stopped serving meanwhile: %v", err)
	}
}

// kept: nobody releases it, and it is routed until it stops serving.
func kept(t *testing.T, e *everywhere) {
	ns := e.namespace(t, "kept")
	e.service(t, ns, "shop")
	p := e.pod(t, ns, "only", sleeps(2))
	e.served(t, p)
	e.delete(t, *p)
	for _, a := range e.agents {
		settledOf(t, a, "retained", string(p.UID), isRetained)
		settledOf(t, a, "not serving any more", string(p.UID), func(s ledger.Settled) bool { return s.Opened == 0 && s.Retained == 0 })
	}
	e.ends(t, string(p.UID), 1, ledger.Landed)
}

// published: such a Service has no use for readiness, so the pod is routed until it is gone.
func published(t *testing.T, e *everywhere) {
	ns := e.namespace(t, "published")
	e.service(t, ns, "shop", func(s *corev1.Service) { s.Spec.PublishNotReadyAddresses = true })
	stays, goes := e.pod(t, ns, "stays"), e.pod(t, ns, "goes", sleeps(2))
	e.served(t, stays, goes)
	e.delete(t, *goes)
	for _, a := range e.agents {
		settledOf(t, a, "retained", string(goes.UID), isRetained)
	}
	e.ends(t, string(goes.UID), 1, ledger.Landed)
}

// setReady answers the readiness probe of a shop's pod from now on.
func (w *world) setReady(t *testing.T, p corev1.Pod, v string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DialContext: w.Dialer(p.Spec.NodeName), DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://"+p.Status.PodIP+":8080/readyz", strings.NewReader(v))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("set ready to %s: %s", v, resp.Status)
	}
}

// unready: no pod leaves, and the path goes all the same. When the pod goes later it has nothing left to be removed.
func unready(t *testing.T, e *everywhere) {
	s := e.shop(t, "unready", 2, 20) // long enough for a slice to say terminating
	p := s.pods(t)[0]
	e.setReady(t, p, "false")
	for _, a := range e.agents {
		departed(t, a, string(p.UID), ledger.Unready)
	}
	e.ends(t, string(p.UID), 1, ledger.Landed)
	e.delete(t, p)
	for _, a := range e.agents {
		departed(t, a, string(p.UID), ledger.Delete)
		n := 0
		for _, ev := range a.Events() {
			for _, d := range ev.Departures {
				if d.UID == string(p.UID) {
					n += d.Opened
				}
			}
		}
		if n != 1 {
			t.Errorf("%s: %d removals opened, want the one of before", a.Node, n)
		}
	}
}

// deselected: the pod stays, the Service turns away from it.
func deselected(t *testing.T, e *everywhere) {
	ns := e.namespace(t, "deselected")
	e.service(t, ns, "shop")
	stays, goes := e.pod(t, ns, "stays"), e.pod(t, ns, "goes")
	e.served(t, stays, goes)
	patch := []byte(`{"metadata":{"labels":{"app":"none"}}}`)
	if _, err := e.client.CoreV1().Pods(ns).Patch(t.Context(), goes.Name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	e.ends(t, string(goes.UID), 1, ledger.Landed)
	for _, a := range e.agents {
		// Only its own node knows that it lives.
		why := ledger.Vanished
		if a.Node == goes.Spec.NodeName {
			why = ledger.Selector
		}
		departed(t, a, string(goes.UID), why)
	}
}

// takenAtOnce: one write takes a pod out and puts another with its address in. Nothing leaves the kernel, and nothing may be
// waited for.
func takenAtOnce(t *testing.T, e *everywhere) {
	b := e.byHand(t, e.namespace(t, "taken-at-once"), "web")
	x, y := address(1, 1), address(1, 2)
	b.write(t, b.name, ready(x, "taken-old"), ready(y, "taken-other"))
	e.routed(t, to(x, y)...)
	b.write(t, b.name, ready(x, "taken-new"), ready(y, "taken-other"))
	e.ends(t, "taken-old", 1, ledger.Replaced)
	for _, n := range e.Nodes {
		if on, err := e.routes(n, to(x)[0]); err != nil || !on {
			t.Errorf("%s does not route to %s any more: %v", n.Name, x, err)
		}
	}
}

// moved: an endpoint that another slice of its Service holds as well, or instead, has not left.
func moved(t *testing.T, e *everywhere) {
	b := e.byHand(t, e.namespace(t, "moved"), "web")
	x, y, last := address(2, 1), address(2, 2), address(2, 3)
	write := func(slice string, eps ...discoveryv1.Endpoint) { t.Helper(); b.write(t, slice, eps...) }
	write("web", ready(x, "moved-x"), ready(y, "moved-y"), ready(last, "moved-last"))
	e.routed(t, to(x, y, last)...)
	// In two writes, the new place first, as the controller does it.
	write("web-2", ready(x, "moved-x"))
	write("web", ready(y, "moved-y"), ready(last, "moved-last"))
	// In one: the slice that held it too is deleted.
	write("web-3", ready(x, "moved-x"))
	if err := b.client.DiscoveryV1().EndpointSlices(b.namespace).Delete(t.Context(), "web-2", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	// An end that all agents see after all that.
	write("web", ready(y, "moved-y"), terminating(last, "moved-last"))
	e.ends(t, "moved-last", 1, ledger.Landed)
	for _, a := range e.agents {
		silent(t, a, "moved-x")
	}
	// In two writes the other way round it is gone for a moment, for kube-proxy too: one removal, with one outcome.
	write("web-3")
	write("web", ready(y, "moved-y"), ready(x, "moved-x"))
	for _, a := range e.agents {
		if got, _ := ended(t, a, "moved-x", 1); got[ledger.Landed]+got[ledger.Restored] != 1 || len(got) != 1 {
			t.Errorf("%s: %v, want one landed or restored", a.Node, got)
		}
	}
}

// resurrected: kube-proxy's partial syncs do not look at what others did to its chains. Somebody who puts a path back that
// had landed is told of.
func resurrected(t *testing.T, e *everywhere) {
	b := e.byHand(t, e.namespace(t, "resurrected"), "web")
	x, y := address(3, 1), address(3, 2)
	b.write(t, b.name, ready(x, "back"), ready(y, "stays"))
	e.routed(t, to(x, y)...)
	b.write(t, b.name, terminating(x, "back"), ready(y, "stays"))
	e.ends(t, "back", 1, ledger.Landed)
	for _, n := range e.Nodes {
		e.edit(t, n, b, to(x)[0])
	}
	for _, a := range e.agents {
		r := event(t, a, "resurrection", func(e ledger.Event) bool { return e.Type == ledger.EventResurrection && e.UID == "back" })
		if r.Service != "resurrected/web:tcp" || r.Endpoint != to(x)[0].String() {
			t.Errorf("%s: %+v", a.Node, r)
		}
	}
}
