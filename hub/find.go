package hub

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/lastcall-k8s/lastcall/hub/report"
)

// Cluster is the API server, as far as the hub asks it. Not a clientset: that links every API group there is into the
// binary that also runs as the agent on every node (56 instead of 30 MB, and 10 MB more resident).
type Cluster struct{ core, apps *rest.RESTClient }

// NewCluster prepares the clients. It does not talk to the API server.
func NewCluster(config *rest.Config) (*Cluster, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, appsv1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	client := func(gv schema.GroupVersion, path string) (*rest.RESTClient, error) {
		c := rest.CopyConfig(config)
		c.GroupVersion, c.APIPath = &gv, path
		c.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
		c.ContentType, c.AcceptContentTypes = runtime.ContentTypeProtobuf, runtime.ContentTypeProtobuf+","+runtime.ContentTypeJSON
		rc, err := rest.RESTClientFor(c)
		if err != nil {
			return nil, fmt.Errorf("prepare the client for %s: %w", gv, err)
		}
		return rc, nil
	}
	core, err1 := client(corev1.SchemeGroupVersion, "/api")
	apps, err2 := client(appsv1.SchemeGroupVersion, "/apis")
	return &Cluster{core, apps}, errors.Join(err1, err2)
}

// Find follows the cluster's nodes and the agents' pods until ctx ends: whom to ask, and who is expected to answer.
func (h *Hub) Find(ctx context.Context, c *Cluster, namespace, selector string) error {
	follow := func(resource, namespace, labels string, of runtime.Object, trim cache.TransformFunc, do cache.ResourceEventHandler) cache.Controller {
		_, controller := cache.NewInformerWithOptions(cache.InformerOptions{ObjectType: of, Handler: do, Transform: trim,
			ListerWatcher: cache.NewFilteredListWatchFromClient(c.core, resource, namespace, func(o *metav1.ListOptions) { o.LabelSelector = labels })})
		return controller
	}
	nodes := follow("nodes", "", "", &corev1.Node{}, trimNode, handler(h.nodeChanged, h.nodeGone))
	pods := follow("pods", namespace, selector, &corev1.Pod{}, trimPod, handler(h.agentChanged, h.agentGone))
	h.mu.Lock()
	h.synced = func() bool { return nodes.HasSynced() && pods.HasSynced() }
	h.mu.Unlock()
	var g errgroup.Group
	g.Go(func() error { nodes.RunWithContext(ctx); return nil })
	g.Go(func() error { pods.RunWithContext(ctx); return nil })
	return g.Wait()
}

// Ready says whether the hub knows whom to ask.
func (h *Hub) Ready() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.synced() {
		return errors.New("nodes and agents are not listed yet")
	}
	return nil
}

func handler[T any](changed, gone func(T)) cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { changed(o.(T)) },
		UpdateFunc: func(_, o any) { changed(o.(T)) },
		DeleteFunc: func(o any) {
			if u, ok := o.(cache.DeletedFinalStateUnknown); ok {
				o = u.Obj
			}
			if t, ok := o.(T); ok {
				gone(t)
			}
		},
	}
}

// trimNode and trimPod keep what is read here: a Node has kilobytes of image names.
func trimNode(o any) (any, error) {
	n, ok := o.(*corev1.Node)
	if !ok {
		return o, nil
	}
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: n.Name, UID: n.UID, ResourceVersion: n.ResourceVersion, CreationTimestamp: n.CreationTimestamp},
		Spec: corev1.NodeSpec{Taints: n.Spec.Taints}, Status: corev1.NodeStatus{Conditions: n.Status.Conditions}}, nil
}

func trimPod(o any) (any, error) {
	p, ok := o.(*corev1.Pod)
	if !ok {
		return o, nil
	}
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: p.Name, Namespace: p.Namespace, UID: p.UID, ResourceVersion: p.ResourceVersion, CreationTimestamp: p.CreationTimestamp,
		DeletionTimestamp: p.DeletionTimestamp}, Spec: corev1.PodSpec{NodeName: p.Spec.NodeName},
		Status: corev1.PodStatus{HostIP: p.Status.HostIP, Phase: p.Status.Phase}}, nil
}

func (h *Hub) nodeChanged(o *corev1.Node) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := h.join.at(o.Name)
	n.expected, n.uid, n.created, n.ready = true, string(o.UID), o.CreationTimestamp.Time, false
	for _, c := range o.Status.Conditions {
		if c.Type == corev1.NodeReady {
			n.ready = c.Status == corev1.ConditionTrue
		}
	}
	n.taints = nil
	for _, t := range o.Spec.Taints {
		n.taints = append(n.taints, t.ToString())
	}
}

func (h *Hub) nodeGone(o *corev1.Node) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.join.at(o.Name).expected = false
}

func (h *Hub) agentChanged(p *corev1.Pod) {
	if p.Spec.NodeName == "" {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	n := h.join.at(p.Spec.NodeName)
	ended := p.DeletionTimestamp != nil || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
	if ended {
		return // what it still says is read; its end comes as a deletion
	}
	n.agent.pod, n.agent.ip = p.Name, p.Status.HostIP
	if n.agent.state == report.AgentMissing {
		n.agent.state, n.agent.why = report.AgentUnreachable, "the agent is starting"
	}
	h.woken()
}

func (h *Hub) agentGone(p *corev1.Pod) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := h.join.nodes[p.Spec.NodeName]
	if n == nil || n.agent.pod != p.Name {
		return
	}
	n.agent = agentState{state: report.AgentMissing, why: "no agent runs there"}
	h.woken()
}

func (h *Hub) woken() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}
