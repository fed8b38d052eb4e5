package hub

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// reads: the agent of a node names these replicas.
func (w *world) reads(node string, cs ...ledger.Consumer) {
	w.t.Helper()
	if why := w.j.nodes[node].consumed(cs); why != "" {
		w.t.Fatal(why)
	}
}

// replica is a line of one.
func (w *world) replica(node, kind, name string, lo, hi time.Duration, s ledger.Settled) {
	e := ledger.Event{Type: ledger.EventRemovals, At: w.at(node, hi), Place: kind, Replica: name, Backend: "dataplane", Family: ledger.IPv4}
	if s.Outcomes[ledger.Landed] > 0 {
		e.Interval = ledger.Interval{Lo: w.at(node, lo), Hi: w.at(node, hi)}
	}
	s.UID = "u"
	e.Departures = []ledger.Settled{s}
	if why := w.j.implausible(w.j.nodes[node], &e, w.now.Add(time.Hour)); why != "" {
		w.t.Fatal(why)
	}
	w.say(node, e)
}

func landedOnce() ledger.Settled {
	return ledger.Settled{Opened: 1, Outcomes: map[ledger.Outcome]int{ledger.Landed: 1}}
}

func kindOf(d report.Departure, name string) report.Kind {
	for _, k := range d.Kinds {
		if k.Kind == name {
			return k
		}
	}
	return report.Kind{}
}

// TestConsumerIsLast: a replica is a place as a node's kube-proxy is, and may be the last; the kinds are told apart.
func TestConsumerIsLast(t *testing.T) {
	w := newWorld(t, "a", "b")
	w.clock("a", 3*time.Second, 0)
	w.compare(ms)
	traefik := ledger.Consumer{Place: "traefik", Replica: "edge/traefik-x", Fidelity: "dataplane", Lag: 2}
	w.reads("b", traefik, ledger.Consumer{Place: "traefik", Replica: "edge/traefik-y", Fidelity: "dataplane", Lag: 2})
	w.deleted("a", 0, 30, sleeps("web", 5, 8080))
	for _, n := range []string{"a", "b"} {
		w.seen(n, 10*ms)
		w.landed(n, 10*ms, 98*ms, 100*ms)
	}
	w.replica("b", "traefik", "edge/traefik-x", 0, 20*ms, ledger.Settled{Opened: 1, Ports: []uint16{8080}, Open: ledger.Open{Pending: 1}})
	w.applied(11)
	if d := w.judged(2 * time.Second); d.Complete || d.Pending != 1 || d.Late != report.Unknown {
		t.Fatalf("complete %v with %d pending at the replica, late %s", d.Complete, d.Pending, d.Late)
	}
	b, at := w.j.nodes["b"], spot{"traefik", "edge/traefik-x", ledger.IPv4}
	open := w.j.pending()
	if o := open.others[otherAt{b, at}]; o.pending != 1 || !o.oldest.Equal(epoch) || open.of(b, ledger.IPv4).pending != 0 || open.of(b, "").pending != 0 {
		t.Errorf("pending %+v", open)
	}
	for age, want := range map[time.Duration]report.PlaceState{time.Minute: report.PlaceOK, 6 * time.Minute: report.PlaceStuck} {
		p := report.Place{Replica: at.replica}
		open.others[otherAt{b, at}].tell(&p, epoch.Add(age))
		if state, why := b.replica(p, ""); state != want || (why == "") != (want == report.PlaceOK) {
			t.Errorf("pending for %v it is %s: %s", age, state, why)
		}
	}
	// traefik-y was last seen with the pod before T0: there is no lower bound.
	w.replica("b", "traefik", "edge/traefik-y", -time.Minute, 400*ms, landedOnce())
	w.replica("b", "traefik", "edge/traefik-x", 2*time.Second, 4*time.Second, ledger.Settled{Outcomes: map[ledger.Outcome]int{ledger.Landed: 1},
		SeenFirst: w.at("b", 15*ms), SeenLast: w.at("b", 15*ms)})
	d := w.judged(6 * time.Second)
	if !d.Complete || d.Pending != 0 || len(d.Missing) > 0 || d.Expected != 2 || d.Answered != 2 {
		t.Fatalf("row %+v", d)
	}
	if !near(d.LastCall.Lo, 2, .01) || !near(d.LastCall.Hi, 4, .01) || d.Late != report.No {
		t.Errorf("last call %+v, late %s", d.LastCall, d.Late)
	}
	if s := d.Straggler; s == nil || s.Replica != "edge/traefik-x" || s.Kind != "traefik" || s.Node != "b" || s.Name() != s.Replica || s.Stages == nil {
		t.Errorf("straggler %+v, one of %d", s, d.OneOf)
	}
	if len(d.Kinds) != 2 || d.Kinds[0].Kind != kubeProxy || d.Kinds[0].Fidelity != "" || !near(d.Kinds[0].LastCall.Hi, .1, .01) {
		t.Errorf("kinds %+v", d.Kinds)
	}
	if k := kindOf(d, "traefik"); k.Places != 2 || k.Outcomes[ledger.Landed] != 2 || !near(k.LastCall.Hi, 4, .01) || k.Fidelity != "dataplane" || k.LagBound != 2 {
		t.Errorf("traefik %+v", k)
	}
	for _, l := range d.Slowest {
		if l.Replica == "edge/traefik-y" && (l.Landed.Lo != 0 || !near(l.Landed.Hi, .4, .01)) {
			t.Errorf("seen active before T0: landed %+v", l.Landed)
		}
	}
	if head := d.Headline(); !strings.HasPrefix(head, "edge/traefik-x (traefik on b) let go last") {
		t.Error(head)
	}
	// Frozen, it holds no part any more, and says the same.
	w.j.freeze(w.j.rows["u"], d)
	if again := w.judged(7 * time.Second); w.j.held != 0 || again.Straggler.Replica != "edge/traefik-x" || len(again.Kinds) != 2 {
		t.Errorf("%d parts held, %+v", w.j.held, again)
	}
}

