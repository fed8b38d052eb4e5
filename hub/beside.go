package hub

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// An agent beside a consumer, in its pod, tells of that one replica and of nothing else. It announces no departure, is none of the
// nodes that are expected, and nobody waits for one that does not answer.

// BesideLabel is on the pods in which such an agent runs, and BesidePort is what its container calls the port of /v1.
const (
	BesideLabel = "lastcall/sidecar"
	BesidePort  = "lastcall"
)

// FindBeside follows the pods of these namespaces in which an agent runs beside a consumer, until ctx ends.
func (h *Hub) FindBeside(ctx context.Context, c *Cluster, namespaces []string) error {
	var g errgroup.Group
	for _, ns := range namespaces {
		_, pods := cache.NewInformerWithOptions(cache.InformerOptions{ObjectType: &corev1.Pod{}, Handler: handler(h.besideChanged, h.besideGone), Transform: trimBeside,
			ListerWatcher: cache.NewFilteredListWatchFromClient(c.core, "pods", ns, func(o *metav1.ListOptions) { o.LabelSelector = BesideLabel })})
		h.mu.Lock()
		h.listed[ns] = pods.HasSynced
		h.mu.Unlock()
		g.Go(func() error { pods.RunWithContext(ctx); return nil })
	}
	return g.Wait()
}

// unlisted are the namespaces whose pods were not listed yet: a right may be missing.
func (h *Hub) unlisted() (ns []string) {
	for name, listed := range h.listed {
		if !listed() {
			ns = append(ns, name)
		}
	}
	slices.Sort(ns)
	return ns
}

// trimBeside keeps what is read here.
func trimBeside(o any) (any, error) {
	p, ok := o.(*corev1.Pod)
	if !ok {
		return o, nil
	}
	port := int32(0)
	for _, c := range slices.Concat(p.Spec.Containers, p.Spec.InitContainers) {
		for _, cp := range c.Ports {
			if cp.Name == BesidePort {
				port = cp.ContainerPort
			}
		}
	}
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: p.Name, Namespace: p.Namespace, UID: p.UID, ResourceVersion: p.ResourceVersion, CreationTimestamp: p.CreationTimestamp},
		Spec:   corev1.PodSpec{NodeName: p.Spec.NodeName, Containers: []corev1.Container{{Ports: []corev1.ContainerPort{{ContainerPort: port}}}}},
		Status: corev1.PodStatus{PodIP: p.Status.PodIP, Phase: p.Status.Phase}}, nil
}

// besideKey is no name of a node: those have no blank.
func besideKey(p *corev1.Pod) string { return "beside " + p.Namespace + "/" + p.Name }

func (h *Hub) besideChanged(p *corev1.Pod) {
	if p.Spec.NodeName == "" || p.Status.PodIP == "" {
		return
	}
	if p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
		h.besideGone(p)
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	n := h.join.at(besideKey(p))
	n.name, n.beside, n.host = p.Spec.NodeName, p.Namespace+"/"+p.Name, h.join.at(p.Spec.NodeName)
	if n.uid != string(p.UID) { // another pod of that name
		n.uid, n.created, n.followed, n.failed, n.consumers = string(p.UID), p.CreationTimestamp.Time, false, false, nil
	}
	n.agent.pod, n.agent.ip, n.agent.port = p.Name, p.Status.PodIP, int(p.Spec.Containers[0].Ports[0].ContainerPort)
	if n.agent.state == report.AgentMissing {
		n.agent.state, n.agent.why = report.AgentUnreachable, "it is starting"
	}
	h.woken()
}

func (h *Hub) besideGone(p *corev1.Pod) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := h.join.nodes[besideKey(p)]
	if n == nil || n.uid != string(p.UID) {
		return
	}
	n.agent = agentState{state: report.AgentMissing, why: "its pod is gone"}
	h.woken()
}

