//go:build linux

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/lastcall-k8s/lastcall/internal/testbed"
)

var app = map[string]string{"app": "shop"}

// namespace makes one that goes with the test, with all that is in it.
func (w *world) namespace(t *testing.T, name string) string {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if _, err := w.client.CoreV1().Namespaces().Create(t.Context(), ns, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		grace := int64(0)
		if err := w.client.CoreV1().Pods(name).DeleteCollection(ctx, metav1.DeleteOptions{GracePeriodSeconds: &grace}, metav1.ListOptions{}); err != nil {
			t.Error(err)
		}
		if err := w.client.CoreV1().Namespaces().Delete(ctx, name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			t.Error(err)
		}
	})
	return name
}

// service makes one of the pods with the label app, at port 80, unless it is changed.
func (w *world) service(t *testing.T, namespace, name string, change ...func(*corev1.Service)) netip.Addr {
	t.Helper()
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.ServiceSpec{Selector: app, Ports: []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromInt32(8080)}}}}
	for _, f := range change {
		f(s)
	}
	s, err := w.client.CoreV1().Services(namespace).Create(t.Context(), s, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return netip.MustParseAddr(s.Spec.ClusterIP)
}

// pod makes a pod of the server, with the label app and without a readiness probe: it is ready as soon as it runs.
func (w *world) pod(t *testing.T, namespace, name string, change ...func(*corev1.Pod)) *corev1.Pod {
	t.Helper()
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: app}, Spec: corev1.PodSpec{Containers: []corev1.Container{{
		Name: "server", Image: testbed.ServerImage, ImagePullPolicy: corev1.PullNever, Ports: []corev1.ContainerPort{{ContainerPort: 8080}}}}}}
	for _, f := range change {
		f(p)
	}
	p, err := w.client.CoreV1().Pods(namespace).Create(t.Context(), p, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func on(node string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.NodeSelector = map[string]string{corev1.LabelHostname: node}
	}
}

// sleeps gives the pod a preStop hook that sleeps, and enough grace for it.
func sleeps(seconds int64) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		grace := seconds + 10
		p.Spec.TerminationGracePeriodSeconds = &grace
		p.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: seconds}}}
	}
}

