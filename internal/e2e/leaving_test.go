//go:build linux

package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/lastcall-k8s/lastcall/internal/nodeagent"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// Scenarios of the ways in which a pod leaves. Its own node knows which; the others know what the slices say.

// own is the agent on a node, and others are the rest.
func (e *everywhere) own(node string) (own *nodeagent.Agent, others []*nodeagent.Agent) {
	for _, a := range e.agents {
		if a.Node == node {
			own = a
		} else {
			others = append(others, a)
		}
	}
	return own, others
}

// two pods of one Service, served everywhere; the second is the one to leave.
func (e *everywhere) two(t *testing.T, ns string, change ...func(*corev1.Pod)) (goes *corev1.Pod) {
	t.Helper()
	e.service(t, e.namespace(t, ns), "shop")
	stays, goes := e.pod(t, ns, "stays"), e.pod(t, ns, "goes", change...)
	e.served(t, stays, goes)
	return goes
}

// forced: the object vanishes at once. The API server marks it as deleted before it deletes it, in two writes: a quick
// EndpointSlice controller says terminating in between, mostly no slice ever does.
func forced(t *testing.T, e *everywhere) {
	p := e.two(t, "forced")
	now, before := int64(0), time.Now()
	e.delete(t, *p, metav1.DeleteOptions{GracePeriodSeconds: &now})
	e.ends(t, string(p.UID), 1, ledger.Landed)
	own, others := e.own(p.Spec.NodeName)
	if d := departed(t, own, string(p.UID), ledger.Force); d.T0Source != ledger.FromPod || d.T0.Before(before) || d.Grace == nil || *d.Grace != 0 {
		t.Errorf("%+v", d)
	}
	for _, a := range others {
		shown(t, a, p)
	}
}

// shown: what a node that is not the pod's own sees is the slices. They say that it terminates, unless it was gone before the
// controller wrote them.
func shown(t *testing.T, a *nodeagent.Agent, p *corev1.Pod) {
	t.Helper()
	d := event(t, a, "departure", func(e ledger.Event) bool { return e.Type == ledger.EventDeparture && e.Pod.UID == string(p.UID) })
	if d.Reason != ledger.Vanished && d.Reason != ledger.Delete || d.T0Source != ledger.FromSlice {
		t.Errorf("%s: %+v", a.Node, d)
	}
}

// evicted: as a node drain does it.
func evicted(t *testing.T, e *everywhere) {
	p := e.two(t, "evicted")
	eviction := &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: p.Name, Namespace: p.Namespace}}
	if err := e.client.PolicyV1().Evictions(p.Namespace).Evict(t.Context(), eviction); err != nil {
		t.Fatal(err)
	}
	e.leftGracefully(t, p, ledger.Evict)
}

// leftGracefully: the pod's own node knows why, and since when; the others know what the slices say.
func (e *everywhere) leftGracefully(t *testing.T, p *corev1.Pod, why ledger.Reason) {
	t.Helper()
	e.ends(t, string(p.UID), 1, ledger.Landed)
	own, others := e.own(p.Spec.NodeName)
	if d := departed(t, own, string(p.UID), why); d.T0Source != ledger.FromPod || d.Grace == nil || *d.Grace != 30 {
		t.Errorf("%+v", d)
	}
	for _, a := range others {
		shown(t, a, p)
	}
}

// preempted: the scheduler makes room for a pod of higher priority.
func preempted(t *testing.T, e *everywhere) {
	node, err := e.client.CoreV1().Nodes().Get(t.Context(), "node-1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	classes := e.client.SchedulingV1().PriorityClasses()
	class := &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "preempts"}, Value: 1000}
	if _, err := classes.Create(t.Context(), class, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := classes.Delete(context.Background(), class.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	half := *resource.NewMilliQuantity(node.Status.Allocatable.Cpu().MilliValue()*6/10, resource.DecimalSI)
	wants := func(p *corev1.Pod) {
		on(node.Name)(p)
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: half}
	}
	p := e.two(t, "preempted", wants)
	e.pod(t, p.Namespace, "important", wants, func(p *corev1.Pod) {
		p.Spec.PriorityClassName, p.Labels = class.Name, nil
	})
	e.leftGracefully(t, p, ledger.Preempt)
}

// listed makes a pod on the thin node, where no kubelet runs: what one would say of it is the test's to write.
func (w *world) listed(t *testing.T, ns, name string, addr netip.Addr, change ...func(*corev1.Pod)) *corev1.Pod {
	t.Helper()
	thin := w.Nodes[len(w.Nodes)-1]
	p := w.pod(t, ns, name, append(change, func(p *corev1.Pod) {
		p.Spec.NodeName = thin.Name
		p.Spec.Tolerations = append(p.Spec.Tolerations, corev1.Toleration{Key: "testbed.local/thin", Operator: corev1.TolerationOpExists})
	})...)
	p.Status = corev1.PodStatus{Phase: corev1.PodRunning, PodIP: addr.String(), PodIPs: []corev1.PodIP{{IP: addr.String()}},
		Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}
	w.report(t, p)
	return p
}

