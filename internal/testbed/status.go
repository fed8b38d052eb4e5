//go:build linux

package testbed

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Status is what a cluster looks like at one moment.
type Status struct {
	Name       string
	Version    string
	Started    time.Time
	Kubeconfig string
	Problem    string `json:",omitempty"` // why it does not work, if it does not
	Services   []Service
	Nodes      []NodeStatus
	Guests     []Guest `json:",omitempty"` // pods of what Spec.With brought
}

// NodeStatus is a Node, and whether the API server calls it ready.
type NodeStatus struct {
	Node
	Ready string
}

// Status looks at every program and node.
func (c *Cluster) Status(ctx context.Context) Status {
	s := Status{Name: c.Spec.Name, Version: c.Spec.Version, Started: c.state.Started, Kubeconfig: c.Kubeconfig}
	if err := c.healthy(ctx); err != nil {
		s.Problem = err.Error()
	}
	for _, name := range controlPlaneServices {
		if svc, err := c.Service(controlPlane, name); err == nil {
			s.Services = append(s.Services, svc)
		}
	}
	ready := c.readiness(ctx)
	for _, n := range c.Nodes {
		for _, name := range n.services() {
			if svc, err := c.Service(n.Name, name); err == nil {
				s.Services = append(s.Services, svc)
			}
		}
		state := ready[n.Name]
		if state == "" {
			state = "unknown"
		}
		s.Nodes = append(s.Nodes, NodeStatus{Node: n, Ready: state})
	}
	s.Guests = c.guestsNow(ctx, &s.Problem)
	return s
}

// guestsNow lists the guests, and adds to the problem what is wrong with them.
func (c *Cluster) guestsNow(ctx context.Context, problem *string) []Guest {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	all, err := c.Guests(ctx)
	if err != nil && *problem == "" {
		*problem = err.Error()
	}
	for _, g := range all {
		if !g.Ready && *problem == "" {
			*problem = fmt.Sprintf("pod %s of %s is not ready", g.Pod, g.Of)
		}
	}
	return all
}

func (c *Cluster) readiness(ctx context.Context) map[string]string {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	ready := map[string]string{}
	nodes, err := c.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return ready
	}
	for _, n := range nodes.Items {
		for _, cond := range n.Status.Conditions {
			if cond.Type == corev1.NodeReady {
				ready[n.Name] = map[corev1.ConditionStatus]string{corev1.ConditionTrue: "ready", corev1.ConditionFalse: "not ready"}[cond.Status]
			}
		}
	}
	return ready
}

// Print writes the status for people.
func (s Status) Print(out io.Writer) error {
	state := "running"
	if s.Problem != "" {
		state = "broken: " + s.Problem
	}
	fmt.Fprintf(out, "cluster %q, Kubernetes %s, up %s, %s\n", s.Name, s.Version, time.Since(s.Started).Round(time.Second), state)
	fmt.Fprintf(out, "export KUBECONFIG=%s\n\n", s.Kubeconfig)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NODE\tMODE\tKUBE-PROXY\tREADY\tADDRESS\tPODS")
	for _, n := range s.Nodes {
		pods := n.PodCIDR
		if n.Thin {
			pods = "(thin)"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", n.Name, n.Mode, n.Version, n.Ready, n.IP, pods)
	}
	fmt.Fprintln(w, "\t\t\t\t\t")
	fmt.Fprintln(w, "MACHINE\tPROGRAM\tPID\tUP\t\t")
	for _, svc := range s.Services {
		pid, up := fmt.Sprint(svc.Pid), time.Since(svc.Started).Round(time.Second).String()
		if svc.Exited {
			pid, up = "-", svc.Status
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t\t\n", svc.Machine, svc.Name, pid, up)
	}
	if len(s.Guests) > 0 {
		fmt.Fprintln(w, "\t\t\t\t\t")
		fmt.Fprintln(w, "WITH\tPOD\tNODE\tREADY\tADDRESS\t")
	}
	for _, g := range s.Guests {
		fmt.Fprintf(w, "%s\t%s/%s\t%s\t%t\t%s\t\n", strings.TrimSpace(g.Of+" "+g.Version), g.Namespace, g.Pod, g.Node, g.Ready, g.IP)
	}
	return w.Flush()
}
