package sizing

import (
	"slices"
	"strings"

	"github.com/lastcall-k8s/lastcall/hub/report"
)

// Regime is what makes episodes comparable. What is unknown is empty.
type Regime struct {
	// Dataplane is the mode of kube-proxy on the nodes, "nftables", or several: "iptables-nft+nftables".
	Dataplane string `json:"dataplane,omitempty"`
	// Version and MinSync (minSyncPeriod, "1s") are kube-proxy's, where it says so; of nodes that differ all: "unknown, v1.36.3".
	Version string `json:"version,omitempty"`
	MinSync string `json:"min_sync,omitempty"`
	// Places are the kinds of places that are measured, sorted: "kube-proxy+traefik".
	Places   string `json:"places,omitempty"`
	Policies string `json:"policies,omitempty"` // of the Services: "local" if some path was of traffic policy Local
	Nodes    int    `json:"nodes,omitempty"`
}

// RegimeOf reads off an episode's rows what they say: kube-proxy, kinds of places, policies, and how many nodes were expected.
func RegimeOf(e report.Explanation) Regime {
	var backends, kinds, versions, minSyncs []string
	r := Regime{}
	for _, d := range e.Departures {
		for _, l := range d.Slowest {
			if l.Backend != "" && l.Replica == "" { // of a consumer's replica it says something else
				backends = append(backends, l.Backend)
			}
		}
		for _, k := range d.Kinds {
			kinds = append(kinds, k.Kind)
		}
		r.Nodes = max(r.Nodes, d.Expected)
		if d.Local {
			r.Policies = "local"
		}
		if p := d.Proxies; p != nil {
			versions, minSyncs = append(versions, words(p.Versions)...), append(minSyncs, words(p.MinSync)...)
		}
	}
	r.Dataplane, r.Places, r.Version, r.MinSync = set("+", backends), set("+", kinds), set(", ", versions), set(", ", minSyncs)
	return r
}

func set(sep string, words []string) string {
	slices.Sort(words)
	return strings.Join(slices.Compact(words), sep)
}

func words(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ", ")
}

// differs says in what an episode's regime differs from the current one, "" if in nothing that counts.
func (a Regime) differs(now Regime) string {
	switch {
	case a.Dataplane != now.Dataplane:
		return "dataplane"
	case !agree(a.Version, now.Version):
		return "version"
	case !agree(a.MinSync, now.MinSync):
		return "minSyncPeriod"
	case a.Places != now.Places:
		return "places"
	case a.Policies != now.Policies:
		return "policies"
	case a.Nodes > 2*now.Nodes || now.Nodes > 2*a.Nodes:
		return "nodes"
	}
	return ""
}

// agree: what kube-proxies said may be the same. One that did not answer contradicts nobody: among many there is one at any time.
func agree(a, b string) bool {
	in, some := known(a)
	of, more := known(b)
	within := func(x, y []string) bool {
		return !slices.ContainsFunc(x, func(w string) bool { return !slices.Contains(y, w) })
	}
	return (more || within(in, of)) && (some || within(of, in))
}

// known splits "unknown, v1.36.3"; unknown is true if something is.
func known(s string) (ws []string, unknown bool) {
	ws = words(s)
	n := len(ws)
	ws = slices.DeleteFunc(ws, func(w string) bool { return w == "unknown" })
	return ws, n == 0 || len(ws) < n
}

// Burst is the class of an episode by the most pods that were terminating at once.
type Burst string

const (
	Single Burst = "1"
	Few    Burst = "2-9"
	Many   Burst = "10+"
)

// bursts, the larger the later.
var bursts = []Burst{Single, Few, Many}

// BurstOf is the class of an episode with so many pods terminating at once.
func BurstOf(most int) Burst {
	switch {
	case most >= 10:
		return Many
	case most >= 2:
		return Few
	}
	return Single
}
