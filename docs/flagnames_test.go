package docs

import (
	"maps"
	"regexp"
	"testing"
)

// others are flags of other programs that the documents name.
var others = map[string]string{
	"sync-rate-limit": "ingress-nginx", "set": "helm", "set-json": "helm", "install": "helm", "reuse-values": "helm", "wait": "helm",
	"namespace": "kubectl, helm", "context": "kubectl", "kubeconfig": "kubectl", "server-side": "kubectl", "role": "kubectl", "group": "kubectl", "user": "kubectl",
	"serviceaccount": "kubectl", "patch-file": "kubectl", "overwrite": "kubectl", "audience": "kubectl", "all": "skopeo", "previous": "kubectl", "tail": "kubectl", "field-selector": "kubectl", "raw": "kubectl", "dport": "conntrack",
	"help": "all", "version": "all", "metrics-bind-address": "kube-proxy", "proxy-mode": "kube-proxy",
}

var flagName = regexp.MustCompile("(?:^|[\\s`(\\[,'\"])--([a-z][a-z-]+)")

// TestFlagNames: each --flag that a document names, in a sentence or in code, is one of a program of ours, or of another that is
// known here.
func TestFlagNames(t *testing.T) {
	known := map[string]bool{}
	for _, dir := range []string{"../cmd/lastcall", "../cmd/kubectl-lastcall", "../bench/testbed"} {
		maps.Copy(known, flagsOf(t, dir))
	}
	n := 0
	eachLine(t, func(f string, line int, l string) {
		for _, m := range flagName.FindAllStringSubmatch(l, -1) {
			n++
			if !known[m[1]] && others[m[1]] == "" {
				t.Errorf("%s:%d: no program of ours has a flag --%s", f, line, m[1])
			}
		}
	})
	if n < 50 {
		t.Errorf("only %d flags were found", n)
	}
}
