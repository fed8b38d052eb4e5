package main

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestParseTarget(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"deploy/shop", "deployment/shop"}, {"deployment shop", "deployment/shop"}, {"Deployments/shop", "deployment/shop"},
		{"deployment.apps/shop", "deployment/shop"}, {"deployments.v1.apps shop", "deployment/shop"},
		{"sts/db", "statefulset/db"}, {"ds x", "daemonset/x"}, {"rs/x", "replicaset/x"}, {"jobs/x", "job/x"},
		{"po/x", "pod/x"}, {"pods x", "pod/x"}, {"no/x", "node/x"}, {"node/ip-10-3-7-21.internal", "node/ip-10-3-7-21.internal"},
		{"deploy", "deployment/"},
		{"deployment.batch/x", "error"}, {"gizmo/x", "error"}, {"deploy/", "error"}, {"/x", "error"}, {"a/b/c", "error"}, {"deploy a b", "error"}, {"", "error"},
	} {
		got, err := parseTarget(strings.Fields(c.args), func() (meta.RESTMapper, error) { return nil, errors.New("no cluster") })
		if text := got.String(); err == nil && text != c.want || err != nil && c.want != "error" {
			t.Errorf("%q: %s, %v, want %s", c.args, text, err, c.want)
		}
	}
}

// TestEscaped: what is printed is the same JSON, and nothing in it does anything to a terminal.
func TestEscaped(t *testing.T) {
	for _, s := range []string{"plain", "é…", "\x1b[2J", "\u009b", "\u202e", "\u0300", "\U000e0001", "tab\t", "quote\"\\", "\u05d0", "\U0001f600", "\u2028"} {
		in, err := json.Marshal(map[string]string{"s": s})
		if err != nil {
			t.Fatal(err)
		}
		out := escaped(in)
		var back map[string]string
		if err := json.Unmarshal(out, &back); err != nil || back["s"] != s {
			t.Errorf("%q became %s: %q, %v", s, out, back["s"], err)
		}
		if strings.ContainsAny(string(out), "\x1b\u009b\u202e\u0300\U000e0001\u05d0\u2028") {
			t.Errorf("%q: %s", s, out)
		}
	}
}

