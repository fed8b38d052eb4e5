package main

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/lastcall-k8s/lastcall/ledger"
	"github.com/lastcall-k8s/lastcall/probes/consumer"
	"github.com/lastcall-k8s/lastcall/watcher"
)

// TestConsumersDNS: a DNS replica is asked for the headless Services that the watcher told of, and for no other.
func TestConsumersDNS(t *testing.T) {
	var there atomic.Bool
	there.Store(true)
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &dns.Server{PacketConn: pc, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		a := new(dns.Msg).SetReply(q)
		if name := q.Question[0].Name; name != "db.shop.svc.cluster.local." {
			t.Errorf("asked for %s", name)
		}
		for _, ip := range []string{"10.0.0.1", "10.0.0.2"} {
			if ip == "10.0.0.2" || there.Load() {
				a.Answer = append(a.Answer, &dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 5}, A: net.ParseIP(ip)})
			}
		}
		w.WriteMsg(a) //nolint:errcheck // the client left
	})}
	served := make(chan error, 1)
	go func() { served <- server.ActivateAndServe() }()
	defer func() { pc.Close(); <-served }()
	at := netip.MustParseAddrPort(pc.LocalAddr().String())

	metrics := ledger.NewMetrics(prometheus.NewPedanticRegistry(), place, func() float64 { return 0 })
	ring := ledger.NewRing("boot", 1<<20, time.Hour, func(t time.Time) time.Time { return t })
	c := newConsumers(consumer.Config{}, metrics, ring, time.Hour, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	key := func(service, address string) ledger.Key {
		return ledger.Key{UID: "pod-" + address, Path: ledger.Path{Policy: ledger.Cluster, Endpoint: netip.AddrPortFrom(netip.MustParseAddr(address), 5432),
			Service: ledger.ServicePort{Namespace: "shop", Name: service, Protocol: "tcp"}}}
	}
	first, second, web := key("db", "10.0.0.1"), key("db", "10.0.0.2"), key("web", "10.0.0.3")
	c.apply([]ledger.Change{{Headless: true, Entered: &first}, {Headless: true, Entered: &second}, {Entered: &web}})
	c.pods([]watcher.OwnPod{{UID: "u", Namespace: "kube-system", Name: "coredns-x", Labels: map[string]string{"k8s-app": "kube-dns"}, IPs: []netip.Addr{at.Addr()},
		Containers: []watcher.OwnContainer{{Name: "coredns", ID: "c", Running: true, Ports: []watcher.OwnPort{{Name: "dns", Number: at.Port()}}}}}})
	until(t, "it was looked at, and again to learn that it does not cache", func() bool {
		s := c.status()
		return len(s.Replicas) == 1 && s.Replicas[0].Active == 2 && s.Replicas[0].Asked[consumer.Look] == 2
	})
	left := func(k ledger.Key, headless bool) ledger.Change {
		now := time.Now()
		return ledger.Change{At: now, Headless: headless, Left: &ledger.Removal{Key: k, Seen: now}}
	}
	c.apply([]ledger.Change{left(first, true), left(web, false)})
	there.Store(false)
	until(t, "it landed", func() bool {
		return strings.Contains(strings.Join(lines(t, ring), "\n"), "removals dns kube-system/coredns-x landed pod-10.0.0.1")
	})
	texts, _, _ := ring.Since(1)
	if text := string(texts[len(texts)-1]); strings.Contains(text, "10.0.0.3") {
		t.Errorf("a Service with a cluster IP is none of DNS's: %s", text)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
}
