package hub

import (
	"encoding/json"
	"net/netip"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lastcall-k8s/lastcall/ledger"
)

// TestLinesOfBothFamilies: the lines are those that a real ledger writes for a dual-stack pod, whose families land one after the
// other. The row is complete when both have.
func TestLinesOfBothFamilies(t *testing.T) {
	w := newWorld(t, "a")
	w.compare(ms)
	families := []ledger.Family{ledger.IPv4, ledger.IPv6}
	w.j.nodes["a"].families = families
	ring := ledger.NewRing("boot-a", 1<<20, time.Hour, func(at time.Time) time.Time { return at })
	books := ledger.New(ledger.Config{Place: kubeProxy, Backend: "nftables", Families: families, Events: ring,
		Metrics: ledger.NewMetrics(prometheus.NewRegistry(), kubeProxy, func() float64 { return 0 })})
	next := uint64(1)
	hear := func() {
		books.Tell()
		var texts [][]byte
		texts, next, _ = ring.Since(next)
		for _, text := range texts {
			var e ledger.Event
			if err := json.Unmarshal(text, &e); err != nil {
				t.Fatal(err)
			}
			w.say("a", e)
		}
	}
	var keys []ledger.Key
	for _, at := range []string{"10.0.0.1:80", "[fd00::1]:80"} {
		keys = append(keys, ledger.Key{UID: "u", Path: ledger.Path{Service: ledger.ServicePort{Namespace: "shop", Name: "web", Protocol: "tcp"},
			Policy: ledger.Cluster, Endpoint: netip.MustParseAddrPort(at)}})
	}
	w.deleted("a", 0, 30)
	for i, k := range keys { // each family has slices of its own
		seen := w.at("a", time.Duration(i+1)*ms)
		books.Apply([]ledger.Change{{At: seen, ResourceVersion: "11", Left: &ledger.Removal{Key: k, Seen: seen}}})
	}
	hear()
	w.applied(11)
	for i, k := range keys {
		if d := w.judged(2 * time.Second); d.Complete || d.Pending != 2-i {
			t.Errorf("with %d landed: complete %v, %d pending", i, d.Complete, d.Pending)
		}
		hi := w.at("a", time.Duration(i+1)*100*ms)
		books.Land([]ledger.Landing{{Key: k, Seen: w.at("a", time.Duration(i+1)*ms), Interval: ledger.Interval{Lo: hi.Add(-ms), Hi: hi}}})
		hear()
	}
	if d := w.judged(3 * time.Second); !d.Complete || d.Pending != 0 || d.Kinds[0].Outcomes[ledger.Landed] != 2 || !near(d.LastCall.Hi, .2, .001) {
		t.Errorf("complete %v, %d pending, %+v, last call %+v", d.Complete, d.Pending, d.Kinds, d.LastCall)
	}
}
