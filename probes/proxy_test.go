package probes

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/lastcall-k8s/lastcall/ledger"
)

// TestAskProxy: what kube-proxy tells, by its own answers (testdata/proxy), and that nothing else is made of what is none.
func TestAskProxy(t *testing.T) {
	metrics, configz := string(read(t, "proxy/metrics-1.36")), string(read(t, "proxy/configz-1.36.json"))
	internal := `{"kubeproxy.config.k8s.io":{"IPTables":{"MinSyncPeriod":"2s"},"NFTables":{"MinSyncPeriod":"10s"}}}`
	known := ledger.Proxy{Version: "v1.36.3", MinSync: "1s"}
	for _, c := range []struct {
		name, backend, metrics, configz string
		want                            ledger.Proxy
	}{
		{"v1.36.3", "nftables", metrics, configz, known},
		{"the other mode", "iptables-nft", metrics, strings.Replace(configz, `"minSyncPeriod":"1s"`, `"minSyncPeriod":"30s"`, 1), ledger.Proxy{Version: "v1.36.3", MinSync: "30s"}},
		{"served without tags", "nftables", metrics, internal, ledger.Proxy{Version: "v1.36.3", MinSync: "10s"}},
		{"iptables-legacy", "iptables-legacy", metrics, internal, ledger.Proxy{Version: "v1.36.3", MinSync: "2s"}},
		{"no configz", "nftables", metrics, "", ledger.Proxy{Version: "v1.36.3"}},
		{"a build of a vendor", "nftables", `kubernetes_build_info{build_date="",git_version="v1.29.3+k3s1",go_version="go1.21"} 1`, "", ledger.Proxy{Version: "v1.29.3+k3s1"}},
		{"no version", "nftables", "kubernetes_build_info{} 1\n", `{"kubeproxy.config.k8s.io":{}}`, ledger.Proxy{}},
		{"endless", "nftables", strings.Repeat("x", 1<<20), strings.Repeat("[", 1<<20), ledger.Proxy{}},
		{"a name of another", "nftables", `kubernetes_build_info{git_version="` + strings.Repeat("v", 65) + `"} 1`, `{"kubelet":{"nftables":{"minSyncPeriod":"1s"}}}`, ledger.Proxy{}},
		{"nonsense", "nftables", "", `{"kubeproxy.config.k8s.io":{"nftables":{"minSyncPeriod":"-1s"}}}`, ledger.Proxy{}},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			answer := map[string]string{"/metrics": c.metrics, "/configz": c.configz}[r.URL.Path]
			if answer == "" {
				http.NotFound(w, r)
				return
			}
			io.WriteString(w, answer) //nolint:errcheck // the test notices
		}))
		if got := AskProxy(strings.TrimPrefix(server.URL, "http://"), c.backend); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
		server.Close()
	}
	for _, nobody := range []string{"", "127.0.0.1:1"} {
		if got := AskProxy(nobody, "nftables"); got != (ledger.Proxy{}) {
			t.Errorf("%q: %+v", nobody, got)
		}
	}
	// Somebody who accepts and says nothing costs two seconds, not more.
	hang := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hang }))
	if got := AskProxy(strings.TrimPrefix(server.URL, "http://"), "nftables"); got != (ledger.Proxy{}) {
		t.Error(fmt.Sprint("silence said ", got))
	}
	close(hang)
	server.Close()
}
