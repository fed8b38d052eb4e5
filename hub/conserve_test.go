package hub

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// settle says how removals of u ended on a node, and what is open after it.
func (w *world) settle(name string, f ledger.Family, lo, hi time.Duration, o ledger.Outcome, n int, rearmed bool, open ledger.Open) {
	e := ledger.Event{Type: ledger.EventRemovals, At: w.at(name, hi), Place: kubeProxy, Family: f,
		Departures: []ledger.Settled{{UID: "u", Outcomes: map[ledger.Outcome]int{o: n}, Rearmed: rearmed, Open: open}}}
	if o == ledger.Landed {
		e.Interval = ledger.Interval{Hi: w.at(name, hi)}
		if !rearmed {
			e.Lo = w.at(name, lo)
			e.Departures[0].SeenFirst, e.Departures[0].SeenLast = w.at(name, 5*ms), w.at(name, 5*ms)
		}
	}
	w.say(name, e)
}

func outcomesOf(d report.Departure) (n int) {
	for _, k := range d.Kinds {
		for _, c := range k.Outcomes {
			n += c
		}
	}
	return n
}

// TestEveryRemovalOnce: whatever happens to removals, and whenever a row is looked at, each is either open or has one outcome.
// What the agents' clocks show changes nothing beyond the error that is said.
func TestEveryRemovalOnce(t *testing.T) {
	for seed := range uint64(60) {
		// The same story by perfect clocks and by wrong ones.
		tell := func(wrong bool) report.Departure {
			r := rand.New(rand.NewPCG(seed, 7))
			var names []string
			for i := range 2 + r.IntN(6) {
				names = append(names, fmt.Sprintf("n%d", i))
			}
			w := newWorld(t, names...)
			for _, n := range names {
				off, ppm := time.Duration(r.Int64N(int64(20*time.Second)))-10*time.Second, 200*r.Float64()-100
				if wrong {
					w.clock(n, off, ppm)
				}
			}
			w.compare(2 * ms)
			w.deleted("n0", 0, 30)
			total := map[ledger.Outcome]int{}
			opened := 0
			check := func(d report.Departure) {
				t.Helper()
				if got := outcomesOf(d) + d.Pending; got != opened {
					t.Fatalf("seed %d: %d opened, but outcomes and pending make %d: %+v", seed, opened, got, d.Kinds)
				}
			}
			for _, n := range names {
				for _, f := range []ledger.Family{ledger.IPv4, ledger.IPv6} {
					paths := r.IntN(4)
					if paths == 0 {
						continue
					}
					opened += paths
					w.say(n, ledger.Event{Type: ledger.EventRemovals, At: w.at(n, 5*ms), Place: kubeProxy, Family: f, ResourceVersion: "11",
						Departures: []ledger.Settled{{UID: "u", Open: ledger.Open{Pending: paths}}}})
					at := 10 * time.Millisecond
					for left := paths - 1; left >= 0; left-- {
						at += time.Duration(r.IntN(900)) * ms
						o := ledger.Landed
						if r.IntN(3) == 0 {
							o = ledger.Outcomes[r.IntN(len(ledger.Outcomes))]
						}
						total[o]++
						w.settle(n, f, at-2*ms, at, o, 1, false, ledger.Open{Pending: left})
						check(w.judged(0))
					}
				}
			}
			w.applied(11)
			d := w.judged(40 * time.Second)
			check(d)
			if !d.Complete || d.Pending != 0 {
				t.Fatalf("seed %d: not complete: %+v", seed, d)
			}
			got := map[ledger.Outcome]int{}
			if len(d.Kinds) > 0 {
				got = d.Kinds[0].Outcomes
			}
			if !maps.Equal(got, total) {
				t.Fatalf("seed %d: outcomes %v, want %v", seed, got, total)
			}
			return d
		}
		true_, told := tell(false), tell(true)
		if (true_.LastCall == nil) != (told.LastCall == nil) {
			t.Fatalf("seed %d: last call %v, by perfect clocks %v", seed, told.LastCall, true_.LastCall)
		}
		if true_.LastCall != nil {
			// Each is within 2 ms of rtt and 200 ppm of a minute; both say their own error.
			if a, b := *true_.LastCall, *told.LastCall; !near(a.Lo, b.Lo, .03) || !near(a.Hi, b.Hi, .03) {
				t.Errorf("seed %d: last call %v, by perfect clocks %v", seed, b, a)
			}
		}
		if a, b := true_.Straggler, told.Straggler; a != nil && b != nil && (a.Node != b.Node || a.Family != b.Family) {
			t.Errorf("seed %d: straggler %v, by perfect clocks %v", seed, b, a)
		}
		for _, l := range told.Slowest {
			if l.Stages != nil && !near(l.Stages.API+l.Stages.Watch+l.Stages.Program, l.Landed.Hi, 1e-9) {
				t.Errorf("seed %d: stages %+v do not make %v", seed, l.Stages, l.Landed.Hi)
			}
		}
	}
}

