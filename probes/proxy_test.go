package probes

import (
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
	internal := `{"kubeproxy.config.k8s.io":{"Mode":"MODE","IPTables":{"MinSyncPeriod":"2s"},"NFTables":{"MinSyncPeriod":"10s"}}}`
	mode := func(m string) string { return strings.Replace(internal, "MODE", m, 1) }
	v1 := "v1.36.3"
	for _, c := range []struct {
		name, metrics, configz string
		want                   ledger.Proxy
	}{
		{"v1.36.3 in nftables mode", metrics, configz, ledger.Proxy{Version: v1, MinSync: "1s"}},
		{"without tags, nftables", metrics, mode("nftables"), ledger.Proxy{Version: v1, MinSync: "10s"}},
		{"without tags, iptables", metrics, mode("iptables"), ledger.Proxy{Version: v1, MinSync: "2s"}},
		{"without tags, by default", metrics, mode(""), ledger.Proxy{Version: v1, MinSync: "2s"}},
		{"a mode that is not measured", metrics, mode("ipvs"), ledger.Proxy{Version: v1}},
		{"no configz", metrics, "", ledger.Proxy{Version: v1}},
		{"a build of a vendor", `kubernetes_build_info{build_date="",git_version="v1.29.3+k3s1",go_version="go1.21"} 1`, "", ledger.Proxy{Version: "v1.29.3+k3s1"}},
		{"no version", "kubernetes_build_info{} 1\n", `{"kubeproxy.config.k8s.io":{}}`, ledger.Proxy{}},
		{"endless", strings.Repeat("x", 1<<20), strings.Repeat("[", 1<<20), ledger.Proxy{}},
		{"a version that is none", `kubernetes_build_info{git_version="` + strings.Repeat("v", 65) + `"} 1`, `{"kubelet":{"iptables":{"minSyncPeriod":"1s"}}}`, ledger.Proxy{}},
		{"a period that is none", "x", `{"kubeproxy.config.k8s.io":{"iptables":{"minSyncPeriod":"-1s"}}}`, ledger.Proxy{}},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			answer := map[string]string{"/metrics": c.metrics, "/configz": c.configz}[r.URL.Path]
			if answer == "" {
				http.NotFound(w, r)
				return
			}
			io.WriteString(w, answer) //nolint:errcheck // the test notices
		}))
		if got := AskProxy(strings.TrimPrefix(server.URL, "http://")); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
		server.Close()
	}
	for _, nobody := range []string{"", "127.0.0.1:1"} {
		if got := AskProxy(nobody); got != (ledger.Proxy{}) {
			t.Errorf("%q: %+v", nobody, got)
		}
	}
	// Somebody who accepts and says nothing costs two seconds, not more.
	hang := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hang }))
	if got := AskProxy(strings.TrimPrefix(server.URL, "http://")); got != (ledger.Proxy{}) {
		t.Errorf("silence said %+v", got)
	}
	close(hang)
	server.Close()
}