// current waits until the pods are ready, and brings them up to date.
func (w *world) current(t *testing.T, pods ...*corev1.Pod) {
	t.Helper()
	for _, p := range pods {
		within(t, time.Minute, func() error {
			now, err := w.client.CoreV1().Pods(p.Namespace).Get(t.Context(), p.Name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			*p = *now
			if !isReady(now) {
				return fmt.Errorf("pod %s is not ready: %+v", p.Name, now.Status)
			}
			return nil
		})
	}
}

func isReady(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// served are the pods when they are ready and every node routes to them.
func (w *world) served(t *testing.T, pods ...*corev1.Pod) {
	t.Helper()
	w.current(t, pods...)
	for _, p := range pods {
		w.routed(t, netip.AddrPortFrom(netip.MustParseAddr(p.Status.PodIP), 8080))
	}
}

// routed waits until every node routes to the addresses.
func (w *world) routed(t *testing.T, to ...netip.AddrPort) {
	t.Helper()
	within(t, time.Minute, func() error {
		for _, n := range w.Nodes {
			rules, err := w.rules(n)
			if err != nil {
				return err
			}
			for _, at := range to {
				if !mentions(rules, at) {
					return fmt.Errorf("%s does not route to %s", n.Name, at)
				}
			}
		}
		return nil
	})
}

// unrouted waits until a node routes to the address no more, and returns when it last did and when that was over.
func (w *world) unrouted(t *testing.T, node string, to netip.AddrPort) (still, gone time.Time) {
	t.Helper()
	n, err := w.Node(node)
	if err != nil {
		t.Fatal(err)
	}
	within(t, soon, func() error {
		asked := time.Now()
		on, err := w.routes(n, to)
		if err != nil {
			return err
		}
		if on {
			still = asked
			return fmt.Errorf("%s still routes to %s", node, to)
		}
		gone = time.Now()
		return nil
	})
	return still, gone
}

// routes asks whether a rule of the node sends connections to the address.
func (w *world) routes(n testbed.Node, to netip.AddrPort) (bool, error) {
	rules, err := w.rules(n)
	return mentions(rules, to), err
}

// rules are what the node's own tool, not our reader, prints of kube-proxy's.
func (w *world) rules(n testbed.Node) ([]byte, error) {
	args := []string{"nft", "list", "table", "ip", "kube-proxy"}
	if n.Mode != testbed.NFTables {
		args = []string{"iptables-save", "-t", "nat"}
	}
	out, err := w.Command(n.Name, args[0], args[1:]...).Output()
	if err != nil {
		return nil, fmt.Errorf("%v on %s: %w", args, n.Name, err)
	}
	return out, nil
}

func mentions(rules []byte, to netip.AddrPort) bool {
	for _, spelling := range []string{to.String(), fmt.Sprintf("%s . %d", to.Addr(), to.Port())} {
		for _, end := range []string{" ", "\n", ",", "}"} {
			if bytes.Contains(rules, []byte(spelling+end)) {
				return true
			}
		}
	}
	return false
}

func (w *world) delete(t *testing.T, p corev1.Pod, options ...metav1.DeleteOptions) {
	t.Helper()
	if err := w.client.CoreV1().Pods(p.Namespace).Delete(t.Context(), p.Name, append(options, metav1.DeleteOptions{})[0]); err != nil {
		t.Fatal(err)
	}
}

// shop is a Deployment with a Service, in a namespace of its own.
type shop struct {
	*world
	namespace string
	vip       netip.Addr
}

func (w *world) shop(t *testing.T, name string, replicas int32, preStop int64) *shop {
	t.Helper()
	ctx := t.Context()
	w.namespace(t, name)
	pod := corev1.PodSpec{Containers: []corev1.Container{{
		Name: "server", Image: testbed.ServerImage, ImagePullPolicy: corev1.PullNever,
		Ports: []corev1.ContainerPort{{ContainerPort: 8080}},
		ReadinessProbe: &corev1.Probe{PeriodSeconds: 1, FailureThreshold: 1, ProbeHandler: corev1.ProbeHandler{
			HTTPGet: &corev1.HTTPGetAction{Path: "/readyz", Port: intstr.FromInt32(8080)}}},
	}}}
	if preStop > 0 {
		pod.Containers[0].Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: preStop}}}
	}
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "shop"}, Spec: appsv1.DeploymentSpec{Replicas: &replicas,
		Selector: &metav1.LabelSelector{MatchLabels: app},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: app}, Spec: pod}}}
	if _, err := w.client.AppsV1().Deployments(name).Create(ctx, d, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	made := &shop{w, name, w.service(t, name, "shop")}
	made.ready(t, int(replicas))
	return made
}

// pods lists the pods that are not on their way out.
func (s *shop) pods(t *testing.T) (ps []corev1.Pod) {
	t.Helper()
	list, err := s.client.CoreV1().Pods(s.namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range list.Items {
		if p.DeletionTimestamp == nil {
			ps = append(ps, p)
		}
	}
	return ps
}

// ready waits until n pods are ready and programmed on every node.
func (s *shop) ready(t *testing.T, n int) {
	t.Helper()
	within(t, time.Minute, func() error {
		ready := 0
		for _, p := range s.pods(t) {
			if isReady(&p) {
				ready++
			}
		}
		if ready != n {
			return fmt.Errorf("%d of %d pods are ready", ready, n)
		}
		for _, p := range s.pods(t) {
			for _, node := range s.Nodes {
				if ok, err := s.routes(node, netip.MustParseAddrPort(p.Status.PodIP+":8080")); err != nil || !ok {
					return fmt.Errorf("%s is not programmed on %s: %v", p.Status.PodIP, node.Name, err)
				}
			}
		}
		return nil
	})
}