// TestGivenUp: what is open at a place that ended, or that nobody hears of any more, has an outcome when the row is complete.
func TestGivenUp(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*node)
		after  time.Duration
		want   ledger.Outcome
		late   report.Late
	}{
		{"the node is not Ready", func(n *node) { n.ready = false }, 2 * time.Second, ledger.Excluded, report.No},
		{"the node is gone", func(n *node) { n.expected = false }, 2 * time.Second, ledger.Excluded, report.No},
		{"its agent is gone", func(n *node) { n.agent = agentState{state: report.AgentMissing, why: "no agent runs there"} }, 2 * time.Second, ledger.Gap, report.Unknown},
		{"its agent does not answer", func(n *node) { n.agent = agentState{state: report.AgentUnreachable, why: "agent does not answer"} }, 20 * time.Second, ledger.Gap, report.Unknown},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, "a", "b")
			w.compare(ms)
			w.deleted("a", 0, 60, sleeps("web", 45))
			w.seen("a", 10*ms)
			w.seen("b", 10*ms)
			w.landed("a", 10*ms, 19*ms, 20*ms)
			w.applied(11)
			if d := w.judged(2 * time.Second); d.Complete {
				t.Fatal("complete while it is pending")
			}
			tt.change(w.j.nodes["b"])
			d := w.judged(tt.after)
			if !d.Complete || d.Pending != 0 || outcomesOf(d) != 2 || d.Kinds[0].Outcomes[tt.want] != 1 || d.Late != tt.late {
				t.Errorf("complete %v, pending %d, %v, late %s", d.Complete, d.Pending, d.Kinds, d.Late)
			}
			if tt.want == ledger.Gap && d.Straggler != nil {
				t.Errorf("%s is named as the last", d.Straggler.Node)
			}
		})
	}
	t.Run("its stream broke a moment ago", func(t *testing.T) {
		w := newWorld(t, "a", "b")
		w.compare(ms)
		w.deleted("a", 0, 60, sleeps("web", 45))
		w.seen("a", 10*ms)
		w.seen("b", 10*ms)
		w.applied(11)
		n := w.j.nodes["b"]
		n.agent, n.heard, n.followed = agentState{state: report.AgentUnreachable, why: "agent does not answer"}, epoch.Add(58*time.Second), true
		w.landed("a", 10*ms, 19*ms, 20*ms)
		if d := w.judged(time.Minute); d.Complete {
			t.Error("given up after 2 s, with a removal pending there")
		}
		n.agent = agentState{state: report.AgentMissing, why: "no agent runs there"}
		if d := w.judged(100 * time.Second); d.Complete {
			t.Error("given up while its agent is replaced")
		}
		if d := w.judged(2 * time.Minute); !d.Complete || d.Kinds[0].Outcomes[ledger.Gap] != 1 {
			t.Errorf("not given up after a minute: %+v", d)
		}
	})
}

// TestPlacesAreFixedAtT0: a node that joins while a pod leaves never routed to it. What its agent finds gone there says nothing of
// when anybody let go, and it is not waited for.
func TestPlacesAreFixedAtT0(t *testing.T) {
	w := newWorld(t, "a", "b", "joined")
	w.compare(ms)
	for _, n := range w.j.nodes {
		n.created = epoch.Add(-time.Hour)
	}
	w.j.nodes["joined"].created = epoch.Add(20 * time.Second)
	w.deleted("a", 0, 60, sleeps("web", 45))
	w.seen("a", 10*ms)
	w.landed("a", 10*ms, 19*ms, 20*ms)
	w.applied(11)
	w.j.nodes["joined"].applied = 0
	// Its agent's baseline holds the terminating endpoint, and one path that is retained.
	w.say("joined", ledger.Event{Type: ledger.EventRemovals, At: w.at("joined", 25*time.Second), Place: kubeProxy, Family: ledger.IPv4,
		Departures: []ledger.Settled{{UID: "u", Opened: 2, Open: ledger.Open{Pending: 1, Retained: 1}}}})
	w.settle("joined", ledger.IPv4, 0, 25*time.Second, ledger.Landed, 1, true, ledger.Open{Retained: 1})
	d := w.judged(30 * time.Second)
	if !d.Complete || d.Expected != 2 || d.Answered != 2 || len(d.Missing) > 0 || d.Pending != 0 || d.Kept {
		t.Errorf("complete %v: %d of %d answered, %d pending, kept %v, missing %+v", d.Complete, d.Answered, d.Expected, d.Pending, d.Kept, d.Missing)
	}
	if d.LastCall == nil || d.LastCall.Hi > .1 || outcomesOf(d) != 1 || d.Straggler == nil || d.Straggler.Node != "a" {
		t.Errorf("last call %+v, %+v, straggler %+v", d.LastCall, d.Kinds, d.Straggler)
	}
}

