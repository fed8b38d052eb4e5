package main

import (
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/yaml"
)

// replacement is something that programs Services instead of kube-proxy, and the sign by which it is seen.
type replacement struct {
	name string
	seen func(ground) (sign string, active bool)
}

var replacements = []replacement{
	{"Cilium's kube-proxy replacement", func(g ground) (string, bool) {
		v := strings.ToLower(g.configs["cilium-config"].Data["kube-proxy-replacement"])
		return "ConfigMap kube-system/cilium-config has kube-proxy-replacement: " + v, v == "true" || v == "strict"
	}},
	{"GKE Dataplane V2 (Cilium)", func(g ground) (string, bool) { return "DaemonSet anetd", g.set("anetd") != nil }},
	{"kube-router's service proxy", func(g ground) (string, bool) {
		s := g.set("kube-router")
		return "DaemonSet kube-router runs without --run-service-proxy=false", s != nil && !slices.Contains(args(s), "--run-service-proxy=false")
	}},
	{"AntreaProxy in place of kube-proxy", func(g ground) (string, bool) {
		for _, text := range g.configs["antrea-config"].Data {
			var c struct {
				Proxy struct {
					All bool `json:"proxyAll"`
				} `json:"antreaProxy"`
			}
			if yaml.Unmarshal([]byte(text), &c) == nil && c.Proxy.All {
				return "ConfigMap kube-system/antrea-config has proxyAll: true", true
			}
		}
		return "", false
	}},
	{"Calico's eBPF dataplane", func(g ground) (string, bool) {
		s := g.set("calico-node")
		return "DaemonSet calico-node has FELIX_BPFENABLED", s != nil && env(s, "FELIX_BPFENABLED") == "true"
	}},
	{"OVN-Kubernetes", func(g ground) (string, bool) { return "DaemonSet ovnkube-node", g.set("ovnkube-node") != nil }},
}

const measurable = "kube-proxy in nftables mode and in iptables mode can be measured; nothing else yet."

// dataplaneFindings says what programs Services here, and whether that can be measured.
func (g ground) dataplaneFindings() (fs []finding) {
	for _, r := range replacements {
		if sign, active := r.seen(g); active {
			fs = append(fs, finding{Check: "dataplane", Result: fail, What: fmt.Sprintf("%s is NOT MEASURED (%s)", r.name, sign), Do: measurable})
		}
	}
	if len(fs) > 0 {
		return fs
	}
	mode, source := g.proxyMode()
	f := finding{Check: "dataplane", What: fmt.Sprintf("kube-proxy, mode %s (%s)", mode, source)}
	switch mode {
	case "nftables":
		f.Result = ok
	case "iptables":
		f.Result = ok
		f.What += ": measured, less precisely on nodes where that is iptables-legacy; agents say which they found"
	case "":
		f.Result, f.What = unknown, "what programs Services here cannot be seen from the API: "+source
		f.Do = measurable + "\nOn a node, `curl localhost:10249/proxyMode` says the mode of kube-proxy."
	default:
		f.Result, f.What, f.Do = fail, f.What+": NOT MEASURED", measurable
	}
	return []finding{f}
}

// proxyMode is kube-proxy's, and where that was read; "" if it cannot be told.
func (g ground) proxyMode() (mode, source string) {
	for _, m := range []struct{ name, key string }{{"kube-proxy", "config.conf"}, {"kube-proxy-config", "config"}} { // kubeadm, EKS
		text, has := g.configs[m.name].Data[m.key]
		if !has {
			continue
		}
		var c struct {
			Mode string `json:"mode"`
		}
		if err := yaml.Unmarshal([]byte(text), &c); err != nil {
			return "", fmt.Sprintf("ConfigMap kube-system/%s is not understood: %v", m.name, err)
		}
		return either(c.Mode, "iptables"), "ConfigMap kube-system/" + m.name
	}
	if s := g.set("kube-proxy"); s != nil {
		for _, a := range args(s) {
			if m, has := strings.CutPrefix(a, "--proxy-mode="); has {
				return m, "flag of DaemonSet kube-proxy"
			}
		}
		return "iptables", "DaemonSet kube-proxy, by default"
	}
	for _, n := range g.nodes {
		if v := n.Status.NodeInfo.KubeletVersion; strings.Contains(v, "+k3s") || strings.Contains(v, "+rke2") {
			return "iptables", "the default of " + v + ", which runs kube-proxy itself"
		}
	}
	switch {
	case g.setsErr != nil:
		return "", "DaemonSets: " + g.setsErr.Error()
	case g.configErr != nil:
		return "", "ConfigMaps of kube-system: " + g.configErr.Error()
	}
	return "", "no DaemonSet and no ConfigMap of kube-proxy or of a replacement that is known here"
}

func (g ground) set(name string) *appsv1.DaemonSet {
	for i := range g.daemonSets {
		if g.daemonSets[i].Name == name {
			return &g.daemonSets[i]
		}
	}
	return nil
}

func args(s *appsv1.DaemonSet) (all []string) {
	for _, c := range s.Spec.Template.Spec.Containers {
		all = append(append(all, c.Command...), c.Args...)
	}
	return all
}

func env(s *appsv1.DaemonSet, name string) string {
	for _, c := range s.Spec.Template.Spec.Containers {
		for _, e := range c.Env {
			if e.Name == name {
				return strings.ToLower(e.Value)
			}
		}
	}
	return ""
}
