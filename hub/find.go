package hub

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/lastcall-k8s/lastcall/hub/report"
)

// Find follows the cluster's nodes and the agents' pods until ctx ends: whom to ask, and who is expected to answer.
func (h *Hub) Find(ctx context.Context, client kubernetes.Interface, namespace, selector string) error {
	nodes := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTransform(trimNode))
	pods := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithNamespace(namespace), informers.WithTransform(trimPod),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = selector }))
	nodeInformer, podInformer := nodes.Core().V1().Nodes().Informer(), pods.Core().V1().Pods().Informer()
	_, err1 := nodeInformer.AddEventHandler(handler(h.nodeChanged, h.nodeGone))
	_, err2 := podInformer.AddEventHandler(handler(h.agentChanged, h.agentGone))
	if err := errors.Join(err1, err2); err != nil {
		return fmt.Errorf("follow nodes and agents: %w", err)
	}
	h.mu.Lock()
	h.synced = func() bool { return nodeInformer.HasSynced() && podInformer.HasSynced() }
	h.mu.Unlock()
	nodes.StartWithContext(ctx)
	pods.StartWithContext(ctx)
	<-ctx.Done()
	nodes.Shutdown()
	pods.Shutdown()
	return nil
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
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: n.Name, UID: n.UID, ResourceVersion: n.ResourceVersion},
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

// at finds a node, or makes it known.
func (j *joiner) at(name string) *node {
	n := j.nodes[name]
	if n == nil {
		n = &node{name: name}
		n.agent.state, n.agent.why = report.AgentMissing, "no agent runs there"
		j.nodes[name] = n
	}
	return n
}

func (h *Hub) nodeChanged(o *corev1.Node) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := h.join.at(o.Name)
	n.expected, n.uid, n.ready = true, string(o.UID), false
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
	n := h.join.at(o.Name)
	n.expected = false
	h.forget(n)
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
	h.forget(n)
	h.woken()
}

// forget drops a node of which nothing is left.
func (h *Hub) forget(n *node) {
	if !n.expected && n.agent.ip == "" && !slices.ContainsFunc(rowsOf(h.join), func(r *row) bool { _, in := r.since[n]; return in }) {
		delete(h.join.nodes, n.name)
	}
}

func rowsOf(j *joiner) (rs []*row) {
	for _, r := range j.rows {
		rs = append(rs, r)
	}
	return rs
}

func (h *Hub) woken() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}
