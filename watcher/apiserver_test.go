//go:build linux

package watcher

import (
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/rest"

	"github.com/lastcall-k8s/lastcall/internal/apiserver"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// TestAPIEvents: the baseline and then each event, inline and in order, as protobuf; and nothing
// stays when the watcher ends.
func TestAPIEvents(t *testing.T) {
	server := apiserver.Start(t)
	admin := newAdmin(t, server)
	admin.grant("services", "endpointslices", "pods", "nodes")
	admin.node("n1")
	uid := admin.pod("a", "n1")
	svc := admin.service("web")
	admin.slice("web-1", ready("10.0.0.1", uid), ready("10.0.0.2", "uid-b"), terminating("10.0.0.3", "uid-c"))

	goroutines := runtime.NumGoroutine()
	var contentTypes sync.Map
	cfg := server.AgentConfig(server.Addr())
	cfg.Wrap(func(rt http.RoundTripper) http.RoundTripper {
		return roundTripper{rt, func(a *http.Response) { contentTypes.Store(a.Header.Get("Content-Type"), true) }}
	})
	r := run(t, cfg)
	path := func(addr, uid string) string { return uid + " default/web:http/tcp " + addr + ":8080" }
	r.want("departed uid-c delete unknown", "left "+path("10.0.0.3", "uid-c")+" rearmed")
	r.ready()

	admin.deletePod("a")
	r.want("departed " + uid + " delete pod 30")
	for range 20 {
		admin.slice("web-1", terminating("10.0.0.1", uid), unready("10.0.0.2", "uid-b"))
		r.want("left "+path("10.0.0.2", "uid-b"), "departed uid-b unready slice", "retained "+path("10.0.0.1", uid))
		admin.slice("web-1", terminating("10.0.0.1", uid), ready("10.0.0.2", "uid-b"))
		r.want("left "+path("10.0.0.1", uid), "returned "+path("10.0.0.2", "uid-b"))
		admin.slice("web-1", ready("10.0.0.1", uid), ready("10.0.0.2", "uid-b"))
		r.want("returned " + path("10.0.0.1", uid))
	}
	version := admin.slice("web-1", ready("10.0.0.2", "uid-b"))
	left := r.want("left " + path("10.0.0.1", uid))
	if got, want := left[0].Left.Frontends, []ledger.Frontend{{Addr: svc, Port: 80}}; !cmp.Equal(got, want, cmp.Comparer(func(a, b ledger.Frontend) bool { return a == b })) {
		t.Errorf("frontends %v, want %v", got, want)
	}
	r.until("the slice's version is applied", func() bool { return r.ResourceVersion() == version })

	contentTypes.Range(func(ct, _ any) bool {
		if !strings.HasPrefix(ct.(string), "application/vnd.kubernetes.protobuf") {
			t.Errorf("an answer came as %s", ct)
		}
		return true
	})
	for _, resource := range []string{"services", "endpointslices", "pods", "nodes"} {
		if r.count("received "+resource) == 0 {
			t.Errorf("no bytes counted for %s", resource)
		}
	}
	if n := r.count("lost watch"); n != 0 {
		t.Errorf("%d holes in the watch", n)
	}
	r.stop()
	r.until("every goroutine has ended", func() bool { return runtime.NumGoroutine() <= goroutines })
	if t.Failed() {
		buf := make([]byte, 1<<20)
		t.Logf("%s", buf[:runtime.Stack(buf, true)])
	}
}

// TestAPIWithoutStreamingLists: servers before 1.32 do not stream lists.
func TestAPIWithoutStreamingLists(t *testing.T) {
	server := apiserver.Start(t, "--feature-gates=WatchList=false")
	admin := newAdmin(t, server)
	admin.grant("services", "endpointslices", "pods", "nodes")
	admin.node("n1")
	admin.service("web")
	admin.slice("web-1", ready("10.0.0.1", "uid-a"), ready("10.0.0.2", "uid-b"))
	r := run(t, server.AgentConfig(server.Addr()))
	r.ready()
	admin.slice("web-1", terminating("10.0.0.1", "uid-a"), ready("10.0.0.2", "uid-b"))
	r.want("departed uid-a delete slice", "left uid-a default/web:http/tcp 10.0.0.1:8080")
	if text := r.logged(); strings.Contains(text, "cannot watch") {
		t.Errorf("falling back to lists is no failure:\n%s", text)
	}
}

// TestAPIOutage: the API server is killed, restarted, and forgets its history while the watcher
// cannot reach it. What changed meanwhile is found by the list that follows.
func TestAPIOutage(t *testing.T) {
	server := apiserver.Start(t)
	admin := newAdmin(t, server)
	admin.grant("services", "endpointslices", "pods", "nodes")
	admin.node("n1")
	uid := admin.pod("a", "n1")
	admin.service("web")
	admin.slice("web-1", ready("10.0.0.1", uid), ready("10.0.0.2", "uid-b"), ready("10.0.0.3", "uid-c"))
	gate := newGate(t, server.Addr())
	r := run(t, server.AgentConfig(gate.addr()))
	r.ready()

	// Killed and restarted, nothing changed: nothing is told, and the next event comes.
	server.KillAPI()
	r.until("Ready says what is missing", func() bool {
		err := r.Ready()
		return err != nil && strings.Contains(err.Error(), "watch of endpointslices was interrupted")
	})
	server.StartAPI()
	r.ready()
	admin.slice("web-1", ready("10.0.0.1", uid), unready("10.0.0.2", "uid-b"), ready("10.0.0.3", "uid-c"))
	r.want("left uid-b default/web:http/tcp 10.0.0.2:8080", "departed uid-b unready slice")

	holes := r.count("lost watch")
	gate.close()
	r.until("the watches broke", func() bool { return r.Ready() != nil })
	admin.slice("web-1", terminating("10.0.0.1", uid), ready("10.0.0.2", "uid-b"))
	admin.slice("web-2", ready("10.0.0.4", "uid-d"))
	admin.deletePod("a")
	server.Compact()
	server.KillAPI()
	server.StartAPI()
	opened := time.Now()
	gate.open()
	for _, c := range r.want(
		"departed "+uid+" delete timestamp 30",                    // by the pod; the slice alone could not say when
		"left "+uid+" default/web:http/tcp 10.0.0.1:8080 rearmed", // at some time in the hole
		"departed uid-c vanished unknown",
		"left uid-c default/web:http/tcp 10.0.0.3:8080 rearmed",
		"returned uid-b default/web:http/tcp 10.0.0.2:8080",
	) {
		if c.At.Before(opened) {
			t.Errorf("%s: received before the list", describe(c))
		}
	}
	r.ready()
	if r.count("lost watch") == holes {
		t.Error("the hole was not counted")
	}
	if n := strings.Count(r.logged(), "cannot watch"); n > 3*4 {
		t.Errorf("%d lines for two outages of four watches:\n%s", n, r.logged())
	}
}

// TestAPIForbidden: Ready names the resource and the reason, and the watcher recovers.
func TestAPIForbidden(t *testing.T) {
	server := apiserver.Start(t)
	admin := newAdmin(t, server)
	admin.grant("services", "pods", "nodes")
	r := run(t, server.AgentConfig(server.Addr()))
	r.until("Ready says what is forbidden", func() bool {
		err := r.Ready()
		return err != nil && strings.Contains(err.Error(), "list endpointslices: ") &&
			strings.Contains(err.Error(), "forbidden") && !strings.Contains(err.Error(), "pods")
	})
	admin.grant("services", "endpointslices", "pods", "nodes")
	r.ready()
}

// TestUnreachable needs no API server: there is none.
func TestUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	r := run(t, &rest.Config{Host: "http://" + l.Addr().String()})
	r.until("Ready says why", func() bool {
		err := r.Ready()
		return err != nil && strings.Count(err.Error(), "connection refused") == 4
	})
	if n := strings.Count(r.logged(), "\n"); n != 4 {
		t.Errorf("%d lines for four watches:\n%s", n, r.logged())
	}
	at := time.Now()
	r.stop()
	if took := time.Since(at); took > time.Second {
		t.Errorf("stopping took %s: a back-off was waited for", took)
	}
}