// report writes a pod's status.
func (w *world) report(t *testing.T, p *corev1.Pod) {
	t.Helper()
	now, err := w.client.CoreV1().Pods(p.Namespace).UpdateStatus(t.Context(), p, metav1.UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	*p = *now
}

// nodeLost: the taint that the node lifecycle controller puts on a node it has not heard of makes the real taint eviction
// controller delete its pods. Nobody is there to end them, and they go on being terminating.
func nodeLost(t *testing.T, e *everywhere) {
	ns := e.namespace(t, "lost")
	e.service(t, ns, "shop")
	stays := e.pod(t, ns, "stays")
	now := int64(0)
	goes := e.listed(t, ns, "goes", address(7, 1), func(p *corev1.Pod) {
		p.Spec.Tolerations = []corev1.Toleration{{Key: corev1.TaintNodeUnreachable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &now}}
	})
	e.served(t, stays, goes)
	e.taint(t, goes.Spec.NodeName, true)
	t.Cleanup(func() { e.taint(t, goes.Spec.NodeName, false) })
	e.leftGracefully(t, goes, ledger.NodeLost)
}

func (w *world) taint(t *testing.T, node string, lost bool) {
	t.Helper()
	nodes := w.client.CoreV1().Nodes()
	n, err := nodes.Get(context.Background(), node, metav1.GetOptions{})
	if err != nil {
		t.Error(err)
		return
	}
	var kept []corev1.Taint
	for _, x := range n.Spec.Taints {
		if x.Key != corev1.TaintNodeUnreachable {
			kept = append(kept, x)
		}
	}
	if lost {
		kept = append(kept, corev1.Taint{Key: corev1.TaintNodeUnreachable, Effect: corev1.TaintEffectNoExecute})
	}
	n.Spec.Taints = kept
	if _, err := nodes.Update(context.Background(), n, metav1.UpdateOptions{}); err != nil {
		t.Error(err)
	}
}

// deadContainers: a graceful node shutdown, an eviction by the kubelet and a pod that completes are told to the API when no
// container runs any more (kubernetes#116965), so T0 is unknown. The statuses are those that kubelet v1.36.3 writes
// (pkg/kubelet/status/status_manager.go:1375-1417, nodeshutdown_manager.go); the testbed has no systemd-logind to have it done.
func deadContainers(t *testing.T, e *everywhere) {
	ns := e.namespace(t, "dead")
	e.service(t, ns, "shop")
	e.served(t, e.pod(t, ns, "stays"))
	everywhere := func(p *corev1.Pod) {
		p.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
	}
	for i, tt := range []struct {
		name   string
		phase  corev1.PodPhase
		reason string
		want   ledger.Reason
	}{
		{"shutdown", corev1.PodFailed, "Terminated", ledger.NodeShutdown},
		{"evicted", corev1.PodFailed, "Evicted", ledger.KubeletEvict},
		{"completed", corev1.PodSucceeded, "", ledger.Completed},
	} {
		p := e.listed(t, ns, tt.name, address(7, 2+i), everywhere)
		e.served(t, p)
		p.Status.Phase, p.Status.Reason = tt.phase, tt.reason
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionFalse}}
		if tt.phase == corev1.PodFailed {
			p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: corev1.PodReasonTerminationByKubelet})
		}
		e.report(t, p)
		e.ends(t, string(p.UID), 1, ledger.Landed)
		own, _ := e.own(p.Spec.NodeName)
		if d := departed(t, own, string(p.UID), tt.want); d.T0Source != ledger.T0Unknown {
			t.Errorf("%s: T0 %v from %s", tt.name, d.T0, d.T0Source)
		}
	}
}

// onHost gives a pod its node's address, and a port.
func onHost(node string, port int32) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		on(node)(p)
		p.Spec.HostNetwork = true
		c := &p.Spec.Containers[0]
		c.Ports = nil // declared, the kubelet refuses the next pod with it while this one leaves
		c.Env = []corev1.EnvVar{{Name: "PORT", Value: strconv.Itoa(int(port))}, {Name: "TCP_PORT", Value: ""}}
	}
}

// atPort makes a Service of pods with a label of their own.
func atPort(label string, port int32) func(*corev1.Service) {
	return func(s *corev1.Service) {
		s.Spec.Selector = map[string]string{"app": label}
		s.Spec.Ports[0].TargetPort = intstr.FromInt32(port)
	}
}

func labelled(label string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Labels = map[string]string{"app": label} }
}

// hostNetwork: two pods with one address, the node's. The one that leaves takes nothing of the other's along.
func hostNetwork(t *testing.T, e *everywhere) {
	ns := e.namespace(t, "host")
	e.service(t, ns, "one", atPort("one", 18080))
	e.service(t, ns, "two", atPort("two", 18090))
	var pods []*corev1.Pod
	for _, label := range []string{"one", "two"} {
		for _, node := range []string{"node-1", "node-2"} {
			port := map[string]int32{"one": 18080, "two": 18090}[label]
			pods = append(pods, e.pod(t, ns, label+"-"+node, onHost(node, port), labelled(label)))
		}
	}
	e.current(t, pods...)
	goes, neighbour := pods[0], pods[2]
	if goes.Status.PodIP != neighbour.Status.PodIP {
		t.Fatalf("%s and %s are not on one address", goes.Status.PodIP, neighbour.Status.PodIP)
	}
	at := func(p *corev1.Pod, port int) netip.AddrPort {
		return netip.MustParseAddrPort(fmt.Sprintf("%s:%d", p.Status.PodIP, port))
	}
	e.routed(t, at(pods[0], 18080), at(pods[1], 18080), at(pods[2], 18090), at(pods[3], 18090))
	e.delete(t, *goes)
	e.ends(t, string(goes.UID), 1, ledger.Landed)
	for i, a := range e.agents {
		silent(t, a, string(neighbour.UID))
		if on, err := e.routes(e.Nodes[i], at(neighbour, 18090)); err != nil || !on {
			t.Errorf("%s does not route to the neighbour any more: %v", a.Node, err)
		}
	}
}
