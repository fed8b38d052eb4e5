package watcher

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"unique"

	"github.com/google/go-cmp/cmp"

	"github.com/lastcall-k8s/lastcall/ledger"
)

// TestExpect states the facts of k8s v1.36.3 pkg/proxy/topology_test.go about the policy Cluster. An
// endpoint is its last byte and what is true of it; r: ready, s: serving, t: terminating.
func TestExpect(t *testing.T) {
	internalLocal := service{internalLocal: true}
	for _, tt := range []struct {
		name       string
		node, zone string
		service    service
		endpoints  string
		want       string
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

		{name: "internal policy Local, not accessible from outside: no cluster endpoints",
			service: internalLocal, endpoints: "1 r|2 r", want: ""},
		{name: "internal policy Local with an external address of the family",
			service:   service{internalLocal: true, external: []netip.Addr{netip.MustParseAddr("192.0.2.1")}},
			endpoints: "1 r|2 r", want: "1 2"},
		{name: "internal policy Local with an external address of the other family",
			service:   service{internalLocal: true, external: []netip.Addr{netip.MustParseAddr("2001:db8::1")}},
			endpoints: "1 r", want: ""},

		{name: "one address in two slices: the one that is not terminating wins",
			endpoints: "1 st|2 r/1 r", want: "1 2"},
		{name: "in either order",
			endpoints: "1 r/1 st|2 r", want: "1 2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			svc := tt.service
			svc.cluster4 = netip.MustParseAddr("10.96.0.1")
			svc.ports = []servicePort{{name: "http", protocol: "tcp", port: 80}}
			var got []string
			for _, x := range expect(&svc, parseSlices(tt.endpoints), place{tt.node, tt.zone}) {
				for _, addr := range pick(x.endpoints, func(netip.AddrPort, *endpoint) bool { return true }) {
					got = append(got, strings.TrimPrefix(addr.Addr().String(), "10.0.0."))
				}
			}
			if diff := cmp.Diff(strings.Fields(tt.want), got); diff != "" && len(got)+len(tt.want) > 0 {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func parseSlices(text string) []*slice {
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
				if zones, ok := strings.CutPrefix(w, "zone="); ok {
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
	sl := parseSlices("1 r")[0]
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