// TestHeadless: where only DNS routes to a pod, kube-proxy has no place, and takes none.
func TestHeadless(t *testing.T) {
	w := newWorld(t, "a", "b")
	w.compare(ms)
	w.reads("b", ledger.Consumer{Place: "dns", Replica: "kube-system/coredns-x", Fidelity: "dataplane"})
	w.deleted("a", 0, 30, sleeps("web", 5))
	w.applied(11)
	w.replica("b", "dns", "kube-system/coredns-x", 10*ms, 60*ms, landedOnce())
	d := w.judged(3 * time.Second)
	if !d.Complete || len(d.Kinds) != 1 || d.Kinds[0].Kind != "dns" || !near(d.LastCall.Hi, .06, .01) || d.Late != report.No {
		t.Errorf("row %+v", d)
	}
	if r := w.j.rows["u"]; len(r.parts[0])+len(r.parts[1]) != 0 || w.j.held != othersWeigh {
		t.Errorf("%d and %d parts of nodes, %d held", len(r.parts[0]), len(r.parts[1]), w.j.held)
	}
}

// TestReplicaEnds: whoever ends at a replica has one outcome, also when its agent dies: nobody takes that up.
func TestReplicaEnds(t *testing.T) {
	begin := func() *world {
		w := newWorld(t, "a", "b")
		w.compare(ms)
		w.deleted("a", 0, 30, sleeps("web", 20))
		for _, n := range []string{"a", "b"} {
			w.seen(n, 10*ms)
			w.landed(n, 10*ms, 98*ms, 100*ms)
		}
		w.replica("b", "envoy", "edge/envoy-x", 0, 20*ms, ledger.Settled{Opened: 2, Open: ledger.Open{Pending: 2}})
		w.applied(11)
		return w
	}
	t.Run("excluded", func(t *testing.T) {
		w := begin()
		w.replica("b", "envoy", "edge/envoy-x", 0, 2*time.Second, ledger.Settled{Outcomes: map[ledger.Outcome]int{ledger.Excluded: 2}})
		d := w.judged(3 * time.Second)
		if !d.Complete || kindOf(d, "envoy").Outcomes[ledger.Excluded] != 2 || d.Late != report.No {
			t.Errorf("row %+v", d)
		}
	})
	t.Run("its agent is killed", func(t *testing.T) {
		w := begin()
		n := w.j.nodes["b"]
		n.boot, w.seq["b"] = n.bootOf("boot-2"), 0
		w.compare(ms)
		if d := w.judged(3 * time.Second); !d.Complete || kindOf(d, "envoy").Outcomes[ledger.Gap] != 2 || d.Pending != 0 || outcomesOf(d) != 4 || d.Late != report.Unknown {
			t.Errorf("row %+v", d)
		}
	})
	t.Run("its node is gone", func(t *testing.T) {
		w := begin()
		w.j.nodes["b"].expected = false
		if d := w.judged(3 * time.Second); !d.Complete || kindOf(d, "envoy").Outcomes[ledger.Excluded] != 2 || outcomesOf(d) != 4 {
			t.Errorf("row %+v", d)
		}
	})
	t.Run("its agent is killed, and the next one opens it anew", func(t *testing.T) {
		w := begin()
		n := w.j.nodes["b"]
		n.boot, w.seq["b"] = n.bootOf("boot-2"), 0
		w.compare(ms)
		w.replica("b", "envoy", "edge/envoy-x", 0, time.Second, ledger.Settled{Opened: 1, Open: ledger.Open{Pending: 1}})
		if d := w.judged(3 * time.Second); d.Complete {
			t.Error("complete with something pending")
		}
		w.replica("b", "envoy", "edge/envoy-x", 4*time.Second, 5*time.Second, ledger.Settled{Outcomes: map[ledger.Outcome]int{ledger.Landed: 1}})
		d := w.judged(6 * time.Second)
		if k := kindOf(d, "envoy"); !d.Complete || k.Outcomes[ledger.Gap] != 2 || k.Outcomes[ledger.Landed] != 1 || outcomesOf(d) != 5 {
			t.Errorf("row %+v", d)
		}
	})
}

