package probes

import (
	"strings"
	"testing"

	"github.com/lastcall-k8s/lastcall/internal/freshnet"
	"github.com/lastcall-k8s/lastcall/ledger"
)

const nftLocal = `
add chain ip kube-proxy local-WEB-shop/web/tcp/http
add rule ip kube-proxy local-WEB-shop/web/tcp/http meta l4proto tcp dnat ip addr . port to numgen random mod 1 map { 0 : 10.244.1.2 . 8080 }
`

const iptLocal = `*nat
:EXT(shop/web:http) - [0:0]
:SVL(shop/web:http) - [0:0]
-A EXT(shop/web:http) -s 10.244.0.0/16 -j SVC(shop/web:http)
-A EXT(shop/web:http) -m addrtype --src-type LOCAL -j KUBE-MARK-MASQ
-A EXT(shop/web:http) -m addrtype --src-type LOCAL -j SVC(shop/web:http)
-A EXT(shop/web:http) -j SVL(shop/web:http)
-A SVL(shop/web:http) -j SEP(shop/web:http,10.244.1.2:8080)
COMMIT
`

// local is the same endpoint on the path of the other policy.
func local(r ledger.Removal) ledger.Removal {
	r.Path.Policy = ledger.Local
	return r
}

// TestReachableLocal holds what counts as routed where a Service has both policies, edit by edit, on a real kernel.
func TestReachableLocal(t *testing.T) {
	for _, tt := range []struct {
		name    string
		fixture string
		edit    string // on top of the fixture
		want    map[string]bool
	}{
		{"external policy Local keeps it on the pod's own node, the cluster's chain does not", "nftables-1.36.nft", nftNoVmap + nftLocal + `
flush chain ip kube-proxy external-WEB-shop/web/tcp/http
add rule ip kube-proxy external-WEB-shop/web/tcp/http ip saddr 10.244.0.0/16 goto service-WEB-shop/web/tcp/http
add rule ip kube-proxy external-WEB-shop/web/tcp/http goto local-WEB-shop/web/tcp/http
`, map[string]bool{"web1": false, "web2": true, "local1": true, "local2": false}},
		{"both policies Local: what the node itself asks is the only way to the cluster's endpoints", "nftables-1.36.nft", nftLocal + `
delete element ip kube-proxy service-ips { 10.96.0.10 . tcp . 80 }
add element ip kube-proxy service-ips { 10.96.0.10 . tcp . 80 : goto local-WEB-shop/web/tcp/http }
flush chain ip kube-proxy external-WEB-shop/web/tcp/http
add rule ip kube-proxy external-WEB-shop/web/tcp/http fib saddr type local goto service-WEB-shop/web/tcp/http
`, map[string]bool{"web1": true, "web2": true, "local1": true, "local2": false}},
		{"internal policy Local, nothing external: the cluster's chain is left and nothing leads there", "nftables-1.36.nft", nftLocal + `
delete element ip kube-proxy service-ips { 10.96.0.10 . tcp . 80 }
add element ip kube-proxy service-ips { 10.96.0.10 . tcp . 80 : goto local-WEB-shop/web/tcp/http }
delete element ip kube-proxy service-nodeports { tcp . 30080 }
`, map[string]bool{"web1": false, "web2": false, "local1": true, "local2": false}},

		{"policy Local is another chain", "iptables-1.36.rules", iptLocal, map[string]bool{"web1": true, "web2": true, "local1": true, "local2": false}},
		{"policy Local: landed in the cluster's chain, kept in the node's", "iptables-1.36.rules", iptLocal + `*nat
:SVC(shop/web:http) - [0:0]
-A SVC(shop/web:http) -j SEP(shop/web:http,10.244.2.3:8080)
COMMIT
`, map[string]bool{"web1": false, "web2": true, "local1": true, "local2": false}},
		{"policy Local: source ranges in front, and nothing else leads there", "iptables-1.36.rules", iptLocal + `*nat
:KUBE-SERVICES - [0:0]
:KUBE-NODEPORTS - [0:0]
:FW(shop/web:http) - [0:0]
-A KUBE-SERVICES -m tcp -p tcp -d 198.51.100.1 --dport 80 -j FW(shop/web:http)
-A FW(shop/web:http) -s 203.0.113.0/24 -j EXT(shop/web:http)
-A FW(shop/web:http)
COMMIT
`, map[string]bool{"web1": true, "web2": true, "local1": true, "local2": false}},
		{"policy Local, large cluster: nothing leads to any of its chains", "iptables-1.36.rules", iptLocal + `*nat
:KUBE-SERVICES - [0:0]
:KUBE-NODEPORTS - [0:0]
:FW(shop/web:http) - [0:0]
-A FW(shop/web:http) -s 203.0.113.0/24 -j EXT(shop/web:http)
COMMIT
`, map[string]bool{"web1": false, "web2": false, "local1": false, "local2": false}},
		{"source ranges let nobody in", "iptables-1.36.rules", iptLocal + `*nat
:KUBE-SERVICES - [0:0]
:KUBE-NODEPORTS - [0:0]
:FW(shop/web:http) - [0:0]
-A KUBE-SERVICES -m tcp -p tcp -d 198.51.100.1 --dport 80 -j FW(shop/web:http)
-A FW(shop/web:http)
COMMIT
`, map[string]bool{"web1": false, "web2": false, "local1": false, "local2": false}},
		{"no local endpoint is left: the short cut is", "iptables-1.36.rules", iptLocal + `*nat
:KUBE-SERVICES - [0:0]
:EXT(shop/web:http) - [0:0]
-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
-A EXT(shop/web:http) -m addrtype --src-type LOCAL -j SVC(shop/web:http)
-F SVL(shop/web:http)
-X SVL(shop/web:http)
COMMIT
`, map[string]bool{"web1": true, "web2": true, "local1": false, "local2": false}},
	} {
		loads := map[string]func(testing.TB, *freshnet.Namespace, string){"": nft}
		if strings.HasSuffix(tt.fixture, ".rules") {
			loads = map[string]func(testing.TB, *freshnet.Namespace, string){"nft": restore, "legacy": restoreLegacy}
		}
		for backend, load := range loads {
			t.Run(tt.name+" "+backend, func(t *testing.T) {
				ns := freshnet.New(t, "nft", "iptables-nft-restore", "iptables-legacy-restore")
				load(t, ns, read(t, tt.fixture))
				load(t, ns, tt.edit)
				for name, r := range map[string]ledger.Removal{"web1": web1, "web2": web2, "local1": local(web1), "local2": local(web2)} {
					must(t, ns.Do(func() error {
						found, err := Detect(Hints{})
						if err != nil {
							return err
						}
						got, err := found.Reachable([]ledger.Removal{r})
						if err == nil && got[0] != tt.want[name] {
							t.Errorf("%s reachable: got %v, want %v", name, got[0], tt.want[name])
						}
						return err
					}))
				}
			})
		}
	}
}
