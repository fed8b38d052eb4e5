package hub

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// besidePod is one as trimBeside leaves it.
func besidePod(name, node, ip, uid string) *corev1.Pod {
	ns, name, _ := strings.Cut(name, "/")
	o, err := trimBeside(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name, UID: types.UID(uid)}, Spec: corev1.PodSpec{NodeName: node},
		Status: corev1.PodStatus{PodIP: ip, Phase: corev1.PodRunning}})
	if err != nil {
		panic(err)
	}
	return o.(*corev1.Pod)
}

// beside adds an agent beside a consumer on a node, which reads it.
func (w *world) beside(pod, host string, cs ...ledger.Consumer) *node {
	w.t.Helper()
	n := w.j.at("beside " + pod)
	n.name, n.beside, n.host, n.boot = host, pod, w.j.at(host), n.bootOf("boot-"+pod)
	n.agent = agentState{state: report.AgentFollowing, ip: "10.0.0.9"}
	w.compare(ms)
	if why := n.consumed(cs); why != "" {
		w.t.Fatal(why)
	}
	return n
}

var envoy = ledger.Consumer{Place: "envoy", Replica: "edge/envoy-x", Fidelity: "dataplane", Lag: 1}

// TestBeside: a replica that an agent beside it reads is a place of its node like any other, and no node.
func TestBeside(t *testing.T) {
	begin := func() (*world, *node) {
		w := newWorld(t, "a", "b")
		w.compare(ms)
		unread := envoy
		unread.Fidelity, unread.Unread = "", "its admin interface is on localhost"
		w.reads("b", unread)
		n := w.beside("edge/envoy-x", "b", envoy)
		w.deleted("a", 0, 30, sleeps("web", 5, 8080))
		for _, n := range []string{"a", "b"} {
			w.seen(n, 10*ms)
			w.landed(n, 10*ms, 98*ms, 100*ms)
		}
		w.applied(11)
		return w, n
	}
	const key = "beside edge/envoy-x"
	pending := ledger.Settled{Opened: 1, Ports: []uint16{8080}, Open: ledger.Open{Pending: 1}}
	t.Run("is last", func(t *testing.T) {
		w, _ := begin()
		w.replica(key, "envoy", "edge/envoy-x", 0, 20*ms, pending)
		if d := w.judged(2 * time.Second); d.Complete || d.Pending != 1 {
			t.Errorf("complete %v with %d pending", d.Complete, d.Pending)
		}
		w.replica(key, "envoy", "edge/envoy-x", 2*time.Second, 3*time.Second, ledger.Settled{Outcomes: map[ledger.Outcome]int{ledger.Landed: 1}})
		d := w.judged(4 * time.Second)
		if !d.Complete || d.Expected != 2 || d.Answered != 2 || len(d.Missing) != 0 || d.Late != report.No {
			t.Errorf("late %s, missing %+v, row %+v", d.Late, d.Missing, d)
		}
		if s := d.Straggler; s == nil || s.Replica != "edge/envoy-x" || s.Node != "b" || kindOf(d, "envoy").LagBound != 1 {
			t.Errorf("straggler %+v, kinds %+v", s, d.Kinds)
		}
	})
	t.Run("has not seen it yet", func(t *testing.T) {
		w, n := begin()
		n.applied = 10
		if d := w.judged(4 * time.Second); d.Complete {
			t.Error("complete before it has seen the change")
		}
		d := w.judged(patience + time.Second)
		if !d.Complete || len(d.Missing) != 1 || d.Missing[0].Kind != "envoy" || d.Missing[0].Place != "edge/envoy-x" || d.Late != report.Unknown || d.Answered != 2 {
			t.Errorf("late %s, missing %+v, %d of %d", d.Late, d.Missing, d.Answered, d.Expected)
		}
	})
	t.Run("does not answer", func(t *testing.T) {
		w, n := begin()
		n.agent.state, n.agent.why, n.followed = report.AgentUnreachable, "agent does not answer: refused", true
		n.heard = w.now.Add(-time.Minute)
		d := w.judged(4 * time.Second)
		if !d.Complete || len(d.Missing) != 1 || d.Missing[0].Kind != "envoy" || !strings.Contains(d.Missing[0].Why, "edge/envoy-x: the agent beside it is not followed: agent does not answer: refused") || d.Late != report.Unknown {
			t.Errorf("late %s, missing %+v", d.Late, d.Missing)
		}
		n.consumers = nil // and never did
		if ms := w.j.reading(nil, []*node{n}).kinds[besideUnknown]; ms == nil || ms.unread != 1 {
			t.Errorf("%+v", ms)
		}
	})
	t.Run("its pod is gone", func(t *testing.T) {
		w, n := begin()
		w.replica(key, "envoy", "edge/envoy-x", 0, 20*ms, pending)
		n.agent = agentState{state: report.AgentMissing}
		d := w.judged(4 * time.Second)
		if !d.Complete || kindOf(d, "envoy").Outcomes[ledger.Excluded] != 1 || outcomesOf(d) != 3 {
			t.Errorf("row %+v", d)
		}
	})
	t.Run("its node is gone", func(t *testing.T) {
		w, _ := begin()
		w.replica(key, "envoy", "edge/envoy-x", 0, 20*ms, pending)
		w.j.nodes["b"].expected = false
		w.j.forget()
		if d := w.judged(4 * time.Second); !d.Complete || kindOf(d, "envoy").Outcomes[ledger.Excluded] != 1 {
			t.Errorf("row %+v", d)
		}
	})
	t.Run("is killed", func(t *testing.T) {
		w, n := begin()
		w.replica(key, "envoy", "edge/envoy-x", 0, 20*ms, pending)
		n.boot, w.seq[key] = n.bootOf("boot-2"), 0
		w.compare(ms)
		if d := w.judged(4 * time.Second); !d.Complete || kindOf(d, "envoy").Outcomes[ledger.Gap] != 1 || d.Late != report.Unknown {
			t.Errorf("row %+v", d)
		}
	})
}

