package watcher

import (
	"net/netip"
	"strings"
	"unique"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	netutils "k8s.io/utils/net"

	"github.com/lastcall-k8s/lastcall/ledger"
)

// trimService returns nil for a Service that kube-proxy does not program, and how many parts of it
// make no sense (k8s v1.36.3 pkg/proxy/util/utils.go ShouldSkipService, serviceport.go newBaseServiceInfo).
func trimService(svc *corev1.Service) (_ *service, malformed int) {
	spec := &svc.Spec
	if spec.ClusterIP == "" || spec.Type == corev1.ServiceTypeExternalName {
		return nil, 0
	}
	s := &service{
		headless:      spec.ClusterIP == corev1.ClusterIPNone, // comes only where it is asked for
		internalLocal: spec.InternalTrafficPolicy != nil && *spec.InternalTrafficPolicy == corev1.ServiceInternalTrafficPolicyLocal,
		externalLocal: openToOutside(spec) && spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal,
	}
	for _, text := range clusterIPs(spec) {
		if s.headless {
			break
		}
		a, ok := parseAddr(text)
		switch {
		case !ok:
			malformed++
		case a.Is4():
			s.cluster4 = a
		default:
			s.cluster6 = a
		}
	}
	external := func(text string) {
		if a, ok := parseAddr(text); ok {
			s.external = append(s.external, a)
		} else if strings.TrimSpace(text) != "" { // the API server accepts empty ones
			malformed++
		}
	}
	for _, text := range spec.ExternalIPs {
		external(text)
	}
	for _, in := range svc.Status.LoadBalancer.Ingress {
		// With ipMode Proxy the load balancer's address must be left through it, so it is not programmed.
		if in.IPMode == nil || *in.IPMode == corev1.LoadBalancerIPModeVIP {
			external(in.IP)
		}
	}
	for i := range spec.Ports {
		p := &spec.Ports[i]
		protocol, ok := protocolOf(&p.Protocol)
		if !ok || !isPort(p.Port) || p.NodePort < 0 || p.NodePort > 65535 {
			malformed++
			continue
		}
		sp := servicePort{name: p.Name, protocol: protocol, port: uint16(p.Port), nodePort: uint16(p.NodePort)}
		// Of two ports with the same name and protocol kube-proxy keeps the later.
		if at := indexPort(s.ports, sp); at >= 0 {
			s.ports[at] = sp
			malformed++
			continue
		}
		s.ports = append(s.ports, sp)
	}
	return s, malformed
}

// openToOutside is ExternallyAccessible of k8s v1.36.3 pkg/api/v1/service/util.go:71, which is about the
// Service: whether a port is, in a family, is another question (accessible).
func openToOutside(spec *corev1.ServiceSpec) bool {
	switch spec.Type {
	case corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeNodePort:
		return true
	case corev1.ServiceTypeClusterIP:
		return len(spec.ExternalIPs) > 0
	}
	return false
}

// clusterIPs are those of the Service's families; objects from before dual stack have only the one.
func clusterIPs(spec *corev1.ServiceSpec) []string {
	if len(spec.IPFamilies) == 0 {
		return []string{spec.ClusterIP}
	}
	return spec.ClusterIPs[:min(len(spec.IPFamilies), len(spec.ClusterIPs))]
}

func indexPort(ports []servicePort, p servicePort) int {
	for i := range ports {
		if ports[i].name == p.name && ports[i].protocol == p.protocol {
			return i
		}
	}
	return -1
}

// trimSlice returns nil for a slice that is no Service's or whose addresses are no IPs, and how many
// parts of it make no sense. Defaults are those of k8s v1.36.3 pkg/proxy/endpointslicecache.go.
func trimSlice(es *discoveryv1.EndpointSlice) (_ *slice, malformed int) {
	svc := es.Labels[discoveryv1.LabelServiceName]
	if svc == "" {
		return nil, 0
	}
	family, ok := ledger.ParseFamily(string(es.AddressType))
	if !ok {
		return nil, 1
	}
	s := &slice{service: svc, version: es.ResourceVersion, family: family}
	for i := range es.Ports {
		p := &es.Ports[i]
		protocol, ok := protocolOf(p.Protocol)
		// kube-proxy skips ports without a name pointer, and does not read a nil port as "all ports".
		if !ok || p.Name == nil || p.Port == nil || !isPort(*p.Port) {
			malformed++
			continue
		}
		s.ports = append(s.ports, slicePort{name: *p.Name, protocol: protocol, port: uint16(*p.Port)})
	}
	s.endpoints = make([]endpoint, 0, len(es.Endpoints))
	for i := range es.Endpoints {
		ep := &es.Endpoints[i]
		if len(ep.Addresses) == 0 {
			malformed++
			continue
		}
		addr, ok := parseAddr(ep.Addresses[0]) // kube-proxy uses the first; further ones have no meaning
		if !ok || ledger.FamilyOf(addr) != family {
			malformed++
			continue
		}
		e := endpoint{
			addr:        addr,
			ready:       ep.Conditions.Ready == nil || *ep.Conditions.Ready,
			serving:     ep.Conditions.Serving == nil || *ep.Conditions.Serving,
			terminating: ep.Conditions.Terminating != nil && *ep.Conditions.Terminating,
		}
		if ref := ep.TargetRef; ref != nil {
			e.uid, e.name = string(ref.UID), ref.Name
		}
		if e.uid == "" {
			e.uid = "slice:" + es.Namespace + "/" + svc + "/" + addr.String()
		}
		if ep.NodeName != nil {
			e.node = unique.Make(*ep.NodeName)
		} else {
			e.node = unique.Make("")
		}
		if ep.Hints != nil {
			e.zones, e.nodes = trimHints(ep.Hints)
		}
		s.endpoints = append(s.endpoints, e)
	}
	return s, malformed
}

