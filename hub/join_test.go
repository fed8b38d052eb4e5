package hub

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// world is a cluster of agents with clocks of their own, whose lines are given to a joiner. True time is ours.
type world struct {
	t   *testing.T
	j   *joiner
	now time.Time
	off map[string]time.Duration // of an agent's timeline
	ppm map[string]float64
	seq map[string]uint64
}

var epoch = time.Unix(1_800_000_000, 0).UTC()

func newWorld(t *testing.T, nodes ...string) *world {
	w := &world{t: t, j: &joiner{nodes: map[string]*node{}, rows: map[string]*row{}}, now: epoch,
		off: map[string]time.Duration{}, ppm: map[string]float64{}, seq: map[string]uint64{}}
	for _, name := range nodes {
		n := w.j.at(name)
		n.expected, n.ready, n.boot, n.backend, n.families = true, true, n.bootOf("boot-"+name), "nftables", []ledger.Family{ledger.IPv4}
		n.agent.state = report.AgentFollowing
	}
	return w
}

// clock says that a node's clock is off and fast, before it is compared with ours twice.
func (w *world) clock(name string, off time.Duration, ppm float64) {
	w.off[name], w.ppm[name] = off, ppm
}

func (w *world) compare(rtt time.Duration) {
	for name, n := range w.j.nodes {
		for _, at := range []time.Duration{-time.Minute, 0} {
			sent := epoch.Add(at)
			n.sampled(Clock{n.boot.id, "e", w.at(name, at+rtt/2)}, sent, sent.Add(rtt))
		}
	}
}

// at is what an agent's clock shows at a true moment after epoch.
func (w *world) at(name string, d time.Duration) time.Time {
	return epoch.Add(w.off[name] + d + time.Duration(float64(d)*w.ppm[name]/1e6))
}

func (w *world) say(name string, e ledger.Event) {
	w.seq[name]++
	n := w.j.nodes[name]
	e.Boot, e.Seq = n.boot.id, w.seq[name]
	w.j.take(n, &e, w.now)
}

// deleted: the pod's own node learns of it d after epoch.
func (w *world) deleted(own string, d time.Duration, grace int64, cs ...ledger.Container) {
	w.say(own, ledger.Event{Type: ledger.EventDeparture, At: w.at(own, d), Pod: &ledger.Pod{UID: "u", Namespace: "shop", Name: "web-1", Node: own},
		Reason: ledger.Delete, T0: w.at(own, d), T0Source: ledger.FromPod, Grace: &grace, Workload: "deployment/web", Containers: cs, ResourceVersion: "10"})
}

func (w *world) seen(name string, d time.Duration) {
	w.say(name, ledger.Event{Type: ledger.EventRemovals, At: w.at(name, d), Place: kubeProxy, Family: ledger.IPv4, ResourceVersion: "11",
		Departures: []ledger.Settled{{UID: "u", Ports: []uint16{8080}, Open: ledger.Open{Pending: 1}}}})
}

func (w *world) landed(name string, seen, lo, hi time.Duration) {
	w.say(name, ledger.Event{Type: ledger.EventRemovals, At: w.at(name, hi), Place: kubeProxy, Family: ledger.IPv4,
		Interval:   ledger.Interval{Lo: w.at(name, lo), Hi: w.at(name, hi)},
		Departures: []ledger.Settled{{UID: "u", Outcomes: map[ledger.Outcome]int{ledger.Landed: 1}, SeenFirst: w.at(name, seen), SeenLast: w.at(name, seen)}}})
}

// everybody has applied slices up to a version.
func (w *world) applied(v uint64) {
	for _, n := range w.j.nodes {
		n.applied = v
	}
}

// judged lets time pass and says what is known then.
func (w *world) judged(d time.Duration) report.Departure {
	w.t.Helper()
	r := w.j.rows["u"]
	if r == nil {
		w.t.Fatal("no row")
	}
	w.now = epoch.Add(d)
	w.j.judge(r, w.j.census(w.now, w.now.Add(joinSlack)), w.now)
	got, _ := r.look().build(w.now)
	return got
}

