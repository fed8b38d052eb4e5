package main

import (
	"maps"
	"slices"

	"github.com/lastcall-k8s/lastcall/ledger"
	"github.com/lastcall-k8s/lastcall/probes/consumer"
	"github.com/lastcall-k8s/lastcall/watcher"
)

// consumersStatus is the answer of /v1/consumers.
type consumersStatus struct {
	Replicas []consumer.Status `json:"replicas"`
	Unread   []unread          `json:"unread"`
	Notes    []string          `json:"notes,omitempty"`
}

type unread struct {
	Place   string `json:"place"`
	Replica string `json:"replica"`
	Why     string `json:"why"`
}

func (c *consumers) status() consumersStatus {
	s := consumersStatus{Replicas: []consumer.Status{}, Unread: []unread{}}
	if c == nil {
		return s
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s.Notes = c.notes
	for _, id := range slices.Sorted(maps.Keys(c.at)) {
		s.Replicas = append(s.Replicas, c.at[id].poller.Status())
	}
	for _, u := range c.unread {
		s.Unread = append(s.Unread, unread{u.Kind, u.Name, u.Unread})
	}
	return s
}

// told is what readers of the event lines are told of the replicas; not nil, for an empty list is news too.
func (c *consumers) told() []ledger.Consumer {
	list := []ledger.Consumer{}
	if c == nil {
		return list
	}
	s := c.status()
	for _, r := range s.Replicas {
		t := ledger.Consumer{Place: r.Place, Replica: r.Replica, Fidelity: string(r.Fidelity), Lag: r.Lag.Seconds(), Unread: r.Trouble}
		if t.Unread == "" && r.Read.IsZero() {
			t.Unread = "it was not looked at yet"
		}
		list = append(list, t)
	}
	for _, u := range s.Unread {
		list = append(list, ledger.Consumer{Place: u.Place, Replica: u.Replica, Unread: u.Why})
	}
	return list
}

func consumerPods(own []watcher.OwnPod) []consumer.Pod {
	pods := make([]consumer.Pod, 0, len(own))
	for _, o := range own {
		p := consumer.Pod{UID: o.UID, Namespace: o.Namespace, Name: o.Name, Labels: o.Labels, IPs: o.IPs, Terminating: o.Terminating}
		for _, oc := range o.Containers {
			pc := consumer.Container{Name: oc.Name, ID: oc.ID, Running: oc.Running}
			for _, port := range oc.Ports {
				pc.Ports = append(pc.Ports, consumer.Port(port))
			}
			p.Containers = append(p.Containers, pc)
		}
		pods = append(pods, p)
	}
	return pods
}
