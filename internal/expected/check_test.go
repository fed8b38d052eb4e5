//go:build linux

package expected

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/semver"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/lastcall-k8s/lastcall/internal/testbed"
	"github.com/lastcall-k8s/lastcall/ledger"
	"github.com/lastcall-k8s/lastcall/probes"
	"github.com/lastcall-k8s/lastcall/watcher"
)

// site is a network namespace with a kube-proxy's rules in it: a node of the testbed, or a replay.
type site struct {
	mode    testbed.Mode
	version string
	node    *corev1.Node
	exec    func(name string, args ...string) (string, error) // in the namespace
	enter   func(func() error) error                          // a thread of ours
}

// dump is the table in which a family's Services are, in the language of the tool that loads it again.
func (s site) dump(f ledger.Family) (string, error) {
	if s.mode == testbed.NFTables {
		return s.exec("nft", "list", "table", nftFamily(f), "kube-proxy")
	}
	return s.exec(s.program(f, "-save"), "-t", "nat")
}

func nftFamily(f ledger.Family) string {
	if f == ledger.IPv6 {
		return "ip6"
	}
	return "ip"
}

// program is the variant of iptables that the site's kube-proxy uses.
func (s site) program(f ledger.Family, suffix string) string {
	name := "iptables"
	if f == ledger.IPv6 {
		name = "ip6tables"
	}
	return name + strings.TrimPrefix(string(s.mode), "iptables") + suffix
}

// check compares what the watcher expects on the site with what its kernel routes, by the probe and by the tools
// of the node. It returns the paths that are expected, and the conceivable ones that are not.
func (s site) check(all, watched objects) (routed, not []ledger.Removal, err error) {
	expected := watcher.Expected(s.node, watched.services, watched.slices)
	want := map[ledger.Path]bool{}
	for _, r := range expected {
		want[r.Path] = true
		if r.Path.Service.Namespace == namespace {
			r.UID = ""
			routed = append(routed, r)
		}
	}
	for _, r := range all.conceivable() {
		switch {
		case r.Path.Service.Namespace != namespace || undefined(s.version, r.Path):
		case !want[r.Path]:
			not = append(not, r)
		}
	}
	routed = slices.DeleteFunc(routed, func(r ledger.Removal) bool { return undefined(s.version, r.Path) })
	slices.SortFunc(routed, func(a, b ledger.Removal) int { return strings.Compare(line(a), line(b)) })
	return routed, not, errors.Join(s.probe(routed, not), s.tools(all, routed))
}

// undefined are paths that the versions before 1.36 decide by chance: of two endpoints with one address, the local
// one wins, else any (k8s v1.35.4 pkg/proxy/endpointslicecache.go:238).
func undefined(version string, p ledger.Path) bool {
	return semver.Compare(version, "v1.36.0") < 0 && p.Service.Name == "reuse" && p.Endpoint.Addr() == reused
}

// reused is the address of Service "reuse" that two pods have.
var reused = netip.MustParseAddr("10.248.30.1")

// probe asks the agent's own reader.
func (s site) probe(routed, not []ledger.Removal) error {
	return s.enter(func() error {
		found, err := probes.Detect(probes.Hints{})
		if err != nil {
			return err
		}
		var wrong []error
		for _, x := range []struct {
			paths []ledger.Removal
			want  bool
		}{{routed, true}, {not, false}} {
			got, err := found.Reachable(x.paths)
			if err != nil {
				return err
			}
			for i, r := range x.paths {
				if got[i] != x.want {
					wrong = append(wrong, fmt.Errorf("probe: routed %v, expected %v: %s", got[i], x.want, line(r)))
				}
			}
		}
		return errors.Join(wrong...)
	})
}

// tools asks the node's own tools where each kind of client gets through each frontend of each Service.
func (s site) tools(all objects, routed []ledger.Removal) error {
	type set struct {
		service ledger.ServicePort
		policy  ledger.Policy
		family  ledger.Family
	}
	want := map[set]routes{}
	for _, r := range routed {
		k := set{r.Path.Service, r.Path.Policy, r.Path.Family()}
		if want[k] == nil {
			want[k] = routes{}
		}
		want[k][r.Path.Endpoint] = true
	}
	var wrong []error
	for _, family := range []ledger.Family{ledger.IPv4, ledger.IPv6} {
		route, err := s.router(family)
		if err != nil {
			return err
		}
		for i := range all.services {
			svc := &all.services[i]
			if svc.Namespace != namespace {
				continue
			}
			for _, port := range svc.Spec.Ports {
				sp := ledger.ServicePort{Namespace: svc.Namespace, Name: svc.Name, Port: port.Name, Protocol: strings.ToLower(string(port.Protocol))}
				for _, f := range frontends(svc, port, family) {
					for _, p := range s.packets(sp.Protocol, family, f) {
						got, err := route(p)
						if err != nil {
							return err
						}
						policy, open := policyOf(svc, f, p)
						leads := routes{}
						if open {
							leads = want[set{sp, policy, family}]
						}
						for ap := range got {
							if undefined(s.version, ledger.Path{Service: sp, Endpoint: ap}) {
								delete(got, ap)
							}
						}
						if !maps.Equal(got, leads) {
							wrong = append(wrong, fmt.Errorf("tools: %s from %s %s to %s: sent to %v, expected %v", sp, p.client, p.src, frontend(f), sorted(got), sorted(leads)))
						}
					}
				}
			}
		}
	}
	return errors.Join(wrong...)
}

