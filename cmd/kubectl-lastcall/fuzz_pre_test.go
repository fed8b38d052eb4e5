package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// FuzzDataplane: whatever stands in a cluster's ConfigMaps and flags, one answer comes of it that a terminal can show, and
// it is not "can be measured" unless that is what they say.
func FuzzDataplane(f *testing.F) {
	f.Add("mode: nftables\n", "", "", "", "v1.36.3", uint8(80))
	f.Add("", "true", "", "", "v1.36.3", uint8(80))
	f.Add("", "", "antreaProxy: {proxyAll: true}", "", "v1.36.3", uint8(20))
	f.Add("", "", "", "--proxy-mode=ipvs", "v1.36.3+k3s1", uint8(200))
	f.Add("mode: \"\\e[2J\"\n", "\x1b[2J", "{", "--proxy-mode=\u202e", "v1+rke2\n", uint8(40))
	f.Fuzz(func(t *testing.T, proxy, cilium, antrea, flag, kubelet string, width uint8) {
		g := ground{namespace: "lastcall", configs: map[string]corev1.ConfigMap{}}
		for name, data := range map[string]map[string]string{"kube-proxy": {"config.conf": proxy},
			"cilium-config": {"kube-proxy-replacement": cilium}, "antrea-config": {"antrea-agent.conf": antrea}} {
			for _, text := range data {
				if text != "" {
					g.configs[name] = corev1.ConfigMap{Data: data}
				}
			}
		}
		if flag != "" {
			s := appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Name: "kube-proxy"}}
			s.Spec.Template.Spec.Containers = []corev1.Container{{Args: []string{flag}}}
			g.daemonSets = append(g.daemonSets, s)
		}
		var n corev1.Node
		n.Name, n.Status.NodeInfo.KubeletVersion, n.Status.NodeInfo.OperatingSystem = kubelet, kubelet, "linux"
		g.nodes = []corev1.Node{n}

		fs := g.dataplaneFindings()
		if len(fs) == 0 {
			t.Fatal("nothing is said")
		}
		measured := slices.ContainsFunc(fs, func(f finding) bool { return f.Result == ok })
		replaced := strings.EqualFold(cilium, "true") || strings.EqualFold(cilium, "strict")
		if mode, _ := g.proxyMode(); measured && (replaced || mode != "nftables" && mode != "iptables") {
			t.Errorf("said to be measured: mode %q, Cilium's replacement %q", mode, cilium)
		}
		var out bytes.Buffer
		view{screen: screen{width: int(width), terminal: true, colour: true}}.findings(&out, append(fs, g.nodeFindings()...))
		checkShown(t, out.Bytes())
	})
}