// TestUnread: a replica that cannot be read is named by its kind, and nothing is called safe that it may send to. It is none of the
// nodes that answer.
func TestUnread(t *testing.T) {
	w := newWorld(t, "a", "b")
	w.compare(ms)
	nginx := ledger.Consumer{Place: "ingress-nginx", Replica: "edge/nginx-y", Unread: "its status is on localhost"}
	w.reads("a", nginx, ledger.Consumer{Place: "traefik", Replica: "edge/traefik-x", Fidelity: "dataplane"})
	w.reads("b", ledger.Consumer{Place: "ingress-nginx", Replica: "edge/nginx-z", Fidelity: "config"}, ledger.Consumer{Place: "moon", Replica: "edge/moon"})
	w.deleted("a", 0, 30, sleeps("web", 5, 8080))
	for _, n := range []string{"a", "b"} {
		w.seen(n, 10*ms)
		w.landed(n, 10*ms, 98*ms, 100*ms)
	}
	w.applied(11)
	d := w.judged(3 * time.Second)
	if !d.Complete || d.Expected != 2 || d.Answered != 2 || d.Late != report.Unknown || len(d.Missing) != 2 {
		t.Fatalf("late %s, missing %+v, row %+v", d.Late, d.Missing, d)
	}
	if m := d.Missing[0]; m.Kind != "ingress-nginx" || m.Place != m.Kind || !strings.HasPrefix(m.Why, "1 of 2 replicas cannot be read") || !strings.Contains(m.Why, "edge/nginx-y: its status is on localhost") {
		t.Errorf("%+v", m)
	}
	if m := d.Missing[1]; m.Kind != "moon" || !strings.Contains(m.Why, "--consumer-kinds") {
		t.Errorf("%+v", m)
	}
	// Named in the configuration it is known; once all are read there is nothing left to name.
	w = newWorld(t, "a")
	w.compare(ms)
	w.j.kinds = []string{"moon"}
	w.reads("a", ledger.Consumer{Place: "moon", Replica: "edge/moon"})
	w.deleted("a", 0, 30, sleeps("web", 5, 8080))
	w.seen("a", 10*ms)
	w.landed("a", 10*ms, 98*ms, 100*ms)
	w.replica("a", "moon", "edge/moon", 20*ms, 30*ms, landedOnce())
	w.applied(11)
	if d := w.judged(3 * time.Second); d.Late != report.No || len(d.Missing) != 0 || kindOf(d, "moon").Places != 1 {
		t.Errorf("late %s, row %+v", d.Late, d)
	}
}

