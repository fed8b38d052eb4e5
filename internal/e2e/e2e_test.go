//go:build linux

// Package e2e holds the agent against a real cluster: real API server, controllers, kubelet, kube-proxy, kernel.
package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
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
}

func newWorld(t *testing.T) *world {
	nodes, err := testbed.ParseNodes("nftables,iptables-nft")
	if err != nil {
		t.Fatal(err)
	}
	thin, err := testbed.ParseNodes("iptables-legacy,nftables")
	if err != nil {
		t.Fatal(err)
	}
	c := testbed.RequireCluster(t, testbed.Spec{Name: "lastcall-e2e", Nodes: nodes, Thin: thin})
	binary, err := nodeagent.Build(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return &world{c, c.Client(), binary}
}

// agent starts an agent on a node and follows it.
func (w *world) agent(t *testing.T, node string, args ...string) *nodeagent.Agent {
	t.Helper()
	a, err := nodeagent.Start(t.Context(), w.Cluster, w.binary, node, t.Output(), args...)
	if err != nil {
		t.Fatal(err)
	}
	var following sync.WaitGroup
	following.Go(func() {
		if err := a.Follow(context.Background()); err != nil {
			t.Logf("events of %s: %v", node, err)
		}
	})
	t.Cleanup(func() {
		if err := a.Stop(); err != nil {
			t.Errorf("agent on %s: %v", node, err)
		}
		following.Wait()
		conserved(t, a)
	})
	return a
}

// conserved holds over every run: what the events opened is what they settled and left open.
func conserved(t *testing.T, a *nodeagent.Agent) {
	t.Helper()
	open := map[string]map[ledger.Family]ledger.Open{}
	stopped := false
	for _, e := range a.Events() {
		switch e.Type {
		case ledger.EventRemovals:
			for _, d := range e.Departures {
				for o, n := range d.Outcomes {
					if n < 1 {
						t.Errorf("%s: %d times %s in %+v", a.Node, n, o, d)
					}
				}
				if open[d.UID] == nil {
					open[d.UID] = map[ledger.Family]ledger.Open{}
				}
				open[d.UID][e.Family] = d.Open
			}
		case ledger.EventGap:
			t.Errorf("%s: lines %d to %d were lost", a.Node, e.From, e.To)
		case ledger.EventStop:
			stopped = true
			for uid, o := range e.Open {
				if o == (ledger.Open{}) {
					t.Errorf("%s: %s is listed as open with nothing open", a.Node, uid)
				}
			}
			for uid, families := range open {
				for _, o := range families {
					if o != (ledger.Open{}) && e.Open[uid] != o {
						t.Errorf("%s: %s has %+v open by its last line and %+v at the end", a.Node, uid, o, e.Open[uid])
					}
				}
			}
		}
	}
	if !stopped {
		t.Errorf("%s: the last line is missing: the agent did not flush", a.Node)
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
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if _, err := w.client.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{}); err != nil {
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
	labels := map[string]string{"app": "shop"}
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
		Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: pod}}}
	if _, err := w.client.AppsV1().Deployments(name).Create(ctx, d, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	s, err := w.client.CoreV1().Services(name).Create(ctx, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "shop"},
		Spec: corev1.ServiceSpec{Selector: labels, Ports: []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromInt32(8080)}}}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	made := &shop{w, name, netip.MustParseAddr(s.Spec.ClusterIP)}
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
			for _, c := range p.Status.Conditions {
				if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
					ready++
				}
			}
		}
		if ready != n {
			return fmt.Errorf("%d of %d pods are ready", ready, n)
		}
		for _, p := range s.pods(t) {
			for _, node := range s.Nodes {
				if ok, err := s.programmed(node, p.Status.PodIP); err != nil || !ok {
					return fmt.Errorf("%s is not programmed on %s: %v", p.Status.PodIP, node.Name, err)
				}
			}
		}
		return nil
	})
}

// programmed asks the node's own tool, not our reader, whether a rule sends connections to the address.
func (s *shop) programmed(n testbed.Node, podIP string) (bool, error) {
	args := []string{"nft", "list", "table", "ip", "kube-proxy"}
	if n.Mode != testbed.NFTables {
		args = []string{"iptables-save", "-t", "nat"}
	}
	out, err := s.Command(n.Name, args[0], args[1:]...).Output()
	if err != nil {
		return false, fmt.Errorf("%v: %w", args, err)
	}
	for line := range bytes.Lines(out) {
		if bytes.Contains(line, []byte(podIP+":8080")) || bytes.Contains(line, []byte(podIP+" . 8080")) {
			return true, nil
		}
	}
	return false, nil
}

func (s *shop) delete(t *testing.T, p corev1.Pod) {
	t.Helper()
	if err := s.client.CoreV1().Pods(s.namespace).Delete(t.Context(), p.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
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
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	e, err := a.Await(ctx, f)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	return e
}

func metric(t *testing.T, a *nodeagent.Agent, line string) {
	t.Helper()
	within(t, 10*time.Second, func() error {
		text, err := a.Metrics(t.Context())
		if err != nil {
			return err
		}
		if !strings.Contains(text, line+"\n") {
			name, _, _ := strings.Cut(line, "{")
			var have []string
			for l := range strings.Lines(text) {
				if strings.HasPrefix(l, name) {
					have = append(have, l)
				}
			}
			return fmt.Errorf("no line %q, but:\n%s", line, strings.Join(have, ""))
		}
		return nil
	})
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