// TestAgentBeganAnew: another boot of an agent takes up what was open, and does not move what had landed.
func TestAgentBeganAnew(t *testing.T) {
	begin := func(open int) *world {
		w := newWorld(t, "a", "b")
		w.compare(ms)
		w.deleted("a", 0, 60, sleeps("web", 45))
		w.seen("a", 10*ms) // a stays pending, so that the row stays open
		w.say("b", ledger.Event{Type: ledger.EventRemovals, At: w.at("b", 10*ms), Place: kubeProxy, Family: ledger.IPv4,
			Departures: []ledger.Settled{{UID: "u", Open: ledger.Open{Pending: 2}}}})
		w.settle("b", ledger.IPv4, 19*ms, 20*ms, ledger.Landed, 2-open, false, ledger.Open{Pending: open})
		// It dies. The next boot has another timeline, and finds two paths of a terminating endpoint gone at its baseline.
		n := w.j.nodes["b"]
		n.boot, w.seq["b"] = n.bootOf("boot-2"), 0
		w.compare(ms)
		w.say("b", ledger.Event{Type: ledger.EventRemovals, At: w.at("b", 5*time.Second), Place: kubeProxy, Family: ledger.IPv4,
			Departures: []ledger.Settled{{UID: "u", Open: ledger.Open{Pending: 2}}}})
		w.settle("b", ledger.IPv4, 0, 5*time.Second, ledger.Landed, 2, true, ledger.Open{})
		w.landed("a", 10*ms, 29*ms, 30*ms)
		w.applied(11)
		return w
	}
	d := begin(0).judged(6 * time.Second)
	if d.LastCall == nil || d.LastCall.Hi > .1 || d.Kinds[0].Outcomes[ledger.Landed] != 3 {
		t.Errorf("what had landed at 20 ms is said to have by %+v, %v", d.LastCall, d.Kinds)
	}
	d = begin(1).judged(6 * time.Second)
	if d.LastCall == nil || d.LastCall.Hi < 5 || d.LastCall.Lo > 1 || d.Kinds[0].Outcomes[ledger.Landed] != 3 {
		t.Errorf("what was open is an upper bound: %+v, %v", d.LastCall, d.Kinds)
	}
}

func sleeps(name string, n int64, ports ...uint16) ledger.Container {
	return ledger.Container{Name: name, Ports: ports, PreStop: ledger.PreStop{Kind: ledger.PreStopSleep, Seconds: &n}}
}