func TestShell(t *testing.T) {
	for in, want := range map[string]string{"node-1": "node-1", "a b": "'a b'", "it's": `'it'\''s'`, "$(rm)": "'$(rm)'", "": "''", "me@example.com": "me@example.com"} {
		if got := shell(in); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}

func TestBindCommand(t *testing.T) {
	n := need{namespace: "lastcall-system", prefix: "lastcall"}
	for user, want := range map[string]string{
		"jane@example.com": "kubectl -n lastcall-system create rolebinding lastcall-user-jane-example.com --role=lastcall-user --user=jane@example.com",
		"":                 "kubectl -n lastcall-system create rolebinding lastcall-user-me --role=lastcall-user --user=USER",
		"system:serviceaccount:ci:robot": "kubectl -n lastcall-system create rolebinding lastcall-user-system-serviceaccount-ci-robot " +
			"--role=lastcall-user --serviceaccount=ci:robot",
		"$(x) y": "kubectl -n lastcall-system create rolebinding lastcall-user--x-y --role=lastcall-user --user='$(x) y'",
	} {
		if got := bindCommand(n, user); got != want {
			t.Errorf("%q: %s", user, got)
		}
	}
}

func TestProxyMode(t *testing.T) {
	config := func(name, key, text string) ground {
		return ground{configs: map[string]corev1.ConfigMap{name: {Data: map[string]string{key: text}}}}
	}
	set := func(name string, args []string, env ...corev1.EnvVar) ground {
		return ground{daemonSets: []appsv1.DaemonSet{{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: appsv1.DaemonSetSpec{Template: corev1.PodTemplateSpec{
			Spec: corev1.PodSpec{Containers: []corev1.Container{{Args: args, Env: env}}}}}}}}
	}
	node := func(kubelet string) ground {
		return ground{nodes: []corev1.Node{{Status: corev1.NodeStatus{NodeInfo: corev1.NodeSystemInfo{KubeletVersion: kubelet}}}}}
	}
	for _, c := range []struct {
		name   string
		ground ground
		result result
		want   string
	}{
		{"kubeadm, nftables", config("kube-proxy", "config.conf", "mode: nftables\n"), ok, "mode nftables"},
		{"kubeadm, default", config("kube-proxy", "config.conf", "mode: \"\"\n"), ok, "mode iptables"},
		{"EKS, ipvs", config("kube-proxy-config", "config", "mode: ipvs\n"), fail, "mode ipvs (ConfigMap kube-system/kube-proxy-config): NOT MEASURED"},
		{"garbage", config("kube-proxy", "config.conf", "mode: ["), unknown, "not understood"},
		{"flag", set("kube-proxy", []string{"--v=2", "--proxy-mode=ipvs"}), fail, "NOT MEASURED"},
		{"no flag", set("kube-proxy", nil), ok, "by default"},
		{"k3s", node("v1.35.1+k3s1"), ok, "runs kube-proxy itself"},
		{"nothing", ground{}, unknown, "no DaemonSet"},
		{"may not look", ground{setsErr: errors.New("forbidden")}, unknown, "forbidden"},
		{"Cilium beside kube-proxy", config("cilium-config", "kube-proxy-replacement", "false"), unknown, "no DaemonSet"},
		{"Cilium", config("cilium-config", "kube-proxy-replacement", "True"), fail, "Cilium"},
		{"Dataplane V2", set("anetd", nil), fail, "GKE"},
		{"kube-router", set("kube-router", []string{"--run-router=true"}), fail, "kube-router"},
		{"kube-router for routes alone", set("kube-router", []string{"--run-service-proxy=false"}), unknown, "no DaemonSet"},
		{"Antrea", config("antrea-config", "antrea-agent.conf", "antreaProxy:\n  proxyAll: true\n"), fail, "Antrea"},
		{"Antrea beside kube-proxy", config("antrea-config", "antrea-agent.conf", "antreaProxy:\n  proxyAll: false\n"), unknown, "no DaemonSet"},
		{"Calico eBPF", set("calico-node", nil, corev1.EnvVar{Name: "FELIX_BPFENABLED", Value: "true"}), fail, "Calico"},
		{"Calico", set("calico-node", nil), unknown, "no DaemonSet"},
		{"OVN", set("ovnkube-node", nil), fail, "OVN"},
	} {
		fs := c.ground.dataplaneFindings()
		if len(fs) != 1 || fs[0].Result != c.result || !strings.Contains(fs[0].What, c.want) {
			t.Errorf("%s: %+v", c.name, fs)
		}
	}
}

func TestKernelVersion(t *testing.T) {
	for in, want := range map[string][2]int{"6.18.44": {6, 18}, "5.4.0-1-generic": {5, 4}, "4.18.0-553.el8.x86_64": {4, 18}, "6.1": {6, 1}, "5.15+": {5, 15}} {
		if got, known := kernelVersion(in); !known || got != want {
			t.Errorf("%s: %v, %v", in, got, known)
		}
	}
	for _, in := range []string{"", "six", "6", "6.x"} {
		if _, known := kernelVersion(in); known {
			t.Errorf("%q is known", in)
		}
	}
}

func TestWhyMissing(t *testing.T) {
	s := survey{agents: []appsv1.DaemonSet{{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "agent"}}}}
	s.agents[0].Spec.Template.Spec.Tolerations = []corev1.Toleration{{Key: "ok", Operator: corev1.TolerationOpExists}}
	s.pods = []corev1.Pod{{Spec: corev1.PodSpec{NodeName: "starting"}, Status: corev1.PodStatus{Phase: corev1.PodPending}}}
	node := func(name string, ready corev1.ConditionStatus, taints ...corev1.Taint) corev1.Node {
		return corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.NodeSpec{Taints: taints},
			Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready}}}}
	}
	for _, c := range []struct {
		node corev1.Node
		why  string
		r    result
		do   string
	}{
		{node("tainted", corev1.ConditionTrue, corev1.Taint{Key: "k", Effect: corev1.TaintEffectNoExecute}), "taint k:NoExecute", fail, `"operator":"Exists","effect":"NoExecute"`},
		{node("tolerated", corev1.ConditionTrue, corev1.Taint{Key: "ok", Value: "v", Effect: corev1.TaintEffectNoSchedule}), "no pod there", fail, "describe daemonset agent"},
		{node("starting", corev1.ConditionTrue), "Pending, not ready", fail, "describe pod"},
		{node("down", corev1.ConditionUnknown, corev1.Taint{Key: corev1.TaintNodeUnreachable, Effect: corev1.TaintEffectNoExecute}), "the node is not ready", warn, "describe node down"},
	} {
		a := s.whyMissing(c.node)
		if !strings.Contains(a.why, c.why) || a.result != c.r || !strings.Contains(a.do, c.do) {
			t.Errorf("%s: %+v", c.node.Name, a)
		}
	}
}
