package watcher

import (
	"net/netip"
	"unique"

	"github.com/lastcall-k8s/lastcall/ledger"
)

// place is where connections enter: topology hints are relative to it.
type place struct{ node, zone string }

// expectation is what one service port spreads connections over in one family, under one policy.
type expectation struct {
	service   *service
	port      servicePort
	family    ledger.Family
	policy    ledger.Policy
	endpoints map[netip.AddrPort]*endpoint
}

// portID is what stays of a service port when its numbers are edited.
type portID struct {
	name, protocol string
	family         ledger.Family
	policy         ledger.Policy
}

func (x expectation) id() portID { return portID{x.port.name, x.port.protocol, x.family, x.policy} }

func (x expectation) frontends() []ledger.Frontend {
	return x.service.frontends(x.policy, x.port, x.family)
}

func (x expectation) path(n name, addr netip.AddrPort) ledger.Path {
	return ledger.Path{
		Service: ledger.ServicePort{Namespace: n.namespace, Name: n.name,
			Port: x.port.name, Protocol: x.port.protocol},
		Policy:   x.policy,
		Endpoint: addr,
	}
}

// expect says which endpoints kube-proxy on the place uses for a Service with these slices, which
// must be in a stable order. Ports that use none are left out.
//
// A port may use both policies, and each has its own set: an endpoint that terminates leaves that of
// the cluster as soon as another one is ready anywhere, and is kept for Local while it is the only one
// on its node.
func expect(svc *service, slices []*slice, at place) []expectation {
	if svc == nil {
		return nil
	}
	var xs []expectation
	for _, family := range []ledger.Family{ledger.IPv4, ledger.IPv6} {
		if !svc.clusterIP(family).IsValid() {
			continue
		}
		for _, port := range svc.ports {
			set := candidates(slices, port, family)
			var local map[netip.AddrPort]*endpoint
			if svc.uses(ledger.Local, port, family) {
				local = usableLocal(set, at)
			}
			if svc.uses(ledger.Cluster, port, family) {
				if eps := usable(set, at); len(eps) > 0 {
					xs = append(xs, expectation{svc, port, family, ledger.Cluster, eps})
				}
			}
			if len(local) > 0 {
				xs = append(xs, expectation{svc, port, family, ledger.Local, local})
			}
		}
	}
	return xs
}

// candidates are the endpoints of a service port over all its slices, by the address that is dialed.
// An endpoint that moves between slices may be in two for a while, and two pods may have one
// address when it is used again before the old pod is gone: the one that is not terminating wins
// (k8s v1.36.3 pkg/proxy/endpointslicecache.go, addEndpoints). Of several of those the last wins;
// kube-proxy calls that undefined. Before 1.36 a local one wins and else any (v1.35.4, :238), so that of
// two pods on one node kube-proxy may take the one that leaves: it is the newer rule that is expected here.
func candidates(slices []*slice, port servicePort, family ledger.Family) map[netip.AddrPort]*endpoint {
	var set map[netip.AddrPort]*endpoint
	for _, sl := range slices {
		if sl.family != family {
			continue
		}
		for _, p := range sl.ports {
			if p.name != port.name || p.protocol != port.protocol {
				continue
			}
			if set == nil {
				set = make(map[netip.AddrPort]*endpoint, len(sl.endpoints))
			}
			for i := range sl.endpoints {
				e := &sl.endpoints[i]
				at := netip.AddrPortFrom(e.addr, p.port)
				if _, taken := set[at]; !taken || !e.terminating {
					set[at] = e
				}
			}
		}
	}
	return set
}

// usable takes out of the candidates what policy Cluster does not use: it is the cluster list of
// k8s v1.36.3 pkg/proxy/topology.go, CategorizeEndpoints. Ready endpoints that fit the topology;
// without any, those that still serve while they terminate (KEP-1669).
func usable(set map[netip.AddrPort]*endpoint, at place) map[netip.AddrPort]*endpoint {
	anyReady := false
	t := topologyOf(at, func(yield func(*endpoint) bool) {
		for _, e := range set {
			if e.ready {
				anyReady = true
				if !yield(e) {
					return
				}
			}
		}
	})
	for addr, e := range set {
		switch {
		case anyReady && e.ready && t.admits(e):
		case !anyReady && e.serving && e.terminating:
		default:
			delete(set, addr)
		}
	}
	return set
}

// usableLocal picks from the candidates what policy Local uses: the ready endpoints of this node,
// whatever their hints; without any, those of this node that still serve while they terminate. What
// other nodes have does not matter (k8s v1.36.3 pkg/proxy/topology.go:96-124).
func usableLocal(set map[netip.AddrPort]*endpoint, at place) map[netip.AddrPort]*endpoint {
	if at.node == "" {
		return nil
	}
	var ready, leaving map[netip.AddrPort]*endpoint
	here := unique.Make(at.node)
	for addr, e := range set {
		into := &ready
		switch {
		case e.node != here:
			continue
		case e.ready:
		case e.serving && e.terminating:
			into = &leaving
		default:
			continue
		}
		if *into == nil {
			*into = map[netip.AddrPort]*endpoint{}
		}
		(*into)[addr] = e
	}
	if len(ready) > 0 {
		return ready
	}
	return leaving
}

// topology is how hints restrict the endpoints of a service port.
type topology struct {
	place
	sameNode, sameZone bool // at most one
}

// topologyOf is topologyModeFromHints: hints count only if every ready endpoint has some and one of
// them is meant for this place; hints for nodes before hints for zones.
//
// kube-proxy before 1.34 ignores hints for nodes by default (feature PreferSameTrafficDistribution).
// Only a control plane that has the feature writes them, so they are believed here.
func topologyOf(at place, ready func(func(*endpoint) bool)) topology {
	some, allNodes, thisNode, allZones, thisZone := false, true, false, true, false
	for e := range ready {
		some = true
		allNodes = allNodes && !e.nodes.empty()
		allZones = allZones && !e.zones.empty()
		thisNode = thisNode || e.nodes.has(at.node)
		thisZone = thisZone || e.zones.has(at.zone)
	}
	t := topology{place: at}
	switch {
	case !some:
	case allNodes && thisNode:
		t.sameNode = true
	case allZones && thisZone:
		t.sameZone = true
	}
	return t
}

func (t topology) admits(e *endpoint) bool {
	switch {
	case t.sameNode:
		return e.nodes.has(t.node)
	case t.sameZone:
		return e.zones.has(t.zone)
	}
	return true
}
