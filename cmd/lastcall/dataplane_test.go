package main

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/lastcall-k8s/lastcall/internal/freshnet"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// TestAnotherHello: a reader that follows learns of another dataplane, or another kube-proxy, from the hello of its next answer.
func TestAnotherHello(t *testing.T) {
	v4 := []ledger.Family{ledger.IPv4}
	says := []ledger.Event{{Backend: "iptables-legacy", Families: v4}, {Backend: "nftables", Families: v4},
		{Backend: "nftables", Families: v4, Proxy: ledger.Proxy{Version: "v1.36.3", MinSync: "1s"}}}
	var now atomic.Int32
	ring := ledger.NewRing("boot", 1<<20, time.Hour, func(t time.Time) time.Time { return t })
	ring.Started(time.Now(), ledger.Start{Node: "node-1"})
	s := &server{ready: &readiness{}, events: ring, time: newTimeline(readClocks), applied: func() string { return "" },
		who: func() ledger.Event { return says[now.Load()] }}
	stop, end := context.WithCancel(t.Context())
	web := httptest.NewServer(s.v1(stop))
	defer web.Close()
	defer end()
	for i, want := range says {
		resp, err := http.Get(web.URL + "/v1/events?follow=1")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		dec := json.NewDecoder(resp.Body)
		var e ledger.Event
		if err := dec.Decode(&e); err != nil || e.Type != ledger.EventHello || e.Backend != want.Backend || e.Proxy != want.Proxy {
			t.Fatalf("first line %+v, %v; want a hello of %+v", e, err, want)
		}
		if i == len(says)-1 {
			return
		}
		ring.Started(time.Now(), ledger.Start{Node: "node-1"})
		now.Add(1)
		lines := 0
		for dec.Decode(&e) == nil {
			if e.Type == ledger.EventStart {
				lines++
			}
		}
		if lines != i+2 {
			t.Errorf("%d lines before the answer ended, want all %d", lines, i+2)
		}
	}
}

const legacyServices = `*nat
:KUBE-SERVICES - [0:0]
:KUBE-SVC-NPX46M4PTMTKRN6Y - [0:0]
-A PREROUTING -j KUBE-SERVICES
-A OUTPUT -j KUBE-SERVICES
-A KUBE-SERVICES -d 10.96.0.1 -j KUBE-SVC-NPX46M4PTMTKRN6Y
COMMIT
`

// TestDataplaneOfANode: one process tells what it finds, measured or not, and goes on when that changes.
func TestDataplaneOfANode(t *testing.T) {
	binary := buildAgent(t)
	ns := freshnet.New(t, "nft", "iptables-legacy-restore", "ip")
	ns.Exec(t, "", "ip", "link", "add", "kube-ipvs0", "type", "veth", "peer", "name", "peer0")
	dir := t.TempDir()
	kubeconfig, lock := filepath.Join(dir, "kubeconfig"), filepath.Join(dir, "xtables.lock")
	if err := os.WriteFile(kubeconfig, []byte(kubeconfigNowhere), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "agent", "--node-name", "n", "--kubeconfig", kubeconfig, "--list-jitter", "0", "--xtables-lock", lock)
	cmd.Stderr = t.Output()
	if err := ns.Do(cmd.Start); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	shows := func(page, want string) {
		t.Helper()
		body := ""
		for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
			select {
			case err := <-exited:
				t.Fatalf("the agent ended: %v", err)
			case <-time.After(50 * time.Millisecond):
			}
			if _, body = get(ns, "http://127.0.0.1:9747"+page); strings.Contains(body, want) {
				return
			}
		}
		t.Fatalf("%s has no %q:\n%s", page, want, body)
	}
	shows("/metrics", `lastcall_agent_dataplane_info{backend="ipvs",family="",measured="false"} 1`)
	shows("/readyz", "kube-proxy: ipvs: programs Services on this node, and is not measured")
	ns.Exec(t, legacyServices, "env", "XTABLES_LOCKFILE="+lock, "iptables-legacy-restore", "--noflush")
	shows("/metrics", `lastcall_agent_dataplane_info{backend="iptables-legacy",family="ipv4",measured="true"} 1`)
	ns.Exec(t, services, "nft", "-f", "-")
	ns.Exec(t, "add map ip kube-proxy service-ips { type ipv4_addr . inet_proto . inet_service : verdict ; }\n"+
		"add rule ip kube-proxy nat-prerouting ip daddr . meta l4proto . th dport vmap @service-ips\n", "nft", "-f", "-")
	shows("/metrics", `lastcall_agent_dataplane_info{backend="nftables",family="ipv4",measured="true"} 1`)
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-exited; err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
}