const ms = time.Millisecond

func near(got, want, by float64) bool { return math.Abs(got-want) <= by }

// TestJoin: two nodes whose clocks are as wrong as they like end in one row that is right within what it says.
func TestJoin(t *testing.T) {
	for _, off := range []time.Duration{0, 10 * time.Second, -10 * time.Second, time.Hour} {
		t.Run(off.String(), func(t *testing.T) {
			w := newWorld(t, "a", "b")
			w.clock("a", off, 150)
			w.clock("b", -off, -150)
			w.compare(2 * ms)
			w.deleted("a", 0, 30, ledger.Container{Name: "web", Ports: []uint16{8080}, PreStop: ledger.PreStop{Kind: ledger.NoPreStop}})
			w.seen("b", 20*ms)
			w.seen("a", 30*ms)
			w.landed("a", 30*ms, 98*ms, 100*ms)
			w.landed("b", 20*ms, 1500*ms, 1502*ms)
			w.applied(11)
			d := w.judged(3 * time.Second)
			if !d.Complete || d.Answered != 2 || d.Expected != 2 || len(d.Missing) != 0 {
				t.Fatalf("row %+v", d)
			}
			if d.LastCall == nil || d.LastCall.Lo > 1.5 || d.LastCall.Hi < 1.502 || !near(d.LastCall.Hi, 1.502, .01) {
				t.Errorf("last call %+v, want 1.500 to 1.502 within the clocks' error", d.LastCall)
			}
			if d.Straggler == nil || d.Straggler.Node != "b" || d.OneOf != 1 {
				t.Errorf("straggler %+v, one of %d", d.Straggler, d.OneOf)
			}
			for _, l := range d.Slowest {
				if sum := l.Stages.API + l.Stages.Watch + l.Stages.Program; !near(sum, l.Landed.Hi, 1e-9) {
					t.Errorf("%s: stages %+v make %v, landed %v", l.Node, l.Stages, sum, l.Landed.Hi)
				}
			}
			if d.Late != report.Yes || d.Kinds[0].Outcomes[ledger.Landed] != 2 || d.Workload != "deployment/web" {
				t.Errorf("late %s, kinds %+v, workload %s", d.Late, d.Kinds, d.Workload)
			}
		})
	}
}

// TestTwoPolicies: on its own node a pod has two paths to one endpoint, of which kube-proxy keeps one for a while. The
// place has let go when both are gone, and the departure is kept.
func TestTwoPolicies(t *testing.T) {
	w := newWorld(t, "a", "b")
	w.compare(2 * ms)
	w.deleted("a", 0, 30)
	w.seen("b", 20*ms)
	part := func(at, lo time.Duration, landed int, open ledger.Open) {
		e := ledger.Event{Type: ledger.EventRemovals, At: w.at("a", at), Place: kubeProxy, Family: ledger.IPv4, ResourceVersion: "11",
			Departures: []ledger.Settled{{UID: "u", Ports: []uint16{8080}, Open: open}}}
		if landed > 0 {
			e.Interval = ledger.Interval{Lo: w.at("a", lo), Hi: w.at("a", at)}
			e.Departures[0].Outcomes = map[ledger.Outcome]int{ledger.Landed: landed}
			e.Departures[0].SeenFirst, e.Departures[0].SeenLast = w.at("a", 30*ms), w.at("a", 30*ms)
		}
		w.say("a", e)
	}
	part(30*ms, 0, 0, ledger.Open{Pending: 1, Retained: 1})
	part(100*ms, 98*ms, 1, ledger.Open{Retained: 1})
	w.landed("b", 20*ms, 118*ms, 120*ms)
	w.applied(11)
	if d := w.judged(3 * time.Second); d.Complete || d.Pending != 1 {
		t.Errorf("complete %v, %d pending while one path is kept", d.Complete, d.Pending)
	}
	part(5*time.Second, 0, 0, ledger.Open{Pending: 1})
	part(6*time.Second, 5998*ms, 1, ledger.Open{})
	d := w.judged(8 * time.Second)
	if !d.Complete || !d.Kept || d.Kinds[0].Outcomes[ledger.Landed] != 3 || d.Kinds[0].Places != 2 {
		t.Errorf("row %+v, want three landings at two places, kept", d)
	}
	if d.LastCall == nil || !near(d.LastCall.Hi, 6, .01) || d.Straggler == nil || d.Straggler.Node != "a" {
		t.Errorf("last call %+v by %+v, want 6 s by a", d.LastCall, d.Straggler)
	}
}