func trimHints(h *discoveryv1.EndpointHints) (zones, nodes hints) {
	var names []string
	for _, z := range h.ForZones {
		names = append(names, z.Name)
	}
	zones = makeHints(names)
	names = names[:0]
	for _, n := range h.ForNodes {
		names = append(names, n.Name)
	}
	return zones, makeHints(names)
}

// trimPod keeps of a pod whether and why it departs.
func trimPod(p *corev1.Pod) *pod {
	t := &pod{uid: string(p.UID), workload: workload(p), revision: revision(p), grace: -1, containers: trimContainers(&p.Spec), own: trimOwn(p)}
	t.exits = trimExits(&p.Status, t.containers)
	for _, ip := range p.Status.PodIPs {
		if a, ok := parseAddr(ip.IP); ok {
			t.addrs = append(t.addrs, a)
		}
	}
	if g := p.DeletionGracePeriodSeconds; g != nil {
		t.grace = *g
	}
	if d := p.DeletionTimestamp; d != nil {
		t.deletion = d.Time
	}
	t.terminal = p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
	disrupted := ""
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.DisruptionTarget && c.Status == corev1.ConditionTrue {
			disrupted = c.Reason
		}
	}
	switch {
	case t.terminal && disrupted == corev1.PodReasonTerminationByKubelet:
		// The kubelet tells of it only when no container runs any more (status_manager.go:1375-1417).
		switch p.Status.Reason {
		case "Terminated", "NodeShutdown":
			t.reason = ledger.NodeShutdown
		default: // "Evicted", "Preempting"
			t.reason = ledger.KubeletEvict
		}
	case t.deletion.IsZero() && t.terminal:
		t.reason = ledger.Completed
	case t.deletion.IsZero():
	case t.grace == 0:
		t.reason = ledger.Force
	default:
		t.reason = deletionReason(disrupted)
	}
	return t
}

func deletionReason(disrupted string) ledger.Reason {
	switch disrupted {
	case "EvictionByEvictionAPI":
		return ledger.Evict
	case corev1.PodReasonPreemptionByScheduler:
		return ledger.Preempt
	case "DeletionByTaintManager", "DeletionByPodGC":
		return ledger.NodeLost
	}
	return ledger.Delete
}

// workload is "type/name" of the pod's controller, and of a Deployment's ReplicaSet the Deployment:
// its name is the ReplicaSet's without the hash that the pod carries in a label.
func workload(p *corev1.Pod) string {
	for _, o := range p.OwnerReferences {
		if o.Controller == nil || !*o.Controller {
			continue
		}
		if hash := p.Labels["pod-template-hash"]; o.Kind == "ReplicaSet" && hash != "" {
			if d, ok := strings.CutSuffix(o.Name, "-"+hash); ok {
				return "deployment/" + d
			}
		}
		return strings.ToLower(o.Kind) + "/" + o.Name
	}
	return ""
}

// revision is the hash of the template that the pod's controller made it from.
func revision(p *corev1.Pod) string {
	if h := p.Labels["pod-template-hash"]; h != "" {
		return h
	}
	return p.Labels["controller-revision-hash"]
}

func trimNode(n *corev1.Node) *node {
	return &node{zone: n.Labels[corev1.LabelTopologyZone], uid: string(n.UID)}
}

// parseAddr accepts what kube-proxy does, leading zeros of old IPv4 objects included.
func parseAddr(s string) (netip.Addr, bool) {
	if a, err := netip.ParseAddr(s); err == nil {
		return a.Unmap(), a.Zone() == ""
	}
	a, ok := netip.AddrFromSlice(netutils.ParseIPSloppy(s))
	return a.Unmap(), ok
}

func isPort(p int32) bool { return p > 0 && p <= 65535 }

// protocolOf spells a protocol as kube-proxy does in names; nil and "" are the API's default.
func protocolOf(p *corev1.Protocol) (string, bool) {
	if p == nil {
		return "tcp", true
	}
	switch *p {
	case corev1.ProtocolTCP, "":
		return "tcp", true
	case corev1.ProtocolUDP:
		return "udp", true
	case corev1.ProtocolSCTP:
		return "sctp", true
	}
	return "", false
}