// TestTold: which container counts, and that a hook which is over early is no protection.
func TestTold(t *testing.T) {
	none := func(name string, ports ...uint16) ledger.Container {
		return ledger.Container{Name: name, Ports: ports, PreStop: ledger.PreStop{Kind: ledger.NoPreStop}}
	}
	exec := func(name string, ports ...uint16) ledger.Container {
		return ledger.Container{Name: name, Ports: ports, PreStop: ledger.PreStop{Kind: ledger.PreStopExec}}
	}
	rest := sleeps("web", 10, 8080)
	rest.PreStop.Kind, rest.PreStop.Rest = ledger.PreStopExec, true
	for _, tt := range []struct {
		name   string
		cs     []ledger.Container
		reason ledger.Reason
		exits  map[string]time.Duration
		landed time.Duration
		told   string
		late   report.Late
	}{
		{"the one with the port, not the one that leaves first", []ledger.Container{none("proxy"), sleeps("web", 10, 8080)}, "", nil, 2 * time.Second, "10 11", report.No},
		{"a sidecar that serves leaves first", []ledger.Container{none("proxy", 8080), sleeps("web", 10)}, "", nil, 2 * time.Second, "0 1", report.Yes},
		{"several serve: the first that stops", []ledger.Container{sleeps("slow", 10, 8080), sleeps("quick", 2, 8080)}, "", nil, 5 * time.Second, "2 3", report.Yes},
		{"several serve, one by a hook nobody can read", []ledger.Container{exec("a", 8080), sleeps("b", 2, 8080)}, "", nil, 5 * time.Second, "0 3", report.Yes},
		{"no port declared: the earliest", []ledger.Container{sleeps("slow", 10), sleeps("quick", 2)}, "", nil, 5 * time.Second, "2 3", report.Yes},
		{"it ended although it was to sleep", []ledger.Container{sleeps("web", 10, 8080)}, "", map[string]time.Duration{"web": time.Second}, 2 * time.Second, "0 1", report.Yes},
		{"it ended although it was to sleep, and more", []ledger.Container{rest}, "", map[string]time.Duration{"web": time.Second}, 2 * time.Second, "0 1", report.Yes},
		{"its node shut down", []ledger.Container{sleeps("web", 10, 8080)}, ledger.NodeShutdown, nil, 2 * time.Second, "unknown", report.Unknown},
		{"its kubelet evicted it", []ledger.Container{sleeps("web", 10, 8080)}, ledger.KubeletEvict, nil, 2 * time.Second, "unknown", report.Unknown},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, "a")
			w.compare(ms)
			w.deleted("a", 0, 30, tt.cs...)
			if tt.reason != "" {
				w.j.rows["u"].reason = tt.reason
			}
			w.seen("a", 10*ms)
			w.landed("a", 10*ms, tt.landed-ms, tt.landed)
			for name, at := range tt.exits {
				w.say("a", ledger.Event{Type: ledger.EventFarewell, At: w.at("a", at), Pod: &ledger.Pod{UID: "u"}, Exits: []ledger.Exit{{Name: name, Told: w.at("a", at)}}})
			}
			w.applied(11)
			d := w.judged(time.Minute)
			told := "unknown"
			if d.Told != nil {
				told = fmt.Sprintf("%g %g", d.Told.Lo, d.Told.Hi)
			}
			if told != tt.told || d.Late != tt.late {
				t.Errorf("told %s (%s), late %s; want %s, %s", told, d.ToldWhy, d.Late, tt.told, tt.late)
			}
		})
	}
}

// TestEndedBy: the kubelet tells of a pod's containers together, when the last has ended; finishedAt tells them apart.
func TestEndedBy(t *testing.T) {
	w := newWorld(t, "a")
	w.compare(ms)
	w.deleted("a", 0, 30, sleeps("web", 10, 8080), ledger.Container{Name: "proxy", PreStop: ledger.PreStop{Kind: ledger.NoPreStop}})
	w.seen("a", 10*ms)
	w.landed("a", 10*ms, 5*time.Second, 5001*ms)
	told := w.at("a", 11*time.Second)
	w.say("a", ledger.Event{Type: ledger.EventFarewell, At: told, Pod: &ledger.Pod{UID: "u"}, Exits: []ledger.Exit{
		{Name: "web", Told: told, By: told}, {Name: "proxy", Told: told, By: w.at("a", 1500*ms)}}})
	w.applied(11)
	d := w.judged(time.Minute)
	for i, want := range []float64{11, 1.5} {
		if f := d.Containers[i].Finished; f == nil || !near(*f, want, .01) {
			t.Errorf("%s had ended by %v, want %v", d.Containers[i].Name, f, want)
		}
	}
}

// TestNeverCalledSafe: a removal that expired is late, one that nobody saw is unknown, whatever the other places did.
func TestNeverCalledSafe(t *testing.T) {
	for o, want := range map[ledger.Outcome]report.Late{ledger.Landed: report.No, ledger.Expired: report.Yes, ledger.Gap: report.Unknown,
		ledger.Absent: report.No, ledger.Excluded: report.No, ledger.Replaced: report.No} {
		w := newWorld(t, "a", "b")
		w.compare(ms)
		w.deleted("a", 0, 30, sleeps("web", 20))
		w.seen("a", 10*ms)
		w.seen("b", 10*ms)
		w.landed("a", 10*ms, 19*ms, 20*ms)
		w.settle("b", ledger.IPv4, 30*ms, 31*ms, o, 1, false, ledger.Open{})
		w.applied(11)
		d := w.judged(31 * time.Minute)
		if !d.Complete || d.Late != want {
			t.Errorf("%s: late %s, want %s", o, d.Late, want)
		}
		if (o == ledger.Expired || o == ledger.Gap) && d.Straggler != nil {
			t.Errorf("%s: a straggler is named", o)
		}
	}
}