// TestNotYet: a row is not complete while somebody may still have something to say, and it says who was not heard.
func TestNotYet(t *testing.T) {
	begin := func(t *testing.T, nodes ...string) *world {
		w := newWorld(t, nodes...)
		w.compare(ms)
		w.deleted("a", 0, 30, ledger.Container{Name: "web", PreStop: ledger.PreStop{Kind: ledger.NoPreStop}})
		w.seen("a", 10*ms)
		w.landed("a", 10*ms, 19*ms, 20*ms)
		w.applied(11)
		return w
	}
	for _, tt := range []struct {
		name     string
		change   func(*world)
		after    time.Duration
		complete bool
		answered int
		missing  string
	}{
		{"all have passed", func(*world) {}, 2 * time.Second, true, 2, ""},
		{"one has not seen the slice yet", func(w *world) { w.j.nodes["b"].applied = 10 }, 2 * time.Second, false, 1, ""},
		{"one never sees it", func(w *world) { w.j.nodes["b"].applied = 10 }, 2 * time.Minute, true, 1, "b has not seen the change"},
		{"one is pending", func(w *world) { w.seen("b", 10*ms) }, time.Minute, false, 1, ""},
		{"one is not Ready: its place ended", func(w *world) { w.j.nodes["b"].ready = false }, 2 * time.Second, true, 1, ""},
		{"one has no agent", func(w *world) {
			w.j.nodes["b"].agent = agentState{state: report.AgentMissing, why: "no agent runs there"}
		}, 2 * time.Second, true, 1, "b no agent runs there"},
		{"one does not answer, for a moment", func(w *world) { w.j.nodes["b"].agent.state = report.AgentUnreachable }, 2 * time.Second, false, 1, ""},
		{"one does not answer", func(w *world) {
			w.j.nodes["b"].agent = agentState{state: report.AgentUnreachable, why: "agent does not answer"}
		}, 20 * time.Second, true, 1, "b agent does not answer"},
		{"one has another dataplane", func(w *world) { n := w.j.nodes["b"]; n.families, n.backend = nil, "ipvs" }, 2 * time.Second, true, 1, "b not measured: ipvs"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := begin(t, "a", "b")
			tt.change(w)
			d := w.judged(tt.after)
			missing := ""
			for _, m := range d.Missing {
				missing += m.Place + " " + m.Why
			}
			if d.Complete != tt.complete || d.Answered != tt.answered || missing != tt.missing {
				t.Errorf("complete %v, answered %d of %d, missing %q", d.Complete, d.Answered, d.Expected, missing)
			}
			if tt.missing != "" && d.Late == report.No {
				t.Error("it is said not to be late although somebody was not heard")
			}
			if !tt.complete && d.Pending > 0 && d.Straggler != nil {
				t.Error("a straggler is named while somebody is pending")
			}
		})
	}
}

