package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/lastcall-k8s/lastcall/hub/report"
)

// absence is why a node has no agent.
type absence struct {
	why, do string
	result  result
}

// agentFindings counts the agents, and says for each node without one why, and what to do.
func (s survey) agentFindings() []finding {
	if s.hubErr != nil && s.agentErr != nil && s.agentErr != errNoAgents {
		return []finding{{Check: "agents", Result: unknown, What: "the hub does not say, and the API server: " + oneLine(s.agentErr)}}
	}
	running, all, missing := s.missing()
	fs := []finding{}
	if running > 0 {
		fs = append(fs, finding{Check: "agents", Result: ok, What: fmt.Sprintf("%s of %s", report.Count(running), report.Plural(all, "node"))})
	}
	if all == 0 && s.hubErr == nil {
		fs = append(fs, finding{Check: "agents", Result: fail, What: "the hub knows of no node", Do: "It learns of nodes from the API server: is it new, or does its log say why?"})
	}
	by := map[absence][]string{}
	for node, a := range missing {
		by[a] = append(by[a], node)
	}
	groups := slices.SortedFunc(maps.Keys(by), func(a, b absence) int { return strings.Compare(a.why, b.why) })
	for _, a := range groups {
		nodes := slices.Sorted(slices.Values(by[a]))
		fs = append(fs, finding{Check: "agents", Result: a.result, What: fmt.Sprintf("none on %s: %s", some(nodes, 5), a.why), Do: a.do})
	}
	if s.agentErr == errNoAgents {
		fs = append(fs, finding{Check: "agents", Result: fail, What: errNoAgents.Error(), Do: "Is the chart installed as a whole? kubectl get daemonsets -A shows what there is."})
	}
	return fs
}

// missing finds the nodes without an agent: as the hub tells, else as the API server's pods tell. running agents
// answer the hub.
func (s survey) missing() (running, all int, missing map[string]absence) {
	missing = map[string]absence{}
	nodes := map[string]corev1.Node{}
	for _, n := range s.nodes {
		nodes[n.Name] = n
	}
	if s.hubErr == nil {
		for _, a := range s.status.Agents {
			n, known := nodes[a.Node]
			switch {
			case answers(a):
				running++
			case a.State != report.AgentMissing: // see readyFindings
			case known && len(s.agents) > 0:
				missing[a.Node] = s.whyMissing(n)
			default:
				missing[a.Node] = hubSays(a)
			}
		}
		return running, len(s.status.Agents), missing
	}
	for _, n := range s.nodes {
		if p := s.podOn(n.Name); p != nil && ready(*p) {
			running++
		} else if len(s.agents) > 0 {
			missing[n.Name] = s.whyMissing(n)
		}
	}
	return running, len(s.nodes), missing
}

func answers(a report.Agent) bool {
	return a.State == report.AgentFollowing || a.State == report.AgentCatchingUp
}

// hubSays is what the hub knows of a missing agent, where the API server may not be asked.
func hubSays(a report.Agent) absence {
	switch {
	case len(a.Taints) > 0:
		return absence{why: "its taints are not tolerated: " + strings.Join(a.Taints, ", "), result: fail,
			do: "Add tolerations for them to the chart's agent.tolerations."}
	case !a.NodeReady:
		return absence{why: "the node is not ready", result: warn}
	}
	return absence{why: either(a.Why, "nobody says why"), result: fail}
}

func (s survey) podOn(node string) *corev1.Pod {
	for i := range s.pods {
		if s.pods[i].Spec.NodeName == node && s.pods[i].DeletionTimestamp == nil {
			return &s.pods[i]
		}
	}
	return nil
}

func ready(p corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue })
}

