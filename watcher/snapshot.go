package watcher

import (
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/lastcall-k8s/lastcall/ledger"
)

// Expected says which paths kube-proxy on a node is expected to route, with their frontends, from whole
// API objects: what a Watcher that saw these and nothing else would hold. It is for looking at a node
// once. Objects that the API server would not send a Watcher must not be among them: ServiceLabels and the
// others select them.
func Expected(node *corev1.Node, services []corev1.Service, slices []discoveryv1.EndpointSlice) []ledger.Removal {
	s := newState(node.Name)
	s.set(trimObject(node, time.Time{}))
	for i := range services {
		s.set(trimObject(&services[i], time.Time{}))
	}
	for i := range slices {
		s.set(trimObject(&slices[i], time.Time{}))
	}
	var paths []ledger.Removal
	for _, n := range sortedNames(s.services) {
		for _, x := range s.services[n].expect(s.place) {
			for _, addr := range pick(x.endpoints, func(netip.AddrPort, *endpoint) bool { return true }) {
				key := ledger.Key{Path: x.path(n, addr), UID: x.endpoints[addr].uid}
				paths = append(paths, ledger.Removal{Key: key, Frontends: x.frontends()})
			}
		}
	}
	return paths
}

// What a Watcher asks the API server for, as kube-proxy does (k8s v1.36.3
// cmd/kube-proxy/app/server.go:573-601).
const (
	ServiceLabels = "!" + labelProxyName
	ServiceFields = "spec.clusterIP!=" + corev1.ClusterIPNone
	SliceLabels   = "!" + corev1.IsHeadlessService
)