// TestLate: yes and no only beyond doubt.
func TestLate(t *testing.T) {
	seconds := func(n int64) *int64 { return &n }
	exec := func(n *int64, rest bool) ledger.PreStop {
		return ledger.PreStop{Kind: ledger.PreStopExec, Seconds: n, Rest: rest}
	}
	for _, tt := range []struct {
		name   string
		hook   ledger.PreStop
		grace  int64
		exit   time.Duration // 0: not seen
		landed time.Duration
		told   string
		late   report.Late
	}{
		{"no preStop, slow", ledger.PreStop{Kind: ledger.NoPreStop}, 30, 0, 1100 * ms, "0 1", report.Yes},
		{"no preStop, quick: the kubelet may be slower", ledger.PreStop{Kind: ledger.NoPreStop}, 30, 0, 400 * ms, "0 1", report.Unknown},
		{"no preStop, ended before the last call", ledger.PreStop{Kind: ledger.NoPreStop}, 30, 300 * ms, 400 * ms, "0 0.3", report.Yes},
		{"sleep long enough", ledger.PreStop{Kind: ledger.PreStopSleep, Seconds: seconds(5)}, 30, 0, 2 * time.Second, "5 6", report.No},
		{"sleep too short", ledger.PreStop{Kind: ledger.PreStopSleep, Seconds: seconds(5)}, 30, 0, 7 * time.Second, "5 6", report.Yes},
		{"sleep just about", ledger.PreStop{Kind: ledger.PreStopSleep, Seconds: seconds(5)}, 30, 0, 5500 * ms, "5 6", report.Unknown},
		{"sleep cut by the grace period", ledger.PreStop{Kind: ledger.PreStopSleep, Seconds: seconds(60)}, 10, 0, 12 * time.Second, "10 11", report.Yes},
		{"exec of a sleep", exec(seconds(5), false), 30, 0, 2 * time.Second, "5 6", report.No},
		{"exec of a sleep and more", exec(seconds(5), true), 30, 9 * time.Second, 2 * time.Second, "5 9", report.No},
		{"any exec", exec(nil, false), 30, 9 * time.Second, 2 * time.Second, "0 9", report.Unknown},
		{"any exec, later than its end", exec(nil, false), 30, 9 * time.Second, 10 * time.Second, "0 9", report.Yes},
		{"http, end not seen", ledger.PreStop{Kind: ledger.PreStopHTTP}, 30, 0, 40 * time.Second, "0 31", report.Yes},
		{"grace 0", ledger.PreStop{Kind: ledger.PreStopSleep, Seconds: seconds(5)}, 0, 0, 2 * time.Second, "0 1", report.Yes},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, "a")
			w.compare(ms)
			w.deleted("a", 0, tt.grace, ledger.Container{Name: "side", Sidecar: true, PreStop: ledger.PreStop{Kind: ledger.NoPreStop}},
				ledger.Container{Name: "web", Ports: []uint16{8080}, PreStop: tt.hook}, ledger.Container{Name: "other", PreStop: ledger.PreStop{Kind: ledger.NoPreStop}})
			w.seen("a", 10*ms)
			w.landed("a", 10*ms, tt.landed-ms, tt.landed)
			if tt.exit > 0 {
				w.say("a", ledger.Event{Type: ledger.EventFarewell, At: w.at("a", tt.exit), Pod: &ledger.Pod{UID: "u"},
					Exits: []ledger.Exit{{Name: "web", Code: 143, Told: w.at("a", tt.exit)}}})
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
			// What its places did stays when they are dropped.
			r := w.j.rows["u"]
			w.j.freeze(r, d)
			if again, _ := r.look().build(w.now); fmt.Sprint(again.LastCall, again.Late, again.Told, len(again.Slowest)) != fmt.Sprint(d.LastCall, d.Late, d.Told, len(d.Slowest)) {
				t.Errorf("frozen it says %+v, before %+v", again, d)
			}
		})
	}
}

