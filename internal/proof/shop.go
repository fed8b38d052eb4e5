//go:build linux

package proof

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/lastcall-k8s/lastcall/internal/testbed"
)

// replicas of every shop: while one leaves, another serves, so that no place keeps the one that leaves.
const replicas = 2

// ShopSpec is a Deployment of the testbed's server.
type ShopSpec struct {
	Namespace string
	Args      []string // of the server
	PreStop   int64    // seconds that it sleeps in preStop; 0: no hook
	Grace     int64    // 0: as it comes, 30
	Proxy     bool     // a second container that has no preStop
}

// Shop is a Deployment and its Service, both named shop, in a namespace of their own.
type Shop struct {
	Namespace string
	bed       *Bed
	vip       netip.Addr
}

var labels = map[string]string{"app": "shop"}

// Shop makes one. It does not wait for it: see Shop.Ready.
func (b *Bed) Shop(ctx context.Context, spec ShopSpec) (*Shop, error) {
	container := func(name string, args ...string) corev1.Container {
		return corev1.Container{Name: name, Image: testbed.ServerImage, ImagePullPolicy: corev1.PullNever, Args: args}
	}
	server := container("server", spec.Args...)
	server.Ports = []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}, {Name: "tcp", ContainerPort: 8081}}
	server.ReadinessProbe = &corev1.Probe{PeriodSeconds: 1, FailureThreshold: 1, ProbeHandler: corev1.ProbeHandler{
		HTTPGet: &corev1.HTTPGetAction{Path: "/readyz", Port: intstr.FromInt32(8080)}}}
	if spec.PreStop > 0 {
		server.Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: spec.PreStop}}}
	}
	pod := corev1.PodSpec{Containers: []corev1.Container{server}, AutomountServiceAccountToken: new(false)}
	if spec.Grace > 0 {
		pod.TerminationGracePeriodSeconds = &spec.Grace
	}
	if spec.Proxy {
		pod.Containers = append(pod.Containers, container("proxy", "--port=15001", "--tcp-port="))
	}
	all := intstr.FromString("100%")
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "shop"}, Spec: appsv1.DeploymentSpec{Replicas: new(int32(replicas)),
		Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: pod},
		// Those of a rollout leave together, so that every rollout is of the same burst class.
		Strategy: appsv1.DeploymentStrategy{Type: appsv1.RollingUpdateDeploymentStrategyType,
			RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &all, MaxUnavailable: new(intstr.FromInt32(0))}}}}
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "shop"}, Spec: corev1.ServiceSpec{Selector: labels, Ports: []corev1.ServicePort{
		{Name: "http", Port: 80, TargetPort: intstr.FromString("http")}, {Name: "tcp", Port: 81, TargetPort: intstr.FromString("tcp")}}}}

	client := b.Client()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: spec.Namespace}}
	if _, err := client.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{}); err != nil {
		return nil, err
	}
	if _, err := client.AppsV1().Deployments(spec.Namespace).Create(ctx, d, metav1.CreateOptions{}); err != nil {
		return nil, err
	}
	svc, err := client.CoreV1().Services(spec.Namespace).Create(ctx, svc, metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	vip, err := netip.ParseAddr(svc.Spec.ClusterIP)
	return &Shop{Namespace: spec.Namespace, bed: b, vip: vip}, err
}

// Delete deletes the namespace with all that is in it, and does not wait for that.
func (s *Shop) Delete(ctx context.Context) error {
	pods, client := s.bed.Client().CoreV1().Pods(s.Namespace), s.bed.Client()
	if err := pods.DeleteCollection(ctx, metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}, metav1.ListOptions{}); err != nil {
		return err
	}
	return client.CoreV1().Namespaces().Delete(ctx, s.Namespace, metav1.DeleteOptions{})
}