// comes sorts in an agent beside a consumer: it can answer, or every row waits for it, or it is given up.
func (j *joiner) comes(n *node, now time.Time, fit *[]*node) (coming int) {
	following := n.agent.following()
	n.followed = n.followed || n.agent.state == report.AgentFollowing
	switch {
	case following && n.followed:
		*fit = append(*fit, n)
	case following, !n.followed && !n.failed && now.Sub(j.begun) < settling, n.agent.state == report.AgentUnreachable && now.Sub(n.heard) < returning:
		return 1
	}
	return 0
}

// reads are the replicas that an agent tells of. What one says that does not answer any more is old.
func (n *node) reads() []ledger.Consumer {
	why := n.silentBeside()
	if why == "" {
		return n.consumers
	}
	if len(n.consumers) == 0 {
		return []ledger.Consumer{{Place: besideUnknown, Replica: n.beside, Unread: why}}
	}
	all := slices.Clone(n.consumers)
	for i := range all {
		all[i].Unread = why
	}
	return all
}

// besideUnknown is the kind of place of a pod whose agent has not said yet what it reads there.
const besideUnknown = "sidecar"

func (n *node) silentBeside() string {
	if n.beside == "" || n.agent.following() {
		return ""
	}
	return n.unheard()
}

func (n *node) unheard() string {
	return "the agent beside it is not followed: " + cmp.Or(n.agent.why, "it does not answer")
}

// unseen names an agent that has not seen a change for too long.
func (n *node) unseen() report.Missing {
	m := report.Missing{Place: n.name, Why: "has not seen the change"}
	if n.beside != "" {
		m.Place, m.Kind = n.beside, besideUnknown
		if len(n.consumers) > 0 {
			m.Kind = n.consumers[0].Place
		}
	}
	return m
}

// foreign reports whether a line of an agent beside a consumer is about anything else.
func (n *node) foreign(e *ledger.Event) bool {
	switch e.Type {
	case ledger.EventDeparture, ledger.EventFarewell, ledger.EventWitness:
		return true
	case ledger.EventRemovals:
		return e.Place == kubeProxy || e.Replica != n.beside || slices.ContainsFunc(e.Departures, func(s ledger.Settled) bool { return s.Leaving != nil })
	}
	return false
}

// early is what an agent beside a consumer told of a pod before another had announced that it leaves.
type early struct {
	boot *boot
	line ledger.Event
	pod  ledger.Settled
	at   time.Time
}

const (
	// maxEarly bounds them.
	maxEarly = 4096
	// earlyFor is how long another agent may take.
	earlyFor = 30 * time.Second
)

// hold keeps such a line, which is read into memory that is used again.
func (j *joiner) hold(n *node, e *ledger.Event, s *ledger.Settled, now time.Time) bool {
	if n.beside == "" {
		return false
	}
	for len(j.early) > 0 && (len(j.early) >= maxEarly || now.Sub(j.early[0].at) > earlyFor) {
		j.early = j.early[1:]
		j.unknown++
	}
	line, pod := *e, *s
	line.Departures = nil
	line.Candidates = slices.Clone(e.Candidates)
	pod.Outcomes, pod.Ports = maps.Clone(s.Outcomes), slices.Clone(s.Ports)
	j.early = append(j.early, early{n.boot, line, pod, now})
	return true
}

// announced takes in what was told of a pod early.
func (j *joiner) announced(uid string, now time.Time) {
	if !slices.ContainsFunc(j.early, func(e early) bool { return e.pod.UID == uid }) {
		return
	}
	var of []early
	j.early = slices.DeleteFunc(j.early, func(e early) bool {
		if e.pod.UID == uid {
			of = append(of, e)
		}
		return e.pod.UID == uid
	})
	for _, e := range of {
		if n := e.boot.node; n.boot == e.boot {
			j.settled(n, &e.line, &e.pod, now)
		} else {
			j.unknown++
		}
	}
}
