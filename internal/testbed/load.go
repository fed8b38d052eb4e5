//go:build linux

package testbed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// LoadSpec is how many Services a cluster should look like it has. They are
// API objects only: kube-proxy programs every rule, nothing answers.
type LoadSpec struct {
	Namespace string // default "load"
	Services  int
	Endpoints int  // of each Service
	Pods      bool // endpoints are pod objects on thin nodes, sliced by the real controller
	Delete    bool // remove the namespace's load instead
}

const (
	loadPort        = 80
	loadParallel    = 16
	loadSliceSize   = 100 // like the real controller's --max-endpoints-per-slice
	managedBy       = "testbed.local/load"
	loadServiceName = "load-%05d"
)

// Load creates the objects of spec, those that already exist excepted, or
// deletes them.
func (c *Cluster) Load(ctx context.Context, spec LoadSpec, progressTo io.Writer) error {
	if spec.Namespace == "" {
		spec.Namespace = "load"
	}
	p := newProgress(progressTo)
	if spec.Delete {
		return c.unload(ctx, spec.Namespace, p)
	}
	if spec.Services <= 0 || spec.Endpoints < 0 {
		return fmt.Errorf("load of %d Services with %d endpoints: want at least one Service", spec.Services, spec.Endpoints)
	}
	thin := c.thinNodes()
	if spec.Pods && len(thin) == 0 {
		return errors.New("load with pods needs thin nodes: bring the cluster up with --thin nftables or the like")
	}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: spec.Namespace, Labels: map[string]string{managedBy: "true"}}}
	if _, err := c.client.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("creating namespace %s: %w", spec.Namespace, err)
	}
	if spec.Pods {
		total := spec.Services * spec.Endpoints
		if err := c.each(ctx, p, "pods", total, func(ctx context.Context, i int) error {
			return c.loadPod(ctx, spec, thin, i)
		}); err != nil {
			return err
		}
	}
	return c.each(ctx, p, "Services", spec.Services, func(ctx context.Context, i int) error {
		return c.loadService(ctx, spec, i)
	})
}

func (c *Cluster) thinNodes() []Node {
	var thin []Node
	for _, n := range c.Nodes {
		if n.Thin {
			thin = append(thin, n)
		}
	}
	return thin
}

// each calls do for 0..total-1, some at once, and says how far it is.
func (c *Cluster) each(ctx context.Context, p *progress, what string, total int, do func(context.Context, int) error) error {
	var done, said atomic.Int64
	started := time.Now()
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(loadParallel)
	for i := range total {
		if groupCtx.Err() != nil {
			break
		}
		group.Go(func() error {
			if err := do(groupCtx, i); err != nil {
				return err
			}
			n := done.Add(1)
			if s := int64(time.Since(started).Seconds()); s%5 == 4 && said.Swap(s) != s {
				p.say("%d of %d %s", n, total, what)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	p.say("%d %s in %s", total, what, time.Since(started).Round(100*time.Millisecond))
	return nil
}

func (c *Cluster) loadService(ctx context.Context, spec LoadSpec, i int) error {
	name := fmt.Sprintf(loadServiceName, i)
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{managedBy: "true"}},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "http", Port: loadPort, TargetPort: intstr.FromInt32(8080)}}},
	}
	if spec.Pods {
		svc.Spec.Selector = map[string]string{managedBy: name}
	}
	_, err := c.client.CoreV1().Services(spec.Namespace).Create(ctx, svc, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("creating service %s: %w", name, err)
	}
	if spec.Pods {
		return nil
	}
	for first := 0; first < spec.Endpoints; first += loadSliceSize {
		slice := loadSlice(spec, c.Nodes, i, first)
		_, err := c.client.DiscoveryV1().EndpointSlices(spec.Namespace).Create(ctx, slice, metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("creating endpoint slice of %s: %w", name, err)
		}
	}
	return nil
}

// loadSlice is one hand-made slice: the endpoints of service i from first on.
// They name pods that do not exist, because who follows departures follows
// pods.
func loadSlice(spec LoadSpec, nodes []Node, i, first int) *discoveryv1.EndpointSlice {
	service := fmt.Sprintf(loadServiceName, i)
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Name:   fmt.Sprintf("%s-%d", service, first/loadSliceSize),
			Labels: map[string]string{discoveryv1.LabelServiceName: service, discoveryv1.LabelManagedBy: "testbed-load", managedBy: "true"},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: new("http"), Port: new(int32(8080)), Protocol: new(corev1.ProtocolTCP)}},
	}
	for e := first; e < min(first+loadSliceSize, spec.Endpoints); e++ {
		n := i*spec.Endpoints + e
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
			Addresses:  []string{loadAddress(n).String()},
			Conditions: discoveryv1.EndpointConditions{Ready: new(true), Serving: new(true), Terminating: new(false)},
			NodeName:   new(nodes[n%len(nodes)].Name),
			TargetRef: &corev1.ObjectReference{
				Kind: "Pod", Namespace: spec.Namespace, Name: fmt.Sprintf("%s-%d", service, e),
				UID: types.UID(fmt.Sprintf("10ad0000-0000-4000-8000-%012x", n)),
			},
		})
	}
	return slice
}