// TestHostileConsumers: kinds become label values, and replicas are held: what an agent says of them is bounded.
func TestHostileConsumers(t *testing.T) {
	w := newWorld(t, "a")
	w.compare(ms)
	n := w.j.nodes["a"]
	good := func() ledger.Event {
		return ledger.Event{Type: ledger.EventRemovals, At: w.at("a", 0), Place: "traefik", Replica: "edge/x", Family: ledger.IPv4, Departures: []ledger.Settled{{UID: "u"}}}
	}
	if why := w.j.implausible(n, new(good()), epoch); why != "" {
		t.Fatal("a good line: ", why)
	}
	for name, spoil := range map[string]func(*ledger.Event){
		"a kind that nobody knows":     func(e *ledger.Event) { e.Place = "moon" },
		"no kind":                      func(e *ledger.Event) { e.Place = "" },
		"no replica":                   func(e *ledger.Event) { e.Replica = "" },
		"a long replica":               func(e *ledger.Event) { e.Replica = strings.Repeat("r", 1000) },
		"a long backend":               func(e *ledger.Event) { e.Backend = strings.Repeat("b", 1000) },
		"a kube-proxy with a replica":  func(e *ledger.Event) { e.Place = kubeProxy },
		"a kind that looks like known": func(e *ledger.Event) { e.Place = "Traefik" },
	} {
		e := good()
		spoil(&e)
		if w.j.implausible(n, &e, epoch) == "" {
			t.Errorf("%s passes", name)
		}
	}
	for name, c := range map[string]ledger.Consumer{
		"no kind":                 {Replica: "r"},
		"no replica":              {Place: "traefik"},
		"kube-proxy":              {Place: kubeProxy, Replica: "r"},
		"a long kind":             {Place: strings.Repeat("k", 100), Replica: "r"},
		"a long replica":          {Place: "traefik", Replica: strings.Repeat("r", 1000)},
		"a lag that is none":      {Place: "traefik", Replica: "r", Lag: -1},
		"a lag of a hundred days": {Place: "traefik", Replica: "r", Lag: 1e7},
	} {
		if n.consumed([]ledger.Consumer{c}) == "" {
			t.Errorf("a consumer with %s passes", name)
		}
	}
	if n.consumed(make([]ledger.Consumer, maxConsumers+1)) == "" {
		t.Error("a list without end passes")
	}
	w.deleted("a", 0, 30)
	for i := range 3 * maxOthers {
		if i == 2*maxOthers {
			n.boot, w.seq["a"] = n.bootOf("boot-2"), 0
		}
		w.replica("a", "traefik", fmt.Sprint("edge/x", i), 0, 20*ms, ledger.Settled{Opened: 1, Open: ledger.Open{Pending: 1}})
	}
	if r := w.j.rows["u"]; len(r.others) != maxOthers || w.j.held != othersWeigh*maxOthers || w.j.unknown != 2*maxOthers || r.open != maxOthers {
		t.Errorf("%d parts, %d held, %d passed over, %d open", len(r.others), w.j.held, w.j.unknown, r.open)
	}
}