// TestBesideIsEarly: what it tells before anybody has announced the pod is kept for a while, and what nobody announces is dropped.
func TestBesideIsEarly(t *testing.T) {
	w := newWorld(t, "a")
	w.compare(ms)
	n := w.beside("edge/envoy-x", "a", envoy)
	const key = "beside edge/envoy-x"
	w.replica(key, "envoy", "edge/envoy-x", 0, 20*ms, ledger.Settled{Opened: 1, Open: ledger.Open{Pending: 1}})
	w.replica(key, "envoy", "edge/envoy-x", 200*ms, 300*ms, ledger.Settled{Outcomes: map[ledger.Outcome]int{ledger.Landed: 1}})
	if len(w.j.rows) != 0 || len(w.j.early) != 2 || w.j.unknown != 0 {
		t.Fatalf("%d rows, %d early, %d dropped", len(w.j.rows), len(w.j.early), w.j.unknown)
	}
	w.deleted("a", 0, 30, sleeps("web", 5, 8080))
	w.seen("a", 10*ms)
	w.landed("a", 10*ms, 98*ms, 100*ms)
	w.applied(11)
	d := w.judged(3 * time.Second)
	if k := kindOf(d, "envoy"); !d.Complete || k.Outcomes[ledger.Landed] != 1 || k.Pending != 0 || !near(d.LastCall.Hi, .3, .01) || len(w.j.early) != 0 || w.j.unknown != 0 {
		t.Errorf("row %+v, %d early, %d dropped", d, len(w.j.early), w.j.unknown)
	}
	e := ledger.Event{Type: ledger.EventRemovals, Place: "envoy", Replica: n.beside, Family: ledger.IPv4}
	for i := range maxEarly + 10 {
		e.Departures = []ledger.Settled{{UID: fmt.Sprint("nobody-", i)}}
		w.say(key, e)
	}
	if len(w.j.early) != maxEarly || w.j.unknown != 10 {
		t.Errorf("%d early, %d dropped", len(w.j.early), w.j.unknown)
	}
	w.now = w.now.Add(earlyFor + time.Second)
	w.say(key, e)
	if len(w.j.early) != 1 {
		t.Errorf("%d early after a while", len(w.j.early))
	}
	// What a node's agent tells of a pod that nobody announced is a mistake at once.
	w.replica("a", "envoy", "edge/envoy-x", 0, 20*ms, ledger.Settled{Opened: 1, Open: ledger.Open{Pending: 1}})
	e.Departures[0].UID = "nobody"
	was := w.j.unknown
	w.say("a", e)
	if w.j.unknown != was+1 {
		t.Errorf("%d dropped, was %d", w.j.unknown, was)
	}
}