// policyOf is which endpoints the API promises to a client, and whether it is let in at all.
func policyOf(svc *corev1.Service, f ledger.Frontend, p packet) (policy ledger.Policy, open bool) {
	if slices.Contains(svc.Spec.ClusterIPs, f.Addr.String()) {
		if itp := svc.Spec.InternalTrafficPolicy; itp != nil && *itp == corev1.ServiceInternalTrafficPolicyLocal {
			return ledger.Local, true
		}
		return ledger.Cluster, true
	}
	open = true
	for _, in := range svc.Status.LoadBalancer.Ingress {
		if in.IP != f.Addr.String() {
			continue
		}
		if in.IPMode != nil && *in.IPMode == corev1.LoadBalancerIPModeProxy {
			return ledger.Cluster, false
		}
		open = len(svc.Spec.LoadBalancerSourceRanges) == 0
		for _, r := range svc.Spec.LoadBalancerSourceRanges {
			open = open || netip.MustParsePrefix(r).Contains(p.src)
		}
	}
	if svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal && p.client == "outside" {
		return ledger.Local, open
	}
	return ledger.Cluster, open
}

// packets are what three kinds of clients send to a frontend: a pod of the node, the node, somebody outside.
func (s site) packets(proto string, family ledger.Family, f ledger.Frontend) []packet {
	var own, pod, outside netip.Addr
	for _, a := range s.node.Status.Addresses {
		if addr, err := netip.ParseAddr(a.Address); err == nil && ledger.FamilyOf(addr) == family {
			own = addr
		}
	}
	for _, c := range s.node.Spec.PodCIDRs {
		if p := netip.MustParsePrefix(c); ledger.FamilyOf(p.Addr()) == family {
			pod = p.Addr().Next().Next()
		}
	}
	outside = netip.MustParseAddr("203.0.113.9")
	if family == ledger.IPv6 {
		outside = netip.MustParseAddr("2001:db8:ffff::9")
	}
	p := packet{dst: f.Addr, proto: proto, port: f.Port}
	if !f.Addr.IsValid() {
		p.dst, p.dstLocal = own, true
	}
	var ps []packet
	for _, c := range []struct {
		name string
		src  netip.Addr
	}{{"pod", pod}, {"node", own}, {"outside", outside}} {
		p.client, p.src, p.srcLocal = c.name, c.src, c.src == own
		ps = append(ps, p)
	}
	return ps
}

func (s site) router(f ledger.Family) (func(packet) (routes, error), error) {
	if s.mode == testbed.NFTables {
		text, err := s.exec("nft", "-j", "list", "table", nftFamily(f), "kube-proxy")
		if err != nil {
			return nil, err
		}
		t, err := parseNFT(text)
		if err != nil {
			return nil, err
		}
		return t.route, nil
	}
	text, err := s.dump(f)
	if err != nil {
		return nil, err
	}
	x, err := parseXtables(text)
	return x.route, err
}

func sorted(r routes) []netip.AddrPort {
	return slices.SortedFunc(maps.Keys(r), netip.AddrPort.Compare)
}

// fixture reads testdata/objects.yaml as the API server would hand it out, twice: all of it, and what is watched.
func fixture(t *testing.T) (all, watched objects) {
	t.Helper()
	for _, doc := range documents(t) {
		switch o := decode(t, doc).(type) {
		case *corev1.Service:
			all.services = append(all.services, *o)
			if _, other := o.Labels["service.kubernetes.io/service-proxy-name"]; !other && o.Spec.ClusterIP != corev1.ClusterIPNone {
				watched.services = append(watched.services, *o)
			}
		case *discoveryv1.EndpointSlice:
			all.slices = append(all.slices, *o)
			if _, headless := o.Labels[corev1.IsHeadlessService]; !headless {
				watched.slices = append(watched.slices, *o)
			}
		}
	}
	return all, watched
}
