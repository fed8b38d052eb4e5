package watcher

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
)

// OwnPod is what of a pod of the own node tells whether it is a replica of something that routes, and which
// process it is.
type OwnPod struct {
	UID, Namespace, Name string
	Labels               map[string]string
	IPs                  []netip.Addr
	Terminating          bool
	Containers           []OwnContainer
}

// OwnContainer is one of a pod's; its ID is another after a restart.
type OwnContainer struct {
	Name, ID string
	Running  bool
	Ports    []OwnPort
}

// OwnPort is a port that a container declares.
type OwnPort struct {
	Name   string
	Number uint16
}

func trimOwn(p *corev1.Pod) *OwnPod {
	t := &OwnPod{UID: string(p.UID), Namespace: p.Namespace, Name: p.Name, Labels: p.Labels, Terminating: p.DeletionTimestamp != nil}
	for _, ip := range p.Status.PodIPs {
		if a, ok := parseAddr(ip.IP); ok {
			t.IPs = append(t.IPs, a)
		}
	}
	status := map[string]*corev1.ContainerStatus{}
	for _, list := range [][]corev1.ContainerStatus{p.Status.ContainerStatuses, p.Status.InitContainerStatuses} {
		for i := range list {
			status[list[i].Name] = &list[i]
		}
	}
	for _, list := range [][]corev1.Container{p.Spec.Containers, p.Spec.InitContainers} {
		for i := range list {
			c := &list[i]
			s := status[c.Name]
			if s == nil {
				continue
			}
			own := OwnContainer{Name: c.Name, ID: s.ContainerID, Running: s.State.Running != nil}
			for _, port := range c.Ports {
				if isPort(port.ContainerPort) {
					own.Ports = append(own.Ports, OwnPort{port.Name, uint16(port.ContainerPort)})
				}
			}
			t.Containers = append(t.Containers, own)
		}
	}
	return t
}

// tellPods passes on the own pods, after an event of one of them.
func (w *Watcher) tellPods(k kind) {
	if k != pods || w.cfg.Pods == nil || !w.state.armed {
		return
	}
	list := make([]OwnPod, 0, len(w.state.pods))
	for _, n := range sortedNames(w.state.pods) {
		if own := w.state.pods[n].own; own != nil {
			list = append(list, *own)
		}
	}
	w.cfg.Pods(list)
}