// TestStraggler: a place is named only if it was later than every other beyond doubt, and never by a clock that is no good.
func TestStraggler(t *testing.T) {
	w := newWorld(t, "a", "b", "c")
	w.compare(2 * ms)
	w.deleted("a", 0, 30)
	for _, n := range []string{"a", "b", "c"} {
		w.seen(n, 10*ms)
	}
	w.landed("a", 10*ms, 99*ms, 100*ms)
	w.landed("b", 10*ms, 99*ms, 101*ms)
	w.landed("c", 10*ms, 19*ms, 20*ms)
	w.applied(11)
	if d := w.judged(3 * time.Second); d.Straggler != nil || d.OneOf != 2 {
		t.Errorf("straggler %+v, one of %d, want one of 2", d.Straggler, d.OneOf)
	}
	w = newWorld(t, "a", "b")
	w.compare(500 * ms)
	w.deleted("a", 0, 30)
	w.seen("b", 10*ms)
	w.landed("b", 10*ms, 2*time.Second, 2001*ms)
	w.applied(11)
	d := w.judged(3 * time.Second)
	if d.Straggler != nil || d.LastCall != nil || len(d.Missing) != 1 || d.Missing[0].Why != "clock unusable" || !d.Slowest[0].Unusable {
		t.Errorf("by a clock with an error of 250 ms: %+v", d)
	}
}

// TestMany: of 5,000 places a row lists some and counts all.
func TestMany(t *testing.T) {
	var names []string
	for i := range 5000 {
		names = append(names, fmt.Sprintf("n%04d", i))
	}
	w := newWorld(t, names...)
	w.compare(ms)
	w.deleted("n0000", 0, 30)
	for i, n := range names {
		w.seen(n, 10*ms)
		w.landed(n, 10*ms, time.Duration(i)*ms, time.Duration(i+1)*ms)
	}
	w.applied(11)
	d := w.judged(20 * time.Second)
	if len(d.Slowest) != fewPlaces || d.Strip == nil || d.Slowest[0].Node != "n4999" || d.Answered != 5000 {
		t.Fatalf("%d places, strip %v, answered %d", len(d.Slowest), d.Strip, d.Answered)
	}
	sum := 0
	for _, c := range d.Strip.Counts {
		sum += c
	}
	if sum != 5000 || d.Kinds[0].Outcomes[ledger.Landed] != 5000 || !near(*d.Within99, 4.95, .02) {
		t.Errorf("the strip counts %d, outcomes %v, 99 %% within %v", sum, d.Kinds[0].Outcomes, *d.Within99)
	}
}

// TestUpgraded: taken out of Services first and deleted then is a departure with the better reason; kept is said.
func TestUpgraded(t *testing.T) {
	w := newWorld(t, "a", "b")
	w.compare(ms)
	pod := &ledger.Pod{UID: "u", Namespace: "shop", Name: "web-1"}
	w.say("b", ledger.Event{Type: ledger.EventDeparture, At: w.at("b", 0), Pod: pod, Reason: ledger.Unready, T0: w.at("b", 0), T0Source: ledger.FromSlice})
	if d := w.judged(0); d.Reason != ledger.Unready || d.Told != nil || d.Late != report.Unknown {
		t.Errorf("unready: %+v", d)
	}
	w.deleted("a", 500*ms, 30)
	w.say("b", ledger.Event{Type: ledger.EventRemovals, At: w.at("b", 600*ms), Place: kubeProxy, Family: ledger.IPv4, Departures: []ledger.Settled{{UID: "u", Open: ledger.Open{Retained: 1}}}})
	d := w.judged(time.Second)
	if d.Reason != ledger.Delete || !d.T0.Round(ms).Equal(epoch.Add(500*ms)) || d.T0Source != ledger.FromPod || !d.Kept || d.Complete || d.Node != "a" {
		t.Errorf("deleted: %+v", d)
	}
}

