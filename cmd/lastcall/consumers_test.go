package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/lastcall-k8s/lastcall/hub"
	"github.com/lastcall-k8s/lastcall/ledger"
	"github.com/lastcall-k8s/lastcall/probes/consumer"
	"github.com/lastcall-k8s/lastcall/watcher"
)

// TestConsumers drives the replicas of a node from what the watcher tells to event lines and metrics, over a server that
// answers as Traefik does.
func TestConsumers(t *testing.T) {
	var urls atomic.Pointer[[]string]
	show := func(addresses ...string) { urls.Store(&addresses) }
	show("10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80", "10.0.0.4:80", "10.0.0.5:80")
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.URL.Path != "/api/http/services" {
			io.WriteString(w, "[]") //nolint:errcheck // the client left
			return
		}
		servers := []map[string]string{}
		for _, u := range *urls.Load() {
			servers = append(servers, map[string]string{"url": "http://" + u})
		}
		json.NewEncoder(w).Encode([]any{map[string]any{"loadBalancer": map[string]any{"servers": servers}}}) //nolint:errcheck // likewise
	}))
	defer s.Close()
	at := netip.MustParseAddrPort(strings.TrimPrefix(s.URL, "http://"))

	reg := prometheus.NewPedanticRegistry()
	metrics := ledger.NewMetrics(reg, place, func() float64 { return 0 })
	ring := ledger.NewRing("boot", 1<<20, time.Hour, func(t time.Time) time.Time { return t })
	c := newConsumers(consumer.Config{}, metrics, ring, time.Hour, slog.New(slog.DiscardHandler))
	pod := func(container string) []watcher.OwnPod {
		return []watcher.OwnPod{
			{UID: "u1", Namespace: "edge", Name: "traefik-x", Labels: map[string]string{"app.kubernetes.io/name": "traefik"}, IPs: []netip.Addr{at.Addr()},
				Containers: []watcher.OwnContainer{{Name: "traefik", ID: container, Running: true, Ports: []watcher.OwnPort{{Name: "traefik", Number: at.Port()}}}}},
			{UID: "u2", Namespace: "edge", Name: "nginx-y", Labels: map[string]string{"app.kubernetes.io/name": "ingress-nginx", "app.kubernetes.io/component": "controller"},
				IPs: []netip.Addr{at.Addr()}, Containers: []watcher.OwnContainer{{Name: "controller", ID: "c9", Running: true}}},
		}
	}
	books := ledger.New(ledger.Config{Place: place, Backend: "nftables", Families: []ledger.Family{ledger.IPv4}, Metrics: metrics, Events: ring})
	c.announce = books.Tell
	c.pods(pod("c1")) // before Run
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	until := func(what string, ok func() bool) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("never: %s; %+v\n%s", what, c.status(), strings.Join(lines(t, ring), "\n"))
			}
		}
	}
	looked := func() bool { s := c.status(); return len(s.Replicas) == 1 && s.Replicas[0].Active > 0 }
	until("the replica is looked at", looked)
	if s := c.status(); len(s.Unread) != 1 || s.Unread[0].Place != "ingress-nginx" || !strings.Contains(s.Unread[0].Why, "127.0.0.1:10246") {
		t.Errorf("not read: %+v", s.Unread)
	}

	key := func(n int) ledger.Key {
		return ledger.Key{UID: fmt.Sprint("pod-", n), Path: ledger.Path{Policy: ledger.Cluster, Endpoint: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(n)}), 80),
			Service: ledger.ServicePort{Namespace: "shop", Name: "web", Protocol: "tcp"}}}
	}
	left := func(n int) ledger.Change {
		now := time.Now()
		return ledger.Change{At: now, Left: &ledger.Removal{Key: key(n), Seen: now}}
	}
	// Two that are there, one of a Service that Traefik does not serve, and two of headless Services, of which it serves one.
	headless, elsewhere := left(5), left(9)
	headless.Headless, elsewhere.Headless = true, true
	headless.Left.Path.Service.Name, elsewhere.Left.Path.Service.Name = "peers", "peers"
	// Of a Service that it does not serve alone: it is not asked.
	c.apply([]ledger.Change{left(9), elsewhere})
	if s := c.status().Replicas[0]; s.Pending != 0 || s.Asked[consumer.Pending] != 0 {
		t.Errorf("asked for what it does not serve: %+v", s)
	}
	if n := requests(t, reg, "pending"); n != 0 {
		t.Errorf("%v requests are counted", n)
	}
	// kube-proxy's ledger is told first, and keeps the announcement for the line that its commit will write.
	books.Apply([]ledger.Change{{At: time.Now(), Departed: &ledger.Departure{Pod: ledger.Pod{UID: "pod-1"}, Reason: ledger.Delete}}, left(1)})
	c.apply([]ledger.Change{left(1), left(2), left(9), headless, elsewhere})
	show("10.0.0.3:80", "10.0.0.4:80")
	landed := "removals traefik edge/traefik-x landed"
	until("the three landed", func() bool {
		n := 0
		for _, l := range lines(t, ring) {
			if strings.HasPrefix(l, landed) {
				n += strings.Count(l, "pod-")
			}
		}
		return n == 3
	})
	if s := c.status().Replicas[0]; s.Pending != 0 {
		t.Errorf("%d pending", s.Pending)
	}
	if n := requests(t, reg, "pending"); n == 0 {
		t.Error("no request is counted")
	}
	if text := rawLines(ring); !strings.Contains(text, `"leaving"`) || strings.Index(text, `"leaving"`) > strings.Index(text, `"place":"traefik"`) {
		t.Errorf("a replica names a pod that was not announced:\n%s", text)
	}
	want := []ledger.Consumer{{Place: "traefik", Replica: "edge/traefik-x", Fidelity: "dataplane"},
		{Place: "ingress-nginx", Replica: "edge/nginx-y", Unread: c.status().Unread[0].Why}}
	if got := c.told(); !slices.Equal(got, want) {
		t.Errorf("readers are told of %+v, want %+v", got, want)
	}

	// The container restarts: that place has ended, and another begins.
	c.apply([]ledger.Change{left(3)})
	c.tell()
	if text := rawLines(ring); !strings.Contains(text, `"uid":"pod-3","opened":1`) {
		t.Errorf("what is open was not told:\n%s", text)
	}
	c.pods(pod("c2"))
	until("what was open there is excluded", func() bool {
		return strings.Contains(strings.Join(lines(t, ring), "\n"), "removals traefik edge/traefik-x excluded pod-3")
	})
	c.apply([]ledger.Change{left(4)}) // nobody has looked at the new one yet
	if s := c.status().Replicas[0]; s.Pending != 0 || s.Asked[consumer.Pending] != 0 {
		t.Errorf("opened at a replica that was never read: %+v", s)
	}
	until("the new one is looked at", looked)
	c.apply([]ledger.Change{left(4)})
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
	if text := strings.Join(lines(t, ring), "\n"); !strings.Contains(text, "removals traefik edge/traefik-x gap pod-4") || strings.Contains(text, "pod-9") || strings.Contains(text, "departure") {
		t.Errorf("lines:\n%s", text)
	}
	c.pods(pod("c3")) // after the end: nothing starts

	series := `# HELP lastcall_removals_total Removals by how they ended. Every removal ends in exactly one outcome.
# TYPE lastcall_removals_total counter
`
	for _, o := range []string{"absent 0", "excluded 1", "expired 0", "gap 1", "landed 3", "restored 0", "superseded 0"} {
		name, n, _ := strings.Cut(o, " ")
		series += fmt.Sprintf("lastcall_removals_total{family=\"ipv4\",outcome=%q,place=\"kube-proxy\"} 0\n", name)
		series += fmt.Sprintf("lastcall_removals_total{family=\"ipv4\",outcome=%q,place=\"traefik\"} %s\n", name, n)
	}
	if err := testutil.GatherAndCompare(reg, strings.NewReader(series), "lastcall_removals_total"); err != nil {
		t.Error(err)
	}
	if n, err := testutil.GatherAndCount(reg, "lastcall_consumer_requests_total", "lastcall_consumer_lag_bound_seconds"); n != 3 || err != nil {
		t.Errorf("%d series of requests and lag, %v", n, err)
	}
}

