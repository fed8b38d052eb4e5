//go:build linux

package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/lastcall-k8s/lastcall/internal/handmade"
	"github.com/lastcall-k8s/lastcall/internal/testbed"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// Scenarios of many, and of names and slices out of the ordinary.

// fiftyServices: a pod has left when the last of its paths has.
func fiftyServices(t *testing.T, e *everywhere) {
	ns := e.namespace(t, "fifty")
	for i := range 50 {
		e.service(t, ns, fmt.Sprintf("shop-%d", i))
	}
	stays, goes := e.pod(t, ns, "stays"), e.pod(t, ns, "goes")
	e.current(t, stays, goes)
	at := netip.MustParseAddrPort(goes.Status.PodIP + ":8080")
	within(t, soon, func() error {
		for _, n := range e.Nodes {
			if got, err := e.paths(n, at); err != nil || got != 50 {
				return fmt.Errorf("%d paths on %s: %v", got, n.Name, err)
			}
		}
		return nil
	})
	e.delete(t, *goes)
	e.ends(t, string(goes.UID), 50, ledger.Landed)
	for i, a := range e.agents {
		if got, err := e.paths(e.Nodes[i], at); err != nil || got != 0 {
			t.Errorf("%s: all landed, and its tool shows %d paths: %v", a.Node, got, err)
		}
	}
}

// paths counts the rules and elements that lead to an address.
func (w *world) paths(n testbed.Node, to netip.AddrPort) (int, error) {
	spelling := fmt.Sprintf("%s . %d", to.Addr(), to.Port())
	if n.Mode != testbed.NFTables {
		spelling = "--to-destination " + to.String()
	}
	rules, err := w.rules(n)
	return strings.Count(string(rules), spelling), err
}

// thirtyAtOnce: one write, one sync, one commit: whatever each of them is said to have landed by must have it in common.
func thirtyAtOnce(t *testing.T, e *everywhere) {
	b := e.byHand(t, e.namespace(t, "thirty"), "web")
	var before, after []discoveryv1.Endpoint
	var addrs []netip.Addr
	for i := range 31 {
		a, uid := address(4, i+1), fmt.Sprintf("thirty-%d", i)
		addrs = append(addrs, a)
		before = append(before, ready(a, uid))
		if i == 30 {
			after = append(after, ready(a, uid))
		} else {
			after = append(after, terminating(a, uid))
		}
	}
	b.write(t, b.name, before...)
	e.routed(t, to(addrs...)...)
	b.write(t, b.name, after...)
	for _, a := range e.agents {
		var lo, hi time.Time
		for i := range 30 {
			got, lines := ended(t, a, fmt.Sprintf("thirty-%d", i), 1)
			if got[ledger.Landed] != 1 {
				t.Errorf("%s: %v", a.Node, got)
				continue
			}
			l := lines[0]
			if l.Lo.After(lo) {
				lo = l.Lo
			}
			if hi.IsZero() || l.Hi.Before(hi) {
				hi = l.Hi
			}
		}
		if lo.IsZero() || !lo.Before(hi) {
			t.Errorf("%s: no commit can be within all of the intervals: (%v, %v]", a.Node, lo, hi)
		}
	}
}

// longNames: as long as the API server lets them be. kube-proxy cuts and hashes them for its chains.
func longNames(t *testing.T, e *everywhere) {
	long := func(prefix string, n int) string { return prefix + strings.Repeat("x", n-len(prefix)) }
	ns, service, port, pod := e.namespace(t, long("long-", 63)), long("service-", 63), long("port-", 63), long("pod-", 253)
	e.service(t, ns, service, func(s *corev1.Service) {
		s.Spec.Selector = nil
		s.Spec.Ports = []corev1.ServicePort{{Name: port, Port: handmade.Port, TargetPort: intstr.FromInt32(handmade.Port)}}
	})
	x, y := address(5, 1), address(5, 2)
	at, tcp := int32(handmade.Port), corev1.ProtocolTCP
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: long("slice-", 253), Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: &port, Port: &at, Protocol: &tcp}},
		Endpoints:   []discoveryv1.Endpoint{ready(x, pod), ready(y, "long-stays")},
	}
	slices := e.client.DiscoveryV1().EndpointSlices(ns)
	if _, err := slices.Create(t.Context(), slice, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	e.routed(t, to(x, y)...)
	slice.Endpoints[0] = terminating(x, pod)
	if _, err := slices.Update(t.Context(), slice, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	e.ends(t, pod, 1, ledger.Landed)
	for i, a := range e.agents {
		d := departed(t, a, pod, ledger.Delete)
		if d.Pod.Name != pod || d.Pod.Namespace != ns {
			t.Errorf("%s: %+v", a.Node, d.Pod)
		}
		if on, err := e.routes(e.Nodes[i], to(x)[0]); err != nil || on {
			t.Errorf("%s: landed, and its tool shows it: %v", a.Node, err)
		}
	}
}

// noTargetRef: slices that somebody writes by hand or mirrors name no pod. What leaves is then the address in the Service.
func noTargetRef(t *testing.T, e *everywhere) {
	b := e.byHand(t, e.namespace(t, "no-target"), "web")
	x, y, stays := address(6, 1), address(6, 2), address(6, 3)
	bare := func(ep discoveryv1.Endpoint) discoveryv1.Endpoint { ep.TargetRef = nil; return ep }
	b.write(t, b.name, bare(ready(x, "")), bare(ready(y, "")), bare(ready(stays, "")))
	e.routed(t, to(x, y, stays)...)
	b.write(t, b.name, bare(terminating(x, "")), bare(ready(stays, "")))
	for _, tt := range []struct {
		addr netip.Addr
		why  ledger.Reason
	}{{x, ledger.Delete}, {y, ledger.Vanished}} {
		uid := "slice:no-target/web/" + tt.addr.String()
		e.ends(t, uid, 1, ledger.Landed)
		for _, a := range e.agents {
			if d := departed(t, a, uid, tt.why); d.T0Source != ledger.FromSlice || d.Workload != "" {
				t.Errorf("%s: %+v", a.Node, d)
			}
		}
	}
}

// largeCluster: above 1,000 endpoints kube-proxy in iptables mode leaves the chains of endpoints that went for later; what
// counts is that nothing leads there.
func largeCluster(t *testing.T, w *world) {
	b := w.byHand(t, w.namespace(t, "large"), "web")
	e := &everywhere{world: w}
	for _, n := range w.Nodes {
		e.agents = append(e.agents, w.agent(t, n.Name))
	}
	var first []discoveryv1.Endpoint
	for i := range 1000 {
		first = append(first, ready(address(8, i), fmt.Sprintf("large-%d", i)))
	}
	more := address(8, 1000)
	b.write(t, b.name, first...)
	b.write(t, "web-2", ready(more, "large-more"))
	w.routed(t, to(address(8, 0), address(8, 999), more)...)
	orphans := 0
	for i := range 2 { // the first may come with a clean-up, once in 30 s: then the next does not
		first[i] = terminating(address(8, i), fmt.Sprintf("large-%d", i))
		b.write(t, b.name, first...)
		e.ends(t, fmt.Sprintf("large-%d", i), 1, ledger.Landed)
		for _, n := range w.Nodes {
			if n.Mode != testbed.IPTablesNFT {
				continue
			}
			on, err := w.routes(n, to(address(8, i))[0])
			if err != nil {
				t.Fatal(err)
			}
			if on {
				orphans++
			}
		}
	}
	if orphans == 0 {
		t.Error("kube-proxy left no chain behind: this does not test what it is for")
	}
}