// pods are all there are, those that terminate included.
func (s *Shop) pods(ctx context.Context) ([]corev1.Pod, error) {
	list, err := s.bed.Client().CoreV1().Pods(s.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

// serving are those that are ready and stay.
func (s *Shop) serving(ctx context.Context) ([]corev1.Pod, error) {
	all, err := s.pods(ctx)
	return slices.DeleteFunc(all, func(p corev1.Pod) bool { return p.DeletionTimestamp != nil || !ready(p) }), err
}

func ready(p corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// Ready waits until all replicas of the shops are ready and every node routes to them.
func (b *Bed) Ready(ctx context.Context, shops ...*Shop) error {
	return wait(ctx, 2*time.Minute, func() error {
		var at []string
		for _, s := range shops {
			ps, err := s.serving(ctx)
			if err != nil {
				return err
			}
			if len(ps) != replicas {
				return fmt.Errorf("%d of %d pods of %s are ready", len(ps), replicas, s.Namespace)
			}
			for _, p := range ps {
				at = append(at, p.Status.PodIP)
			}
		}
		return b.routed(at, true)
	})
}

// landed waits until no node routes to the addresses.
func (b *Bed) landed(ctx context.Context, addresses []string) error {
	return wait(ctx, time.Minute, func() error { return b.routed(addresses, false) })
}

// routed asks the nodes' own tools whether their rules lead to the addresses, all or none of them.
func (b *Bed) routed(addresses []string, want bool) error {
	for _, n := range b.Nodes {
		args := []string{"nft", "list", "table", "ip", "kube-proxy"}
		if n.Mode != testbed.NFTables {
			args = []string{"iptables-save", "-t", "nat"}
		}
		rules, err := b.Command(n.Name, args[0], args[1:]...).Output()
		if err != nil {
			return fmt.Errorf("%v on %s: %w", args, n.Name, err)
		}
		for _, at := range addresses {
			// "10.244.1.7:8080" of iptables and nft, "10.244.1.7 . 8080" of nft's maps.
			if is := bytes.Contains(rules, []byte(at+":80")) || bytes.Contains(rules, []byte(at+" . 80")); is != want {
				return fmt.Errorf("%s routes to %s: %t, want %t", n.Name, at, is, want)
			}
		}
	}
	return nil
}

// Restart does what `kubectl rollout restart` does, and waits until the old pods are gone and the episode is over.
func (s *Shop) Restart(ctx context.Context) (begun time.Time, err error) {
	begun = time.Now()
	patch := fmt.Sprintf(`{"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":%q}}}}}`, begun.Format(time.RFC3339Nano))
	return begun, s.rollout(ctx, patch)
}

// rollout patches the Deployment, and waits until the old pods are gone and the episode is over.
func (s *Shop) rollout(ctx context.Context, patch string) error {
	old, err := s.pods(ctx)
	if err != nil {
		return err
	}
	_, err = s.bed.Client().AppsV1().Deployments(s.Namespace).Patch(ctx, "shop", types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: "kubectl-patch"})
	if err != nil {
		return err
	}
	err = wait(ctx, 3*time.Minute, func() error {
		now, err := s.pods(ctx)
		if err != nil {
			return err
		}
		for _, p := range now {
			if slices.ContainsFunc(old, func(o corev1.Pod) bool { return o.UID == p.UID }) {
				return fmt.Errorf("%s/%s is still there", s.Namespace, p.Name)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := s.bed.landed(ctx, addresses(old)); err != nil {
		return err
	}
	if err := s.bed.Ready(ctx, s); err != nil {
		return err
	}
	return s.bed.over(ctx)
}

func addresses(ps []corev1.Pod) (at []string) {
	for _, p := range ps {
		if p.Status.PodIP != "" {
			at = append(at, p.Status.PodIP)
		}
	}
	return at
}

// over lets the gap pass that ends an episode, its last removal having landed. What the hub takes for the last call is its upper end.
func (b *Bed) over(ctx context.Context) error { return pause(ctx, b.Gap+200*time.Millisecond) }