// requests are those of all replicas that are counted with this reason.
func requests(t *testing.T, reg prometheus.Gatherer, why string) (n float64) {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if f.GetName() == "lastcall_consumer_requests_total" && l.GetName() == "why" && l.GetValue() == why {
					n += m.GetCounter().GetValue()
				}
			}
		}
	}
	return n
}

func rawLines(ring *ledger.Ring) (text string) {
	texts, _, _ := ring.Since(1)
	for _, t := range texts {
		text += string(t)
	}
	return text
}

// lines are the removal lines of a ring that settle something, and departures.
func lines(t *testing.T, ring *ledger.Ring) (out []string) {
	t.Helper()
	texts, _, _ := ring.Since(1)
	for _, text := range texts {
		var e ledger.Event
		if err := json.Unmarshal(text, &e); err != nil {
			t.Fatal(err)
		}
		for _, d := range e.Departures {
			for o := range d.Outcomes {
				out = append(out, fmt.Sprintf("%s %s %s %s %s", e.Type, e.Place, e.Replica, o, d.UID))
			}
		}
		if e.Type == ledger.EventDeparture {
			out = append(out, "departure")
		}
	}
	return out
}

// TestConsumersOfTheHub: the hub takes these kinds for known.
func TestConsumersOfTheHub(t *testing.T) {
	var names []string
	for _, k := range consumer.Kinds {
		names = append(names, k.Name)
	}
	if !slices.Equal(names, hub.Consumers) {
		t.Errorf("agents read %q, the hub knows %q", names, hub.Consumers)
	}
}

// TestConsumersFlag: a file that is wrong is told at start.
func TestConsumersFlag(t *testing.T) {
	for flag, want := range map[string]string{"/nonexistent": "no such file", "consumers_test.go": "--consumers consumers_test.go"} {
		if _, _, err := consumersOf(flag); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", flag, err)
		}
	}
	if _, on, err := consumersOf(""); on || err != nil {
		t.Errorf("on %v without the flag, %v", on, err)
	}
}