// TestBesideLies: it tells of its own replica, and of nothing else.
func TestBesideLies(t *testing.T) {
	w := newWorld(t, "a")
	n := w.beside("edge/envoy-x", "a", envoy)
	good := func() ledger.Event {
		return ledger.Event{Type: ledger.EventRemovals, Place: "envoy", Replica: "edge/envoy-x", Family: ledger.IPv4, Departures: []ledger.Settled{{UID: "u"}}}
	}
	if why := w.j.implausible(n, new(good()), epoch); why != "" {
		t.Fatal("a good line: ", why)
	}
	for name, spoil := range map[string]func(*ledger.Event){
		"another replica":     func(e *ledger.Event) { e.Replica = "edge/envoy-y" },
		"a node's kube-proxy": func(e *ledger.Event) { e.Place, e.Replica = kubeProxy, "" },
		"a departure": func(e *ledger.Event) {
			e.Type, e.Pod, e.Reason = ledger.EventDeparture, &ledger.Pod{UID: "u"}, ledger.Delete
		},
		"a departure, in the line": func(e *ledger.Event) { e.Departures[0].Leaving = &ledger.Leaving{Reason: ledger.Delete} },
		"an exit":                  func(e *ledger.Event) { e.Type, e.Pod = ledger.EventFarewell, &ledger.Pod{UID: "u"} },
		"connections":              func(e *ledger.Event) { e.Type, e.Witness = ledger.EventWitness, &ledger.Witness{} },
	} {
		e := good()
		spoil(&e)
		if w.j.implausible(n, &e, epoch) == "" {
			t.Errorf("%s passes", name)
		}
	}
	if n.consumed([]ledger.Consumer{{Place: "envoy", Replica: "edge/envoy-y"}}) == "" {
		t.Error("it reads another replica")
	}
}

// TestBesideIsFollowed: found by its pod, followed over the network, and forgotten with its pod.
func TestBesideIsFollowed(t *testing.T) {
	f := newFleet(t, "a", "side")
	side := f.agents[1]
	side.beside = "edge/envoy-x"
	side.hello = ledger.Event{Boot: "boot-side", Type: ledger.EventHello, Node: "a", Consumers: []ledger.Consumer{envoy}}
	f.start()
	defer f.stop()
	places := func(want ...string) {
		t.Helper()
		f.until(fmt.Sprint("places are ", want), func() (bool, string) {
			ps, err := f.hub.Places(t.Context())
			var got []string
			for _, p := range ps {
				got = append(got, fmt.Sprintf("%s %s %s %s", p.Node, p.Kind, p.Replica, p.State))
			}
			return err == nil && strings.Join(got, "\n") == strings.Join(want, "\n"), fmt.Sprint(got, err)
		})
	}
	places("a envoy edge/envoy-x ok", "a kube-proxy  ok")
	t0 := time.Now().UTC()
	f.agents[0].leave("u", true)
	side.say(ledger.Event{Type: ledger.EventRemovals, Place: "envoy", Replica: "edge/envoy-x", Backend: "dataplane", Family: ledger.IPv4, Interval: ledger.Interval{Lo: t0.Add(time.Second), Hi: t0.Add(1200 * ms)},
		Departures: []ledger.Settled{{UID: "u", Opened: 1, Outcomes: map[ledger.Outcome]int{ledger.Landed: 1}}}})
	f.until("it is the last of the row", func() (bool, string) {
		d, err := f.hub.Departure(t.Context(), "u")
		return err == nil && d.Complete && d.Straggler != nil && d.Straggler.Replica == "edge/envoy-x" && d.Expected == 1 && len(d.Missing) == 0, fmt.Sprint(d, err)
	})
	if s, err := f.hub.Status(t.Context()); err != nil || len(s.Agents) != 1 {
		t.Errorf("agents of nodes: %+v, %v", s.Agents, err)
	}
	f.hub.besideGone(besidePod("edge/envoy-x", "a", "127.0.0.3", "another"))
	places("a envoy edge/envoy-x ok", "a kube-proxy  ok")
	f.hub.besideGone(besidePod("edge/envoy-x", "a", "127.0.0.3", "uid-side"))
	places("a kube-proxy  ok")
	f.until("it is not followed any more", func() (bool, string) {
		f.hub.mu.Lock()
		defer f.hub.mu.Unlock()
		return len(f.hub.readers) == 1, fmt.Sprint(f.hub.readers)
	})
	// Another pod of that name.
	f.hub.besideChanged(besidePod("edge/envoy-x", "a", "127.0.0.3", "uid-2"))
	places("a envoy edge/envoy-x ok", "a kube-proxy  ok")
}
