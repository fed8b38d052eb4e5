package probes

import (
	"errors"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lastcall-k8s/lastcall/internal/freshnet"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// TestLinkNames reads what the kernel wrote on a node.
func TestLinkNames(t *testing.T) {
	got := parseLinkNames([]byte(read(t, "net-dev.txt")))
	want := []string{"lo", "eth0", "veth1a2b3c4d", "kube-ipvs0", "bpfin.cali"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// What kube-proxy in mode ipvs hooks in table nat: it masquerades there, and sends nobody anywhere.
const ipvsMasquerades = `*nat
:KUBE-SERVICES - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-LOAD-BALANCER - [0:0]
-A PREROUTING -j KUBE-SERVICES
-A OUTPUT -j KUBE-SERVICES
-A KUBE-SERVICES -s 127.0.0.0/8 -j RETURN
-A KUBE-SERVICES -d 10.96.0.0/16 -j KUBE-MARK-MASQ
-A KUBE-SERVICES -d 10.96.0.0/16 -j ACCEPT
COMMIT
`

// TestReplaced: what programs Services instead is named, and not measured; a CNI plugin beside kube-proxy is no
// replacement.
func TestReplaced(t *testing.T) {
	iptables := read(t, "iptables-1.36.rules")
	for _, tt := range []struct {
		name, link, rules string
		want              string
		replaced          bool
	}{
		{"nothing", "", "", "none", false},
		{"ipvs", "kube-ipvs0", ipvsMasquerades, "ipvs", true},
		{"ipvs before its first rule", "kube-ipvs0", "", "ipvs", true},
		{"left over from ipvs", "kube-ipvs0", iptables, "", false},
		{"cilium", "cilium_host", "", "cilium", true},
		{"cilium beside kube-proxy", "cilium_host", iptables, "", false},
		{"calico's eBPF", "bpfin.cali", "", "calico-ebpf", true},
		{"kube-router", "kube-dummy-if", "", "kube-router", true},
		{"somebody unknown", "lxcbr0", "", "none", false},
	} {
		for backend, load := range map[string]func(testing.TB, *freshnet.Namespace, string){"iptables-nft": restore, iptablesLegacy: restoreLegacy} {
			if tt.rules == "" && backend == iptablesLegacy {
				continue
			}
			t.Run(tt.name+" "+backend, func(t *testing.T) {
				ns := legacyNamespace(t, "iptables-nft-restore", "ip")
				if tt.link != "" {
					ns.Exec(t, "", "ip", "link", "add", tt.link, "type", "veth", "peer", "name", "peer0")
				}
				if tt.rules != "" {
					load(t, ns, tt.rules)
				}
				var found Found
				err := ns.Do(func() (err error) { found, err = Detect(Hints{}); return err })
				want := tt.want
				if want == "" {
					want = backend
				}
				if found.Backend != want || errors.Is(err, errReplaced) != tt.replaced || (err == nil) != (tt.want == "") {
					t.Errorf("found %q: %v; want %q", found.Backend, err, want)
				}
				if (len(found.Families) > 0) != (err == nil) {
					t.Errorf("families %v are measured, with %v", found.Families, err)
				}
			})
		}
	}
}

// TestProxyMode: kube-proxy's own word tells a leftover from what it programs, and decides nothing else.
func TestProxyMode(t *testing.T) {
	ns := legacyNamespace(t, "nft")
	nft(t, ns, read(t, "nftables-1.36.nft"))
	restoreLegacy(t, ns, read(t, "iptables-1.36.rules"))
	mode := make(chan string, 1)
	var l net.Listener
	must(t, ns.Do(func() (err error) { l, err = net.Listen("tcp", "127.0.0.1:10249"); return err }))
	server := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m := <-mode
		if r.URL.Path != "/proxyMode" || m == "" {
			http.NotFound(w, r)
			return
		}
		w.Write([]byte(m)) //nolint:errcheck // the test notices
	})}
	go server.Serve(l) //nolint:errcheck // it ends with Close
	defer server.Close()
	for _, tt := range []struct{ says, mover, want string }{
		{"nftables", "", "nftables"},
		{"iptables", "", iptablesLegacy},
		{"", "", "nftables"},
		{"", iptablesLegacy, iptablesLegacy},
		{strings.Repeat("x", 1000), "", "nftables"},
	} {
		mode <- tt.says
		must(t, ns.Do(func() error {
			found, err := Detect(Hints{KubeProxy: "127.0.0.1:10249", Mover: tt.mover})
			if found.Backend != tt.want || len(found.backends) != 1 || len(found.legacy) != 1 || !slices.Equal(found.Families, []ledger.Family{ledger.IPv4}) {
				t.Errorf("kube-proxy says %.20q, %q moved: found %+v, want %s of both", tt.says, tt.mover, found, tt.want)
			}
			return err
		}))
	}
	nft(t, ns, "flush ruleset\n")
	restoreLegacy(t, ns, "*nat\n-F PREROUTING\n-F OUTPUT\nCOMMIT\n")
	mode <- "ipvs"
	must(t, ns.Do(func() error {
		if found, err := Detect(Hints{KubeProxy: "127.0.0.1:10249"}); found.Backend != ipvs || !errors.Is(err, errReplaced) {
			t.Errorf("kube-proxy says ipvs: found %s, %v", found.Backend, err)
		}
		if found, err := Detect(Hints{KubeProxy: "127.0.0.1:1"}); found.Backend != "none" || !errors.Is(err, errNoKubeProxy) {
			t.Errorf("nobody answers: found %s, %v", found.Backend, err)
		}
		return nil
	}))
}