// TestEpisodes: departures chain while less than the gap lies between one's last call and the next T0.
func TestEpisodes(t *testing.T) {
	id := int64(0)
	c := &chainer{gap: time.Minute, next: func() int64 { id++; return id }, open: map[workloadKey]*episode{}}
	leave := func(uid string, at, call, end time.Duration, change ...func(*report.Departure)) *episode {
		d := report.Departure{UID: uid, Namespace: "shop", Workload: "deployment/web", Reason: ledger.Delete, T0: epoch.Add(at), Complete: true,
			Late: report.Yes, LastCall: &report.Span{Hi: call.Seconds()}}
		for _, f := range change {
			f(&d)
		}
		return c.join(d, epoch.Add(end))
	}
	a := leave("1", 0, time.Second, 30*time.Second)
	b := leave("2", 20*time.Second, 50*time.Second, 40*time.Second, func(d *report.Departure) { d.Late = report.Unknown })
	e := leave("3", 2*time.Minute, time.Second, 3*time.Minute, func(d *report.Departure) { d.Kept = true })
	if a != b || a != e || a.ID != 1 {
		t.Fatal("they are one episode: less than a minute lies between 1:10 and 2:00")
	}
	if a.Left != 3 || a.Late != 1 || a.Unknown != 1 || a.Kept != 1 || a.Most != 2 || a.Worst != "2" || !a.Begun.Equal(epoch) || !a.Open {
		t.Errorf("episode %+v", a.Episode)
	}
	if again := leave("2", 20*time.Second, 50*time.Second, 40*time.Second, func(d *report.Departure) { d.Late = report.No }); again != a || a.Left != 3 || a.Unknown != 0 {
		t.Errorf("told better, it counts once: %+v", again.Episode)
	}
	other := leave("4", 2*time.Minute, time.Second, 3*time.Minute, func(d *report.Departure) { d.Workload = "deployment/api" })
	next := leave("5", 4*time.Minute, time.Second, 5*time.Minute, func(d *report.Departure) { d.Reason = ledger.Evict })
	if other == a || next == a || next.ID != 3 || next.Tag != report.Drain {
		t.Errorf("another workload %d, a minute later %d %s", other.ID, next.ID, next.Tag)
	}
	if leave("6", 0, 0, 0, func(d *report.Departure) { d.Reason = ledger.Unready }) != nil {
		t.Error("a pod that does not leave is in no episode")
	}
	c.close(epoch.Add(10 * time.Minute))
	if next.Open || len(c.open) != 0 {
		t.Errorf("still open: %+v", next.Episode)
	}
}

// TestImplausible: what decodes and cannot be is passed over.
func TestImplausible(t *testing.T) {
	w := newWorld(t, "a")
	w.compare(ms)
	n := w.j.nodes["a"]
	good := func() ledger.Event {
		return ledger.Event{Boot: n.boot.id, Type: ledger.EventRemovals, At: w.at("a", 0), Place: kubeProxy, Family: ledger.IPv4, Departures: []ledger.Settled{{UID: "u"}}}
	}
	if why := w.j.implausible(n, new(good()), epoch); why != "" {
		t.Fatal("a good line: ", why)
	}
	for name, spoil := range map[string]func(*ledger.Event){
		"a moment to come":  func(e *ledger.Event) { e.At = w.at("a", time.Hour) },
		"backwards":         func(e *ledger.Event) { e.Lo, e.Hi = w.at("a", 2), w.at("a", 1) },
		"no UID":            func(e *ledger.Event) { e.Departures[0].UID = "" },
		"a long UID":        func(e *ledger.Event) { e.Departures[0].UID = strings.Repeat("u", 1000) },
		"negative":          func(e *ledger.Event) { e.Departures[0].Pending = -1 },
		"a negative count":  func(e *ledger.Event) { e.Departures[0].Outcomes = map[ledger.Outcome]int{ledger.Landed: -5} },
		"another place":     func(e *ledger.Event) { e.Place = "moon" },
		"no family":         func(e *ledger.Event) { e.Family = "ipx" },
		"a long name":       func(e *ledger.Event) { e.Pod = &ledger.Pod{Name: strings.Repeat("n", 1000)} },
		"a million of them": func(e *ledger.Event) { e.Departures = make([]ledger.Settled, 20_000) },
	} {
		e := good()
		spoil(&e)
		if w.j.implausible(n, &e, epoch) == "" {
			t.Errorf("%s passes", name)
		}
	}
}

