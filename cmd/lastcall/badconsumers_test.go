package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lastcall-k8s/lastcall/ledger"
	"github.com/lastcall-k8s/lastcall/probes/consumer"
	"github.com/lastcall-k8s/lastcall/watcher"
)

// TestBadConsumers: replicas that answer badly are each named with what is wrong, cost little, and hold up nobody: not the watch,
// not kube-proxy's removals, not the replica that answers well.
func TestBadConsumers(t *testing.T) {
	const good = `[{"loadBalancer":{"servers":[{"url":"http://10.0.0.1:80"}]}}]`
	hang := make(chan struct{}) // of the slow one
	slow := make(chan struct{}, 100)
	astray := make(chan string, 100)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) { astray <- q.URL.Path }))
	defer elsewhere.Close()
	ssh, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var banners sync.WaitGroup
	banners.Go(func() {
		for {
			c, err := ssh.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, "SSH-2.0-s3cret\r\n") //nolint:errcheck // the client left
			c.Close()
		}
	})
	defer func() { ssh.Close(); banners.Wait() }()
	bad := []struct {
		name, why string
		serve     http.HandlerFunc
	}{
		{"garbage", "GET /api/http/services", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>s3cret") }}, //nolint:errcheck // the client left
		{"error", "answers with status 500; is it the right port?", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "s3cret", 500) }},
		{"slow", "no complete answer within", func(_ http.ResponseWriter, q *http.Request) {
			slow <- struct{}{}
			select {
			case <-hang:
			case <-q.Context().Done():
			}
		}},
		// A machine that is busy may not read as much before the time is over.
		{"endless", "the answer is larger than 64 MiB|no complete answer within", func(w http.ResponseWriter, q *http.Request) {
			io.WriteString(w, "[") //nolint:errcheck // likewise
			for line := []byte(strings.Repeat(`{"loadBalancer":{"servers":[{"url":"http://10.0.0.9:80"}]}},`, 1000)); q.Context().Err() == nil; {
				if _, err := w.Write(line); err != nil {
					return
				}
			}
		}},
		{"redirect", "answers with a redirect to", func(w http.ResponseWriter, q *http.Request) {
			http.Redirect(w, q, elsewhere.URL+"/s3cret", http.StatusFound)
		}},
		{"wrong-port", "does not speak HTTP as it should; is it the right port?", nil},
		{"good", "", func(w http.ResponseWriter, q *http.Request) {
			if q.URL.Path != "/api/http/services" {
				io.WriteString(w, "[]") //nolint:errcheck // likewise
				return
			}
			io.WriteString(w, good) //nolint:errcheck // likewise
		}},
	}
	var pods []watcher.OwnPod
	for i, b := range bad {
		at := netip.MustParseAddrPort(ssh.Addr().String())
		if b.serve != nil {
			s := httptest.NewServer(b.serve)
			defer s.Close()
			at = netip.MustParseAddrPort(s.Listener.Addr().String())
		}
		pods = append(pods, watcher.OwnPod{UID: fmt.Sprint("u", i), Namespace: "edge", Name: b.name, Labels: map[string]string{"app": "ours"}, IPs: []netip.Addr{at.Addr()},
			Containers: []watcher.OwnContainer{{Name: "traefik", ID: "c", Running: true, Ports: []watcher.OwnPort{{Name: "traefik", Number: at.Port()}}}}})
	}
	for i := range 300 {
		pods = append(pods, watcher.OwnPod{UID: fmt.Sprint("w", i), Namespace: "wide", Name: fmt.Sprintf("p%03d", i), Labels: map[string]string{"tier": "front"}, IPs: []netip.Addr{netip.MustParseAddr("127.0.0.1")},
			Containers: []watcher.OwnContainer{{Name: "c", ID: "c", Running: true}}})
	}
	cfg, err := consumer.ParseConfig([]byte(`
consumers:
- {place: traefik, pods: {labels: {app: ours}}}
- {place: haproxy, pods: {labels: {tier: front}, port: 1}}
`))
	if err != nil {
		t.Fatal(err)
	}
	metrics := ledger.NewMetrics(prometheus.NewRegistry(), place, func() float64 { return 0 })
	ring := ledger.NewRing("boot", 1<<20, time.Hour, func(t time.Time) time.Time { return t })
	c := newConsumers(cfg, metrics, ring, time.Hour, slog.New(slog.DiscardHandler))
	runtime.GC()
	before := heapNow()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	c.pods(pods)
	most := uint64(0)
	until(t, "each is named", func() bool {
		most = max(most, heapNow())
		told := c.told()
		for _, b := range bad {
			i := slices.IndexFunc(told, func(c ledger.Consumer) bool { return c.Replica == "edge/"+b.name })
			if i < 0 || (told[i].Unread == "") != (b.why == "") || !slices.ContainsFunc(strings.Split(b.why, "|"), func(why string) bool { return strings.Contains(told[i].Unread, why) }) || strings.Contains(told[i].Unread, "s3cret") {
				return false
			}
		}
		return true
	})
	told := c.told()
	if i := slices.IndexFunc(told, func(c ledger.Consumer) bool { return c.Replica == "284 more" }); i < 0 || !strings.Contains(told[i].Unread, "the labels tier=front match 300 pods on this node, of which 16 are read") {
		t.Errorf("labels that are too wide are not named: %+v", told)
	}
	if len(told) > 64 {
		t.Errorf("%d replicas are told", len(told))
	}
	if grown := (most - min(most, before)) >> 20; grown > 48 {
		t.Errorf("the heap grew by %d MiB", grown)
	}
	select {
	case path := <-astray:
		t.Errorf("a redirect was followed, to %s", path)
	default:
	}

	// One is asked and does not answer: nobody waits for that.
	key := ledger.Key{UID: "pod-1", Path: ledger.Path{Policy: ledger.Cluster, Endpoint: netip.MustParseAddrPort("10.0.0.1:80"),
		Service: ledger.ServicePort{Namespace: "shop", Name: "web", Protocol: "tcp"}}}
	for len(slow) > 0 {
		<-slow
	}
	c.pods(append([]watcher.OwnPod{}, pods...)) // no other replicas, so that nothing begins anew
	now := time.Now()
	c.apply([]ledger.Change{{At: now, Entered: &key}})
	books := ledger.New(ledger.Config{Place: place, Backend: "nftables", Families: []ledger.Family{ledger.IPv4}, Metrics: metrics, Events: ring})
	<-slow // a request hangs from here on
	left := ledger.Change{At: now, Left: &ledger.Removal{Key: key, Seen: now}}
	pending, _ := books.Apply([]ledger.Change{left})
	c.apply([]ledger.Change{left})
	c.tell()
	c.told()
	books.Land([]ledger.Landing{{Key: key, Seen: now, Interval: ledger.Interval{Lo: now, Hi: now.Add(time.Millisecond)}}})
	if text := strings.Join(lines(t, ring), "\n"); len(pending) != 1 || !strings.Contains(text, "removals kube-proxy  landed pod-1") {
		t.Errorf("kube-proxy's removal did not land while a replica hangs:\n%s", text)
	}
	close(hang)
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func heapNow() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
