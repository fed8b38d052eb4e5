//go:build linux

package testbed

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Guest is one pod of what Spec.With brought.
type Guest struct {
	Of        string // contour, coredns or haproxy
	Version   string // "" if it is that of the machine's package
	Namespace string
	Pod       string
	Node      string
	IP        string
	Ready     bool
}

// Guests lists the pods of what Spec.With brought that are not on their way out, by namespace and name. The pods of one
// alone are those of its name: contour, coredns or haproxy.
func (c *Cluster) Guests(ctx context.Context, of ...string) (all []Guest, err error) {
	for _, g := range guests {
		version, ok := c.Spec.has(g.name)
		if !ok || len(of) > 0 && !slices.Contains(of, g.name) {
			continue
		}
		pods, err := c.guestPods(ctx, g)
		if err != nil {
			return nil, err
		}
		for _, p := range pods {
			all = append(all, Guest{Of: g.name, Version: version, Namespace: p.Namespace, Pod: p.Name, Node: p.Spec.NodeName, IP: p.Status.PodIP, Ready: podReady(&p)})
		}
	}
	slices.SortFunc(all, func(a, b Guest) int { return strings.Compare(a.Namespace+"/"+a.Pod, b.Namespace+"/"+b.Pod) })
	return all, nil
}

func (c *Cluster) guestPods(ctx context.Context, g guest) (pods []corev1.Pod, err error) {
	for _, set := range g.pods {
		list, err := c.client.CoreV1().Pods(set.namespace).List(ctx, metav1.ListOptions{LabelSelector: set.selector})
		if err != nil {
			return nil, fmt.Errorf("listing the pods of %s: %w", g.name, err)
		}
		for _, p := range list.Items {
			if p.DeletionTimestamp == nil {
				pods = append(pods, p)
			}
		}
	}
	return pods, nil
}

// guestReady wants every Deployment and DaemonSet of a guest's namespaces to be as it should.
func (c *Cluster) guestReady(ctx context.Context, g guest) error {
	for _, set := range g.pods {
		selector := metav1.ListOptions{LabelSelector: set.selector}
		deployments, err := c.client.AppsV1().Deployments(set.namespace).List(ctx, selector)
		if err != nil {
			return err
		}
		daemons, err := c.client.AppsV1().DaemonSets(set.namespace).List(ctx, selector)
		if err != nil {
			return err
		}
		for _, d := range deployments.Items {
			if s := d.Status; s.ObservedGeneration < d.Generation || s.UpdatedReplicas < *d.Spec.Replicas || s.Replicas != *d.Spec.Replicas || s.AvailableReplicas < *d.Spec.Replicas {
				return fmt.Errorf("%s/%s: %d of %d are available%s", d.Namespace, d.Name, s.AvailableReplicas, *d.Spec.Replicas, c.whyNot(ctx, g))
			}
		}
		for _, d := range daemons.Items {
			if s := d.Status; s.ObservedGeneration < d.Generation || s.DesiredNumberScheduled == 0 || s.UpdatedNumberScheduled < s.DesiredNumberScheduled ||
				s.NumberAvailable < s.DesiredNumberScheduled {
				return fmt.Errorf("%s/%s: %d of %d are available%s", d.Namespace, d.Name, s.NumberAvailable, s.DesiredNumberScheduled, c.whyNot(ctx, g))
			}
		}
		if len(deployments.Items)+len(daemons.Items) == 0 {
			return fmt.Errorf("nothing in %s has %s", set.namespace, set.selector)
		}
	}
	return nil
}

// whyNot is what the containers of a guest that do not run wait for or ended with.
func (c *Cluster) whyNot(ctx context.Context, g guest) (why string) {
	pods, err := c.guestPods(ctx, g)
	if err != nil {
		return ""
	}
	for _, p := range pods {
		for _, s := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
			if w := s.State.Waiting; w != nil && w.Message != "" {
				why += fmt.Sprintf("; %s in %s: %s: %s", s.Name, p.Name, w.Reason, w.Message)
			}
			if t := s.LastTerminationState.Terminated; t != nil {
				why += fmt.Sprintf("; %s in %s ended with %d", s.Name, p.Name, t.ExitCode)
			}
		}
	}
	return why
}

func podReady(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}
