package main

import (
	"context"
	"errors"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/lastcall-k8s/lastcall/hub/report"
)

// survey is what could be learnt of an installation. Where something could not, the error is kept beside it.
type survey struct {
	cli      string // version
	hub      string // where it is
	hubErr   error  // not found, or not answering
	status   report.Status
	place    installed // the zero value with --hub
	agents   []appsv1.DaemonSet
	agentErr error
	pods     []corev1.Pod // of the agents
	nodes    []corev1.Node
	rights   []right
	rightErr error
}

const agentSelector = partOf + ",app.kubernetes.io/component=agent"

func (c *cli) survey(ctx context.Context) (s survey) {
	s.cli = buildVersion()
	k, kErr := c.kubernetes()
	var hub *client
	switch {
	case c.hub.url != "":
		hub, s.hubErr = c.connect(ctx)
	case kErr != nil:
		s.hubErr = kErr
	default:
		if s.place, s.hubErr = findHub(ctx, k, c.hub.namespace); s.hubErr == nil {
			hub, s.hubErr = c.forwardTo(ctx, k, s.place)
		}
	}
	if hub != nil {
		defer hub.close()
		s.hub = hub.name
		s.status, s.hubErr = get[report.Status](ctx, hub, "/v1/status", nil)
	}
	if kErr != nil {
		s.agentErr, s.rightErr = kErr, kErr
		return s
	}
	s.cluster(ctx, k, c.hub.namespace)
	return s
}

// cluster reads what the API server knows of the nodes and the agents.
func (s *survey) cluster(ctx context.Context, k kubernetes.Interface, namespace string) {
	// Without the nodes, reasons are missing and nothing else.
	if nodes, err := k.CoreV1().Nodes().List(ctx, metav1.ListOptions{}); err == nil {
		s.nodes = nodes.Items
	}
	if s.place.pod.Name != "" {
		namespace = s.place.namespace()
	}
	sets, err := k.AppsV1().DaemonSets(namespace).List(ctx, metav1.ListOptions{LabelSelector: agentSelector})
	switch {
	case err != nil:
		s.agentErr = answered(err, "list daemonsets")
	case len(sets.Items) == 0:
		s.agentErr = errNoAgents
	default:
		s.agents = sets.Items
		// Likewise.
		if pods, err := k.CoreV1().Pods(sets.Items[0].Namespace).List(ctx, metav1.ListOptions{LabelSelector: agentSelector}); err == nil {
			s.pods = pods.Items
		}
	}
	s.rights, s.rightErr = accountRights(ctx, k, s.accounts())
}

var errNoAgents = errors.New("no DaemonSet labelled " + agentSelector)

// accounts are the service accounts of agents and hub, by component.
func (s *survey) accounts() map[string]string {
	a := map[string]string{}
	if len(s.agents) > 0 {
		a["agent"] = s.agents[0].Namespace + ":" + either(s.agents[0].Spec.Template.Spec.ServiceAccountName, "default")
	}
	if s.place.pod.Name != "" {
		a["hub"] = s.place.namespace() + ":" + either(s.place.pod.Spec.ServiceAccountName, "default")
	}
	return a
}

// findings judges; it asks nobody.
func (s survey) findings() (fs []finding) {
	fs = append(fs, s.hubFinding())
	if s.hubErr == nil {
		fs = append(fs, s.storeFinding())
	}
	fs = append(fs, s.agentFindings()...)
	if s.hubErr == nil {
		fs = append(fs, s.dataplaneFindings()...)
		fs = append(fs, s.readyFindings()...)
		fs = append(fs, s.consumerFindings()...)
	}
	fs = append(fs, s.rightFindings()...)
	if s.hubErr == nil && len(s.status.Agents) > 0 {
		fs = append(fs, s.clockFinding(), s.lostFinding())
	}
	if s.hubErr == nil {
		fs = append(fs, s.versionFinding())
	}
	return fs
}