// whyMissing: the pod does not run, or the DaemonSet does not want one there.
func (s survey) whyMissing(n corev1.Node) absence {
	set := s.agents[0]
	ns := shell(set.Namespace)
	if os := n.Status.NodeInfo.OperatingSystem; os != "" && os != "linux" {
		return absence{why: os + ": not measured", result: warn}
	}
	for key, want := range set.Spec.Template.Spec.NodeSelector {
		if n.Labels[key] != want {
			return absence{why: fmt.Sprintf("the agents' node selector wants %s=%s", key, want), result: fail,
				do: "Change the chart's agent.nodeSelector, or label the node:\nkubectl label node " + shell(n.Name) + " " + shell(key+"="+want)}
		}
	}
	if taints := untolerated(n.Spec.Taints, set.Spec.Template.Spec.Tolerations); len(taints) > 0 {
		return absence{why: "the agents do not tolerate the " + describeTaints(taints), do: tolerate(set, taints), result: fail}
	}
	if p := s.podOn(n.Name); p != nil {
		return absence{why: unready(*p), do: fmt.Sprintf("kubectl -n %s describe pod %s\nkubectl -n %s logs %s", ns, shell(p.Name), ns, shell(p.Name)), result: fail}
	}
	if !nodeReady(n) {
		return absence{why: "the node is not ready", do: "kubectl describe node " + shell(n.Name), result: warn}
	}
	return absence{why: "the DaemonSet has no pod there", do: fmt.Sprintf("kubectl -n %s describe daemonset %s", ns, shell(set.Name)), result: fail}
}

func nodeReady(n corev1.Node) bool {
	return slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}

// alwaysTolerated are the taints that the DaemonSet controller adds tolerations for by itself (k8s v1.36.3
// pkg/controller/daemon/util/daemonset_util.go, AddOrUpdateDaemonPodTolerations; network-unavailable for hostNetwork).
var alwaysTolerated = []string{corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable, corev1.TaintNodeDiskPressure, corev1.TaintNodeMemoryPressure,
	corev1.TaintNodePIDPressure, corev1.TaintNodeUnschedulable, corev1.TaintNodeNetworkUnavailable}

func untolerated(taints []corev1.Taint, tolerations []corev1.Toleration) (open []corev1.Taint) {
	for _, t := range taints {
		if t.Effect == corev1.TaintEffectPreferNoSchedule || slices.Contains(alwaysTolerated, t.Key) {
			continue
		}
		if !slices.ContainsFunc(tolerations, func(o corev1.Toleration) bool { return o.ToleratesTaint(logr.Discard(), &t, true) }) {
			open = append(open, t)
		}
	}
	return open
}

func describeTaints(taints []corev1.Taint) string {
	var parts []string
	for _, t := range taints {
		parts = append(parts, t.ToString())
	}
	word := "taint "
	if len(parts) > 1 {
		word = "taints "
	}
	return word + strings.Join(parts, ", ")
}

// tolerate is how to let the agents onto nodes with these taints: the values of the chart, and the change itself.
func tolerate(set appsv1.DaemonSet, taints []corev1.Taint) string {
	type patch struct {
		Op    string `json:"op"`
		Path  string `json:"path"`
		Value any    `json:"value"`
	}
	const path = "/spec/template/spec/tolerations"
	var patches []patch
	if len(set.Spec.Template.Spec.Tolerations) == 0 {
		patches = append(patches, patch{"add", path, []string{}})
	}
	all := slices.Clone(set.Spec.Template.Spec.Tolerations)
	for _, t := range taints {
		o := corev1.Toleration{Key: t.Key, Operator: corev1.TolerationOpEqual, Value: t.Value, Effect: t.Effect}
		if t.Value == "" {
			o.Operator = corev1.TolerationOpExists
		}
		all = append(all, o)
		patches = append(patches, patch{"add", path + "/-", o})
	}
	p, _ := json.Marshal(patches) // plain strings
	v, _ := json.Marshal(all)
	lines := fmt.Sprintf("For good, in the chart's values: agent.tolerations=%s\nAt once, until the next upgrade of the chart:\nkubectl -n %s patch daemonset %s --type=json -p %s",
		v, shell(set.Namespace), shell(set.Name), shell(string(p)))
	if release := set.Annotations["meta.helm.sh/release-name"]; release != "" {
		chart := either(set.Labels["helm.sh/chart"], "CHART")
		lines = fmt.Sprintf("For good (%s stands for where the chart is):\nhelm -n %s upgrade %s CHART --reuse-values --set-json %s\n"+
			"At once, until the next upgrade:\nkubectl -n %s patch daemonset %s --type=json -p %s", "CHART, "+chart+",",
			shell(set.Namespace), shell(release), shell("agent.tolerations="+string(v)), shell(set.Namespace), shell(set.Name), shell(string(p)))
	}
	return lines
}
