package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/lastcall-k8s/lastcall/ledger"
)

// TestProxyStaysKnown: a kube-proxy that does not answer for a while, as it is busy, is what it was; another one is another.
func TestProxyStaysKnown(t *testing.T) {
	version := "v1.35.4"
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/metrics" {
			io.WriteString(w, `kubernetes_build_info{build_date="",git_version="`+version+`"} 1`+"\n")
			return
		}
		io.WriteString(w, `{"kubeproxy.config.k8s.io":{"mode":"nftables","nftables":{"minSyncPeriod":"1s"}}}`)
	}))
	address := s.Listener.Addr().String()
	var i identity
	if !i.ask(address) || i.proxy != (ledger.Proxy{Version: "v1.35.4", MinSync: "1s"}) {
		t.Errorf("%+v", i.proxy)
	}
	version = "v1.36.3"
	if !i.ask(address) || i.proxy != (ledger.Proxy{Version: "v1.36.3", MinSync: "1s"}) {
		t.Errorf("replaced: %+v", i.proxy)
	}
	s.Close()
	if i.ask(address) || i.proxy != (ledger.Proxy{Version: "v1.36.3", MinSync: "1s"}) {
		t.Errorf("away: %+v", i.proxy)
	}
	if !(&identity{}).ask("") {
		t.Error("nobody to ask, and it did not tell")
	}
}
