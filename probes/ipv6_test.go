package probes

import (
	"net/netip"
	"testing"

	"github.com/lastcall-k8s/lastcall/internal/freshnet"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// TestReachableIPv6: the other family has its own tables, keys of 24 bytes and addresses of 16.
func TestReachableIPv6(t *testing.T) {
	front := ledger.Frontend{Addr: netip.MustParseAddr("fd00:96::10"), Port: 80}
	there := removal("shop/web", "http", "[fd00:244::2]:8080", front)
	gone := removal("shop/web", "http", "[fd00:244::3]:8080", front)
	for name, load := range map[string]func(*freshnet.Namespace){
		"nftables": func(ns *freshnet.Namespace) {
			nft(t, ns, `
add table ip6 kube-proxy
add chain ip6 kube-proxy nat-output { type nat hook output priority -100 ; }
add chain ip6 kube-proxy service-WEB
add map ip6 kube-proxy service-ips { type ipv6_addr . inet_proto . inet_service : verdict ; }
add rule ip6 kube-proxy nat-output ip6 daddr . meta l4proto . th dport vmap @service-ips
add rule ip6 kube-proxy service-WEB meta l4proto tcp dnat ip6 addr . port to numgen random mod 1 map { 0 : fd00:244::2 . 8080 }
add element ip6 kube-proxy service-ips { fd00:96::10 . tcp . 80 : goto service-WEB }
`)
		},
		"iptables-nft":    func(ns *freshnet.Namespace) { ns.Exec(t, chainNames(iptablesV6), "ip6tables-nft-restore", "--noflush") },
		"iptables-legacy": func(ns *freshnet.Namespace) { restoreLegacy6(t, ns, iptablesV6) },
	} {
		t.Run(name, func(t *testing.T) {
			ns := freshnet.New(t, "nft", "ip6tables-nft-restore", "ip6tables-legacy-restore")
			load(ns)
			var found Found
			must(t, ns.Do(func() (err error) { found, err = Detect(Hints{}); return err }))
			if found.Backend != name || len(found.Families) != 1 || found.Families[0] != ledger.IPv6 {
				t.Errorf("found %s for %v", found.Backend, found.Families)
			}
			for r, want := range map[*ledger.Removal]bool{&there: true, &gone: false} {
				if got := routed(t, ns, found, *r); got != want {
					t.Errorf("%v reachable: %v, want %v", r.Path.Endpoint, got, want)
				}
			}
		})
	}
}

const iptablesV6 = `*nat
:KUBE-SERVICES - [0:0]
:SVC(shop/web:http) - [0:0]
:SEP(shop/web:http,[fd00:244::2]:8080) - [0:0]
-A OUTPUT -j KUBE-SERVICES
-A KUBE-SERVICES -m tcp -p tcp -d fd00:96::10 --dport 80 -j SVC(shop/web:http)
-A SVC(shop/web:http) -j SEP(shop/web:http,[fd00:244::2]:8080)
-A SEP(shop/web:http,[fd00:244::2]:8080) -m tcp -p tcp -j DNAT --to-destination [fd00:244::2]:8080
COMMIT
`