// TestRealConsumerLines: the lines are those that ledgers of one agent write into one ring.
func TestRealConsumerLines(t *testing.T) {
	w := newWorld(t, "a", "b")
	w.compare(ms)
	w.applied(11)
	ring := ledger.NewRing("boot-a", 1<<20, time.Hour, func(at time.Time) time.Time { return at })
	metrics := ledger.NewMetrics(prometheus.NewRegistry(), kubeProxy, func() float64 { return 0 })
	books := func(place, replica, backend string) *ledger.Ledger {
		return ledger.New(ledger.Config{Place: place, Replica: replica, Backend: backend, Families: []ledger.Family{ledger.IPv4}, Events: ring, Metrics: metrics.For(place, backend)})
	}
	all := []*ledger.Ledger{books(kubeProxy, "", "nftables"), books("traefik", "edge/x", "dataplane"), books("traefik", "edge/y", "dataplane")}
	k := ledger.Key{UID: "u", Path: ledger.Path{Service: ledger.ServicePort{Namespace: "shop", Name: "web", Protocol: "tcp"}, Policy: ledger.Cluster, Endpoint: netip.MustParseAddrPort("10.0.0.1:80")}}
	seen := w.at("a", ms)
	grace := int64(30)
	all[0].Apply([]ledger.Change{{At: seen, Departed: &ledger.Departure{Pod: ledger.Pod{UID: "u", Namespace: "shop", Name: "web-1"}, Reason: ledger.Delete, T0: seen, Source: ledger.FromSlice, Grace: grace}}})
	for i, l := range all {
		l.Apply([]ledger.Change{{At: seen, ResourceVersion: "11", Left: &ledger.Removal{Key: k, Seen: seen}}})
		l.Tell()
		hi := w.at("a", time.Duration(i+1)*100*ms)
		l.Land([]ledger.Landing{{Key: k, Seen: seen, Interval: ledger.Interval{Lo: hi.Add(-50 * ms), Hi: hi}}})
	}
	texts, _, _ := ring.Since(1)
	for _, text := range texts {
		var e ledger.Event
		if err := json.Unmarshal(text, &e); err != nil {
			t.Fatal(err)
		}
		if why := w.j.implausible(w.j.nodes["a"], &e, w.now); why != "" {
			t.Errorf("%s: %s", why, text)
		}
		w.say("a", e)
	}
	d := w.judged(3 * time.Second)
	if !d.Complete || outcomesOf(d) != 3 || kindOf(d, "traefik").Places != 2 || !near(d.LastCall.Hi, .3, .01) || w.j.unknown != 0 {
		t.Errorf("%d unknown, row %+v\n%s", w.j.unknown, d, bytes.Join(texts, nil))
	}
}

