package watcher

import (
	cmpor "cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unique"

	"github.com/google/go-cmp/cmp"

	"github.com/lastcall-k8s/lastcall/ledger"
)

// TestExpect states the facts of k8s v1.36.3 pkg/proxy/topology_test.go, those of its own beside them. An
// endpoint is its last byte and what is true of it; r: ready, s: serving, t: terminating, here: on this node.
func TestExpect(t *testing.T) {
	v4, v6 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	internalLocal := service{internalLocal: true}
	externalLocal := service{externalLocal: true, external: []netip.Addr{v4}}
	bothLocal := service{internalLocal: true, externalLocal: true, external: []netip.Addr{v4}}
	for _, tt := range []struct {
		name       string
		node, zone string
		service    service
		endpoints  string
		want       string // policy Cluster
		local      string // policy Local
	}{
		{name: "no endpoints"},
		{name: "ready ones only",
			endpoints: "1 r|2|3 s", want: "1"},
		{name: "none ready, none terminating",
			endpoints: "1|2 s", want: ""},
		{name: "all terminate and serve",
			endpoints: "1 st|2 st", want: "1 2"},
		{name: "terminating ones must serve to be used",
			endpoints: "1 t|2 st|3", want: "2"},
		{name: "terminating ones are not used beside a ready one",
			endpoints: "1 r|2 st", want: "1"},
		{name: "ready although terminating (publishNotReadyAddresses)",
			endpoints: "1 rst|2 st", want: "1"},

		{name: "zone: all ready endpoints have hints, one for here", zone: "a",
			endpoints: "1 r zone=a|2 r zone=b|3 r zone=c|4 r zone=a", want: "1 4"},
		{name: "zone: not-ready endpoints do not count as unhinted", zone: "a",
			endpoints: "1 r zone=a|2 r zone=b|3|4 s", want: "1"},
		{name: "zone: an unhinted ready endpoint voids all hints", zone: "a",
			endpoints: "1 r zone=a|2 r|3 r zone=b", want: "1 2 3"},
		{name: "zone: none for here",
			zone: "d", endpoints: "1 r zone=a|2 r zone=b", want: "1 2"},
		{name: "zone: the node has no zone",
			endpoints: "1 r zone=a|2 r zone=b", want: "1 2"},
		{name: "zone: the only one for here is not ready", zone: "a",
			endpoints: "1 zone=a|2 r zone=b", want: "2"},
		{name: "zone: several zones in a hint", zone: "c",
			endpoints: "1 r zone=a,b,c|2 r zone=b,c|3 r zone=b,d|4 r zone=c", want: "1 2 4"},
		{name: "zone: hints do not restrict the fallback", zone: "a",
			endpoints: "1 st zone=a|2 st zone=b", want: "1 2"},

		{name: "node: before zone", node: "n1", zone: "a",
			endpoints: "1 r zone=a node=n1|2 r zone=b node=n2|3 r zone=a node=n3", want: "1"},
		{name: "node: an endpoint without voids it, and the zone counts", node: "n1", zone: "a",
			endpoints: "1 r zone=a node=n1|2 r zone=b|3 r zone=a node=n3", want: "1 3"},
		{name: "node: none for here, and the zone counts", node: "n0", zone: "a",
			endpoints: "1 r zone=a node=n1|2 r zone=b node=n2|3 r zone=a node=n3", want: "1 3"},
		{name: "node: without zones", node: "n2",
			endpoints: "1 r node=n1|2 r node=n2", want: "2"},
		{name: "node: some unhinted in both ways", node: "n1", zone: "a",
			endpoints: "1 r zone=a node=n1|2 r", want: "1 2"},

		{name: "internal Local, not accessible from outside: no cluster endpoints",
			service: internalLocal, endpoints: "1 r|2 r here", local: "2"},
		{name: "internal Local, no endpoints", service: internalLocal},
		{name: "internal Local, all remote", service: internalLocal, endpoints: "1 r|2 r"},
		{name: "internal Local, all here", service: internalLocal, endpoints: "1 r here|2 r here", local: "1 2"},
		{name: "internal Local, external Cluster",
			service: service{internalLocal: true, external: []netip.Addr{v4}}, endpoints: "1 r|2 r here", want: "1 2", local: "2"},
		{name: "internal Local with an external address of the other family only",
			service: service{internalLocal: true, external: []netip.Addr{v6}}, endpoints: "1 r|2 r here", local: "2"},
		{name: "internal Cluster, external Local",
			service: externalLocal, endpoints: "1 r|2 r here", want: "1 2", local: "2"},
		{name: "external Local does not count without a way in of the family",
			service: service{externalLocal: true, external: []netip.Addr{v6}}, endpoints: "1 r|2 r here", want: "1 2"},
		{name: "external Local, all remote", service: externalLocal, endpoints: "1 r|2 r", want: "1 2"},
		{name: "both Local", service: bothLocal, endpoints: "1 r|2 r here", want: "1 2", local: "2"},
		{name: "both Local, all remote and terminating",
			service: bothLocal, endpoints: "1 st|2 st", want: "1 2"},

		{name: "Local: topology is for the cluster's set only", zone: "a", service: externalLocal,
			endpoints: "1 r here zone=a|2 r here zone=b|3 r zone=c|4 r zone=a", want: "1 4", local: "1 2"},
		{name: "Local: also where the internal policy is", zone: "a", service: service{internalLocal: true, external: []netip.Addr{v4}},
			endpoints: "1 r here zone=a|2 r here zone=b|3 r zone=c|4 r zone=a", want: "1 4", local: "1 2"},
		{name: "Local: hints for nodes do not restrict it", node: "n1", service: externalLocal,
			endpoints: "1 r here node=n2|2 r node=n1", want: "2", local: "1"},
		{name: "Local: the fallback is the node's own: kept here although others are ready", service: externalLocal,
			endpoints: "1 r|2 here|3 st here|4 st", want: "1", local: "3"},
		{name: "Local: the fallback is the cluster's own: kept there although none is here", service: externalLocal,
			endpoints: "1 st|2 here", want: "1"},
		{name: "Local: both fall back", service: externalLocal,
			endpoints: "1 st|2 st here", want: "1 2", local: "2"},
		{name: "Local: a ready one here ends the fallback", service: externalLocal,
			endpoints: "1 st here|2 r here", want: "2", local: "2"},
		{name: "Local: terminating ones must serve to be used", service: internalLocal,
			endpoints: "1 t here|2 st here", local: "2"},
		{name: "Local: ready although terminating (publishNotReadyAddresses)", service: internalLocal,
			endpoints: "1 rst here|2 st here", local: "1"},
		{name: "Local: not ready and not terminating is never used", service: internalLocal,
			endpoints: "1 s here"},

		{name: "one address in two slices: the one that is not terminating wins",
			endpoints: "1 st|2 r/1 r", want: "1 2"},
		{name: "in either order",
			endpoints: "1 r/1 st|2 r", want: "1 2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			svc := tt.service
			svc.cluster4 = netip.MustParseAddr("10.96.0.1")
			svc.ports = []servicePort{{name: "http", protocol: "tcp", port: 80}}
			at := place{cmpor.Or(tt.node, "here"), tt.zone}
			got := map[ledger.Policy]string{}
			for _, x := range expect(&svc, parseSlices(tt.endpoints, at.node), at) {
				var names []string
				for _, addr := range pick(x.endpoints, func(netip.AddrPort, *endpoint) bool { return true }) {
					names = append(names, strings.TrimPrefix(addr.Addr().String(), "10.0.0."))
				}
				if got[x.policy] != "" {
					t.Errorf("policy %s twice", x.policy)
				}
				got[x.policy] = strings.Join(names, " ")
			}
			want := map[ledger.Policy]string{ledger.Cluster: tt.want, ledger.Local: tt.local}
			for policy, names := range want {
				if names == "" {
					delete(want, policy)
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func parseSlices(text, here string) []*slice {
	var sls []*slice
	for part := range strings.SplitSeq(text, "/") {
		sl := &slice{family: ledger.IPv4, ports: []slicePort{{"http", "tcp", 8080}}}
		for _, text := range strings.Split(part, "|") {
			words := strings.Fields(text)
			if len(words) == 0 {
				continue
			}
			e := endpoint{addr: netip.MustParseAddr("10.0.0." + words[0]), uid: words[0], node: unique.Make("")}
			for _, w := range words[1:] {
				if w == "here" {
					e.node = unique.Make(here)
				} else if zones, ok := strings.CutPrefix(w, "zone="); ok {
					e.zones = makeHints(strings.Split(zones, ","))
				} else if nodes, ok := strings.CutPrefix(w, "node="); ok {
					e.nodes = makeHints(strings.Split(nodes, ","))
				} else {
					e.ready = strings.Contains(w, "r")
					e.serving = strings.Contains(w, "s") || e.ready
					e.terminating = strings.Contains(w, "t")
				}
			}
			sl.endpoints = append(sl.endpoints, e)
		}
		sls = append(sls, sl)
	}
	return sls
}

func TestPortsMatchByNameAndProtocol(t *testing.T) {
	svc := &service{cluster4: netip.MustParseAddr("10.96.0.1"), ports: []servicePort{
		{name: "dns", protocol: "udp", port: 53}, {name: "dns", protocol: "tcp", port: 53}, {name: "", protocol: "tcp", port: 1}}}
	sl := parseSlices("1 r", "")[0]
	// The same name twice: both ports are programmed, as kube-proxy does.
	sl.ports = []slicePort{{"dns", "udp", 5353}, {"dns", "udp", 5354}, {"other", "tcp", 1}}
	var got []string
	for _, x := range expect(svc, []*slice{sl}, place{}) {
		for addr := range x.endpoints {
			got = append(got, x.path(name{"ns", "s"}, addr).Service.Protocol+" "+addr.String())
		}
	}
	slices.Sort(got)
	if diff := cmp.Diff([]string{"udp 10.0.0.1:5353", "udp 10.0.0.1:5354"}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestFrontends: which frontends lead to the endpoints of which policy.
func TestFrontends(t *testing.T) {
	for _, tt := range []struct {
		name           string
		service        string
		cluster, local string
		cluster6       string
		local6         string
	}{
		{name: "cluster IP alone",
			service: "{clusterIP: 10.96.0.1, ports: [{port: 80}]}", cluster: "10.96.0.1:80"},
		{name: "node port and external IPs",
			service: "{type: NodePort, clusterIP: 10.96.0.1, externalIPs: [192.0.2.1], ports: [{port: 80, nodePort: 30080}]}",
			cluster: "10.96.0.1:80 192.0.2.1:80 *:30080"},
		{name: "internal Local: the cluster IP leads to this node's",
			service: "{clusterIP: 10.96.0.1, internalTrafficPolicy: Local, ports: [{port: 80}]}", local: "10.96.0.1:80"},
		{name: "external Local: the outside leads to both, by who asks",
			service: "{type: NodePort, clusterIP: 10.96.0.1, externalTrafficPolicy: Local, ports: [{port: 80, nodePort: 30080}]}",
			cluster: "10.96.0.1:80 *:30080", local: "*:30080"},
		{name: "both Local",
			service: "{type: NodePort, clusterIP: 10.96.0.1, internalTrafficPolicy: Local, externalTrafficPolicy: Local, ports: [{port: 80, nodePort: 30080}]}",
			cluster: "*:30080", local: "10.96.0.1:80 *:30080"},
		{name: "internal Local, external Cluster",
			service: "{type: NodePort, clusterIP: 10.96.0.1, internalTrafficPolicy: Local, ports: [{port: 80, nodePort: 30080}]}",
			cluster: "*:30080", local: "10.96.0.1:80"},
		{name: "external Local of a Service of type ClusterIP counts with external IPs only",
			service: "{type: ClusterIP, clusterIP: 10.96.0.1, externalTrafficPolicy: Local, ports: [{port: 80}]}", cluster: "10.96.0.1:80"},
		{name: "with external IPs",
			service: "{type: ClusterIP, clusterIP: 10.96.0.1, externalTrafficPolicy: Local, externalIPs: [192.0.2.1], ports: [{port: 80}]}",
			cluster: "10.96.0.1:80 192.0.2.1:80", local: "192.0.2.1:80"},
		{name: "source ranges and the health check's port change nothing: some may come in",
			service: "{type: LoadBalancer, clusterIP: 10.96.0.1, externalTrafficPolicy: Local, externalIPs: [192.0.2.1], loadBalancerSourceRanges: [203.0.113.0/24], healthCheckNodePort: 32000, ports: [{port: 80, nodePort: 30080}]}",
			cluster: "10.96.0.1:80 192.0.2.1:80 *:30080", local: "192.0.2.1:80 *:30080"},
		{name: "two families: addresses count in their own, node ports in both",
			service: "{type: NodePort, clusterIP: 10.96.0.1, clusterIPs: [10.96.0.1, 'fd00::1'], ipFamilies: [IPv4, IPv6], externalTrafficPolicy: Local, externalIPs: [192.0.2.1], ports: [{port: 80, nodePort: 30080}]}",
			cluster: "10.96.0.1:80 192.0.2.1:80 *:30080", local: "192.0.2.1:80 *:30080",
			cluster6: "[fd00::1]:80 *:30080", local6: "*:30080"},
		{name: "two families, external address of one: Local in that one only",
			service: "{type: ClusterIP, clusterIP: 10.96.0.1, clusterIPs: [10.96.0.1, 'fd00::1'], ipFamilies: [IPv4, IPv6], externalTrafficPolicy: Local, externalIPs: [192.0.2.1], ports: [{port: 80}]}",
			cluster: "10.96.0.1:80 192.0.2.1:80", local: "192.0.2.1:80", cluster6: "[fd00::1]:80"},
		{name: "headless", service: "{clusterIP: None, ports: [{port: 80}]}"},
		{name: "no cluster IP", service: "{ports: [{port: 80}]}"},
		{name: "ExternalName", service: "{type: ExternalName, clusterIP: 10.96.0.1, externalName: example.com, ports: [{port: 80}]}"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			objects := parseObjects(t, []byte("kind: Service\nmetadata: {namespace: ns, name: s}\nspec: "+tt.service+"\n"), epoch)
			sls := parseSlices("1 r here|2 r", "here")
			six := &slice{family: ledger.IPv6, ports: sls[0].ports}
			six.endpoints = []endpoint{{addr: netip.MustParseAddr("fd00:1::1"), uid: "1", node: unique.Make("here"), ready: true}}
			sls = append(sls, six)
			for _, sl := range sls {
				sl.ports = []slicePort{{"", "tcp", 8080}}
			}
			type at struct {
				ledger.Policy
				ledger.Family
			}
			got := map[at]string{}
			for _, x := range expect(objects[0].service, sls, place{node: "here"}) {
				var fs []string
				for _, f := range x.frontends() {
					if f.Addr.IsValid() {
						fs = append(fs, netip.AddrPortFrom(f.Addr, f.Port).String())
					} else {
						fs = append(fs, "*:"+strconv.Itoa(int(f.Port)))
					}
				}
				got[at{x.policy, x.family}] = strings.Join(fs, " ")
			}
			for k, want := range map[at]string{{ledger.Cluster, ledger.IPv4}: tt.cluster, {ledger.Local, ledger.IPv4}: tt.local,
				{ledger.Cluster, ledger.IPv6}: tt.cluster6, {ledger.Local, ledger.IPv6}: tt.local6} {
				if got[k] != want {
					t.Errorf("%s, %s: %q, want %q", k.Policy, k.Family, got[k], want)
				}
			}
		})
	}
}
