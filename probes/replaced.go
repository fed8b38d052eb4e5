package probes

import (
	"bytes"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
)

// errReplaced: something that is not measured programs Services here.
var errReplaced = errors.New("programs Services on this node, and is not measured: kube-proxy in nftables mode and in iptables mode are")

// ipvs is kube-proxy's mode of that name.
const ipvs = "ipvs"

// replacements are signs of other service proxies in a node's network namespace: network interfaces they make, which
// show without any privilege. They are asked only where no rules of kube-proxy are hooked, for most of these are CNI
// plugins that may as well run beside kube-proxy.
var replacements = []struct{ link, name string }{
	{"kube-ipvs0", ipvs},              // k8s v1.36.3 pkg/proxy/ipvs/proxier.go:94; removed when the mode is left (cleanup.go:103)
	{"kube-dummy-if", "kube-router"},  // its service proxy, on IPVS
	{"cilium_host", "cilium"},         //
	{"bpfin.cali", "calico-ebpf"},     // felix, only with its eBPF dataplane
	{"ovn-k8s-mp0", "ovn-kubernetes"}, //
	{"antrea-gw0", "antrea"},          //
}

// replacement names what the interfaces of a node point to; "" is nothing that is known here.
func replacement(links []string) string {
	for _, r := range replacements {
		if slices.Contains(links, r.link) {
			return r.name
		}
	}
	return ""
}

// linkNames lists the network interfaces of the calling thread's namespace.
func linkNames() []string {
	b, err := os.ReadFile("/proc/thread-self/net/dev")
	if err != nil {
		return nil
	}
	return parseLinkNames(b)
}

// parseLinkNames reads /proc/net/dev: two lines of headings, then "name: counters".
func parseLinkNames(b []byte) (names []string) {
	for line := range bytes.Lines(b) {
		name, _, ok := strings.Cut(strings.TrimSpace(string(line)), ":")
		if ok && !strings.Contains(name, "|") {
			names = append(names, name)
		}
	}
	return names
}

// proxyMode asks kube-proxy for its mode (k8s v1.36.3 cmd/kube-proxy/app/server.go:478); "" if nobody answers there, or
// something else does.
func proxyMode(address string) (mode string) {
	ask(address, "/proxyMode", 64, func(r io.Reader) {
		if text, err := io.ReadAll(r); err == nil {
			mode = strings.TrimSpace(string(text))
		}
	})
	return mode
}