// TestConsumersOfAnAgent: what an agent says of its replicas comes with its hello and heartbeats, and is what places shows; rows and
// metrics have them by kind.
func TestConsumersOfAnAgent(t *testing.T) {
	f := newFleet(t, "a")
	a := f.agents[0]
	a.hello.Consumers = []ledger.Consumer{{Place: "traefik", Replica: "edge/x", Fidelity: "dataplane"}, {Place: "envoy", Replica: "edge/e", Unread: "on localhost"}}
	f.start()
	defer f.stop()
	grace := int64(30)
	t0 := time.Now().UTC()
	a.say(ledger.Event{Type: ledger.EventDeparture, Pod: &ledger.Pod{UID: "u", Namespace: "shop", Name: "web-1", Node: "a"}, Reason: ledger.Delete, T0: t0, T0Source: ledger.FromPod, Grace: &grace,
		Containers: []ledger.Container{{Name: "web", PreStop: ledger.PreStop{Kind: ledger.NoPreStop}}}})
	for _, p := range []struct{ kind, replica string }{{kubeProxy, ""}, {"traefik", "edge/x"}, {"moon", "edge/m"}} {
		a.say(ledger.Event{Type: ledger.EventRemovals, Place: p.kind, Replica: p.replica, Backend: "dataplane", Family: ledger.IPv4, Interval: ledger.Interval{Lo: t0, Hi: t0.Add(time.Millisecond)},
			Departures: []ledger.Settled{{UID: "u", Opened: 1, Outcomes: map[ledger.Outcome]int{ledger.Landed: 1}}}})
	}
	var d report.Departure
	f.until("the row is complete", func() (bool, string) {
		var err error
		d, err = f.hub.Departure(t.Context(), "u")
		return err == nil && d.Complete, fmt.Sprint(d, err)
	})
	if len(d.Kinds) != 2 || kindOf(d, "traefik").Places != 1 || len(d.Missing) != 1 || d.Missing[0].Kind != "envoy" {
		t.Errorf("kinds %+v, missing %+v", d.Kinds, d.Missing)
	}
	if n := testutil.ToFloat64(f.hub.metrics.malformed); n != 1 {
		t.Errorf("%v lines malformed, want that of the moon", n)
	}
	f.until("each kind of place is counted", func() (bool, string) {
		n := testutil.CollectAndCount(f.hub.metrics.place, "lastcall_place_departure_duration_seconds")
		return n == 2, fmt.Sprint(n)
	})
	want := map[string]report.PlaceState{"": report.PlaceOK, "edge/x": report.PlaceOK, "edge/e": report.PlaceNotMeasured}
	f.until("the places are listed", func() (bool, string) {
		ps, err := f.hub.Places(t.Context())
		for _, p := range ps {
			if want[p.Replica] != p.State || p.Replica == "edge/x" && (p.Kind != "traefik" || p.Samples != 1) || p.Replica == "edge/e" && p.Why != "on localhost" {
				return false, fmt.Sprint(p)
			}
		}
		return err == nil && len(ps) == len(want), fmt.Sprint(ps, err)
	})
	s, err := f.hub.Status(t.Context())
	if d := cmp.Diff([]report.ConsumerKind{{Kind: "envoy", Replicas: 1, Unread: []report.Unread{{Why: "on localhost", Replicas: 1, Replica: "edge/e", Node: "a"}}},
		{Kind: "traefik", Replicas: 1, Read: 1, Fidelity: "dataplane"}}, s.Consumers); d != "" || err != nil {
		t.Errorf("%v, the hub's account of them (-want +got):\n%s", err, d)
	}
	// A heartbeat replaces the list, an empty one ends it, and one without leaves it.
	n := f.hub.join.nodes["a"]
	beat := func(cs []ledger.Consumer) int {
		f.hub.mu.Lock()
		defer f.hub.mu.Unlock()
		if _, err := f.hub.line(n, &ledger.Event{Boot: "boot-a", Type: ledger.EventHeartbeat, Consumers: cs}, time.Now()); err != nil {
			t.Error(err)
		}
		return len(n.consumers)
	}
	for _, step := range []struct {
		told []ledger.Consumer
		want int
	}{{nil, 2}, {[]ledger.Consumer{{Place: "envoy", Replica: "edge/e"}}, 1}, {nil, 1}, {[]ledger.Consumer{}, 0}} {
		if got := beat(step.told); got != step.want {
			t.Errorf("after %+v: %d consumers, want %d", step.told, got, step.want)
		}
	}
	var e ledger.Event
	if err := decode([]byte(`{"type":"heartbeat","consumers":[]}`), &e); err != nil || e.Consumers == nil {
		t.Errorf("an empty list is read as %v, %v", e.Consumers, err)
	}
	if text, err := json.Marshal(ledger.Event{Consumers: []ledger.Consumer{}}); err != nil || !strings.Contains(string(text), `"consumers":[]`) {
		t.Errorf("an empty list is written as %s, %v", text, err)
	}
}