// loadPod makes a pod object on a thin node and reports it running and ready,
// as its kubelet would.
func (c *Cluster) loadPod(ctx context.Context, spec LoadSpec, thin []Node, i int) error {
	service := fmt.Sprintf(loadServiceName, i/spec.Endpoints)
	node := thin[i%len(thin)]
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name:   fmt.Sprintf("%s-%d", service, i%spec.Endpoints),
			Labels: map[string]string{managedBy: service},
		},
		Spec: corev1.PodSpec{
			NodeName: node.Name, AutomountServiceAccountToken: new(false),
			Containers: []corev1.Container{{
				Name: "server", Image: ServerImage, ImagePullPolicy: corev1.PullNever,
				Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}},
			}},
		},
	}
	pods := c.client.CoreV1().Pods(spec.Namespace)
	var created *corev1.Pod
	// The namespace's service account takes its controller a moment.
	err := waitFor(ctx, "the default service account of "+spec.Namespace, 30*time.Second, func(ctx context.Context) (err error) {
		created, err = pods.Create(ctx, pod, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			created, err = pods.Get(ctx, pod.Name, metav1.GetOptions{})
		}
		return err
	}, nil)
	if err != nil {
		return fmt.Errorf("creating pod %s: %w", pod.Name, err)
	}
	created.Status = runningStatus(loadAddress(i), node)
	if _, err := pods.UpdateStatus(ctx, created, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("reporting pod %s ready: %w", pod.Name, err)
	}
	return nil
}

func runningStatus(ip netip.Addr, node Node) corev1.PodStatus {
	now := metav1.Now()
	status := corev1.PodStatus{
		Phase: corev1.PodRunning, StartTime: &now,
		HostIP: node.IP, HostIPs: []corev1.HostIP{{IP: node.IP}},
		PodIP: ip.String(), PodIPs: []corev1.PodIP{{IP: ip.String()}},
		ContainerStatuses: []corev1.ContainerStatus{{
			Name: "server", Image: ServerImage, ImageID: ServerImage, Ready: true, Started: new(true),
			State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}},
		}},
	}
	for _, kind := range []corev1.PodConditionType{corev1.PodScheduled, corev1.PodInitialized, corev1.ContainersReady, corev1.PodReady} {
		status.Conditions = append(status.Conditions, corev1.PodCondition{Type: kind, Status: corev1.ConditionTrue, LastTransitionTime: now})
	}
	return status
}

// unload deletes what Load made in a namespace, and the namespace. Pods go
// with grace period 0: there is no kubelet to confirm their end.
func (c *Cluster) unload(ctx context.Context, namespace string, p *progress) error {
	ns, err := c.client.CoreV1().Namespaces().Get(ctx, namespace, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		p.say("no load: namespace %s does not exist", namespace)
		return nil
	}
	if err != nil {
		return err
	}
	if ns.Labels[managedBy] == "" {
		return fmt.Errorf("namespace %s was not made by load: not deleting it", namespace)
	}
	now := metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}
	list := metav1.ListOptions{LabelSelector: managedBy}
	if err := c.client.CoreV1().Pods(namespace).DeleteCollection(ctx, now, list); err != nil {
		return fmt.Errorf("deleting pods: %w", err)
	}
	services, err := c.client.CoreV1().Services(namespace).List(ctx, list)
	if err != nil {
		return err
	}
	err = c.each(ctx, p, "Services deleted", len(services.Items), func(ctx context.Context, i int) error {
		err := c.client.CoreV1().Services(namespace).Delete(ctx, services.Items[i].Name, metav1.DeleteOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("deleting services: %w", err)
	}
	err = c.client.DiscoveryV1().EndpointSlices(namespace).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("deleting endpoint slices: %w", err)
	}
	if err := c.client.CoreV1().Namespaces().Delete(ctx, namespace, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("deleting namespace %s: %w", namespace, err)
	}
	err = waitFor(ctx, "the end of namespace "+namespace, 5*time.Minute, func(ctx context.Context) error {
		_, err := c.client.CoreV1().Namespaces().Get(ctx, namespace, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(err, errors.New("it is still there"))
	}, nil)
	if err == nil {
		p.say("namespace %s is gone", namespace)
	}
	return err
}
