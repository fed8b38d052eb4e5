package watcher

import (
	"net/netip"
	"slices"
	"strings"
	"time"
	"unique"

	"github.com/lastcall-k8s/lastcall/ledger"
)

// The compact forms in which objects are held. A cluster of 10,000 Services with 10 endpoints each
// must fit beside everything else in an agent of 100 MiB (BenchmarkState), so nothing of the API's
// own types survives the decoder.

// name is an object's key.
type name struct{ namespace, name string }

func (n name) String() string { return n.namespace + "/" + n.name }

// service is what of a Service decides where its connections go.
type service struct {
	ports []servicePort
	// cluster4 and cluster6 are the cluster IPs, invalid in a family that the Service does not have.
	cluster4, cluster6 netip.Addr
	// external holds the external IPs and those load balancer IPs that kube-proxy programs, of both families.
	external []netip.Addr
	// headless: it has no cluster IP, and kube-proxy no part in it.
	headless bool
	// internalLocal is internalTrafficPolicy: Local; externalLocal is externalTrafficPolicy: Local of a
	// Service that is open to the outside.
	internalLocal, externalLocal bool
}

func (s *service) clusterIP(f ledger.Family) netip.Addr {
	if f == ledger.IPv6 {
		return s.cluster6
	}
	return s.cluster4
}

type servicePort struct {
	name, protocol string
	port, nodePort uint16
}

// uses reports whether any connection through the port is spread over the endpoints of the policy:
// UsesClusterEndpoints and UsesLocalEndpoints (k8s v1.36.3 pkg/proxy/serviceport.go:169-179).
func (s *service) uses(policy ledger.Policy, p servicePort, f ledger.Family) bool {
	if policy == ledger.Local {
		return s.internalLocal || s.externalLocal && s.accessible(p, f)
	}
	return !s.internalLocal || s.accessible(p, f)
}

// accessible is ExternallyAccessible: the port has another way in than the cluster IP. A node port
// counts in both families, an address in its own.
func (s *service) accessible(p servicePort, f ledger.Family) bool {
	return p.nodePort != 0 || slices.ContainsFunc(s.external, func(a netip.Addr) bool { return ledger.FamilyOf(a) == f })
}

// frontends are the addresses through which connections can get to the endpoints of the policy.
//
// The cluster IP leads to one of the two sets. External addresses lead to the cluster's whatever
// externalTrafficPolicy says: with Local, kube-proxy sends what comes from pods of this node, and from
// the node itself, to the endpoints of the whole cluster (k8s v1.36.3 pkg/proxy/iptables/proxier.go:1131-1160,
// nftables/proxier.go:1511-1548; for the node itself without any condition on its configuration). A new
// connection can take that path, so it has to land like any other.
func (s *service) frontends(policy ledger.Policy, p servicePort, f ledger.Family) []ledger.Frontend {
	var fs []ledger.Frontend
	if s.internalLocal == (policy == ledger.Local) {
		fs = append(fs, ledger.Frontend{Addr: s.clusterIP(f), Port: p.port})
	}
	if policy == ledger.Local && !s.externalLocal {
		return fs
	}
	for _, a := range s.external {
		if ledger.FamilyOf(a) == f {
			fs = append(fs, ledger.Frontend{Addr: a, Port: p.port})
		}
	}
	if p.nodePort != 0 {
		fs = append(fs, ledger.Frontend{Port: p.nodePort})
	}
	return fs
}

// slice is one EndpointSlice. It is not changed after it was stored, but for endpoint.since.
type slice struct {
	service   string // the Service in the same namespace
	version   string // resourceVersion
	family    ledger.Family
	ports     []slicePort
	endpoints []endpoint
}

type slicePort struct {
	name, protocol string
	port           uint16
}

// endpoint is one address of a slice. There may be a hundred thousand of them.
type endpoint struct {
	addr netip.Addr
	// uid is that of the pod; of an endpoint without targetRef it is "slice:namespace/service/address",
	// which stays the same when the endpoint moves between the slices of its Service.
	uid  string
	name string
	node unique.Handle[string]
	// zones and nodes are the topology hints.
	zones, nodes hints
	// since is when the endpoint was last taken into the expected set of its Service, as the time since
	// state.base; 0 is "before the agent started". One value serves all ports: a port added later is
	// older than it seems, which only weakens the bound that is derived from it.
	since time.Duration
	pass  uint32 // the pass that last set since

	ready, serving, terminating bool
}

// hints is a set of names; the zero value says that there is none. Few distinct sets exist in a cluster.
type hints struct{ joined unique.Handle[string] }

const hintSeparator = "\x00"

func makeHints(names []string) hints {
	if len(names) == 0 {
		return hints{}
	}
	return hints{unique.Make(strings.Join(names, hintSeparator))}
}

func (h hints) empty() bool { return h == hints{} }

func (h hints) has(name string) bool {
	if h.empty() {
		return false
	}
	for n := range strings.SplitSeq(h.joined.Value(), hintSeparator) {
		if n == name {
			return true
		}
	}
	return false
}

// pod is a pod of this agent's own node.
type pod struct {
	uid      string
	workload string // "type/name"
	// deletion is the deletionTimestamp, the zero time if there is none, and grace the
	// deletionGracePeriodSeconds beside it.
	deletion time.Time
	grace    int64
	terminal bool // phase Succeeded or Failed
	revision string
	// containers as they are configured, and those that have ended.
	containers []ledger.Container
	exits      []ledger.Exit
	addrs      []netip.Addr
	// reason is why it departs, "" if it does not.
	reason ledger.Reason
	own    *OwnPod
}

// node is the agent's own node.
type node struct{ zone, uid string }