// TestAnnouncedByOthers: the first line about a pod's removals announces it, in both families.
func TestAnnouncedByOthers(t *testing.T) {
	w := newWorld(t, "a", "b")
	w.compare(ms)
	for name, n := range w.j.nodes {
		n.families = []ledger.Family{ledger.IPv4, ledger.IPv6}
		leaving := &ledger.Leaving{Pod: ledger.Pod{Namespace: "shop", Name: "web-1", Node: "c"}, Reason: ledger.Delete, T0: w.at(name, 0), T0Source: ledger.FromSlice}
		for i, f := range n.families {
			at := w.at(name, time.Duration(i+1)*100*ms)
			w.say(name, ledger.Event{Type: ledger.EventRemovals, At: at, Place: kubeProxy, Family: f, Interval: ledger.Interval{Lo: at.Add(-ms), Hi: at},
				Departures: []ledger.Settled{{UID: "u", Leaving: leaving, ResourceVersion: "11", Outcomes: map[ledger.Outcome]int{ledger.Landed: 1}}}})
			leaving = nil
		}
	}
	w.applied(11)
	d := w.judged(3 * time.Second)
	if !d.Complete || d.Kinds[0].Places != 4 || d.Kinds[0].Outcomes[ledger.Landed] != 4 || d.T0Source != ledger.FromSlice || d.Namespace != "shop" {
		t.Errorf("row %+v, kinds %+v", d, d.Kinds)
	}
	if d.LastCall == nil || !near(d.LastCall.Hi, .2, .02) || w.j.unknown != 0 {
		t.Errorf("last call %+v, %d lines unknown", d.LastCall, w.j.unknown)
	}
}

// TestRoom: what all rows hold is bounded; the oldest is ended for the newest, and says so.
func TestRoom(t *testing.T) {
	w := newWorld(t)
	for i := range 1000 {
		n := w.j.at(fmt.Sprint("n", i))
		n.expected, n.ready, n.boot, n.families = true, true, n.bootOf("b"), []ledger.Family{ledger.IPv4}
		n.agent.state = report.AgentFollowing
	}
	w.compare(ms)
	const rows = maxParts/1000 + 5
	for i := range rows {
		at := w.at("n1", time.Duration(i)*ms)
		w.say("n1", ledger.Event{Type: ledger.EventRemovals, At: at, Place: kubeProxy, Family: ledger.IPv4, Departures: []ledger.Settled{{UID: fmt.Sprint(i),
			Leaving: &ledger.Leaving{Reason: ledger.Delete, T0: at, T0Source: ledger.FromSlice}, Open: ledger.Open{Pending: 2}}}})
	}
	if w.j.held > maxParts {
		t.Errorf("%d parts are held, at most %d", w.j.held, maxParts)
	}
	for i := range rows {
		r := w.j.rows[fmt.Sprint(i)]
		d, _ := r.look().build(w.now)
		if crowded := i < 5; d.Complete != crowded || (len(d.Missing) == 1) != crowded {
			t.Fatalf("row %d of %d: complete %v, want the oldest 5 to be ended", i, rows, d.Complete)
		} else if crowded && (d.Kinds[0].Outcomes[ledger.Gap] != 2 || d.Pending != 0 || len(d.Missing) != 1 || d.Answered != 0 || d.Expected != 1000) {
			t.Errorf("row %d: %+v", i, d)
		}
	}
}
