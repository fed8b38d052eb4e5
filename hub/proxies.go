package hub

import (
	"slices"
	"strings"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// proxySet collects what the kube-proxies of many nodes are. There are few different ones.
type proxySet struct{ versions, minSyncs []string }

// maxProxies bounds how many different ones are told apart.
const maxProxies = 16

func (s *proxySet) add(p ledger.Proxy) {
	s.versions, s.minSyncs = with(s.versions, p.Version), with(s.minSyncs, p.MinSync)
}

func with(set []string, word string) []string {
	if slices.Contains(set, word) || len(set) >= maxProxies {
		return set
	}
	return append(set, word)
}

// report is nil if nobody said anything.
func (s *proxySet) report() *report.Proxies {
	p := report.Proxies{Versions: words(s.versions), MinSync: words(s.minSyncs)}
	if p == (report.Proxies{}) {
		return nil
	}
	return &p
}

// words is a set, "" if all that is in it is unknown.
func words(set []string) string {
	if len(set) == 0 || len(set) == 1 && set[0] == "" {
		return ""
	}
	set = slices.Clone(set)
	for i, w := range set {
		if w == "" {
			set[i] = "unknown"
		}
	}
	slices.Sort(set)
	return strings.Join(set, ", ")
}
