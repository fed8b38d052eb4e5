package hub

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// witness says what a node's witness summed up d after epoch. Moments in it are given after epoch too.
func (w *world) witness(name string, d time.Duration, x ledger.Witness, began, ended []time.Duration) {
	move := func(t *time.Time) {
		if !t.IsZero() {
			*t = w.at(name, t.Sub(epoch))
		}
	}
	x.Since, x.Until = w.at(name, 0), w.at(name, d)
	move(&x.Last)
	move(&x.LastRefused)
	if x.Datagrams != nil {
		move(&x.Datagrams.Cleared)
	}
	series := func(at []time.Duration) *ledger.Series {
		s := ledger.NewSeries(x.Since)
		for _, a := range at {
			s.Add(w.at(name, a))
		}
		return s
	}
	if began != nil {
		x.Began = series(began)
	}
	if x.Drain != nil {
		x.Drain.Ended = series(ended)
		x.Drain.Resets = series(ended[:1])
		move(&x.Drain.Last)
		move(&x.Drain.Accepted)
	}
	e := ledger.Event{Type: ledger.EventWitness, At: w.at(name, d), UID: "u", Witness: &x}
	// As a reader of the line has it.
	text, err := json.Marshal(e)
	if err != nil {
		w.t.Fatal(err)
	}
	var read ledger.Event
	if err := json.Unmarshal(text, &read); err != nil {
		w.t.Fatal(err)
	}
	w.say(name, read)
}

// TestConnections: what the pod's own node and two others saw is one account in which nothing is counted twice, whatever
// their clocks show, and whether or not the places have been dropped meanwhile.
func TestConnections(t *testing.T) {
	for _, off := range []time.Duration{0, time.Hour} {
		for _, frozen := range []bool{false, true} {
			t.Run(fmt.Sprint(off, frozen), func(t *testing.T) {
				w := newWorld(t, "own", "b", "c")
				for _, n := range w.j.nodes {
					n.witness = true
				}
				w.clock("own", -off, 100)
				w.clock("b", off, -100)
				w.compare(2 * ms)
				five := int64(5)
				w.deleted("own", 0, 30, ledger.Container{Name: "web", Ports: []uint16{8080}, PreStop: ledger.PreStop{Kind: ledger.PreStopSleep, Seconds: &five}})
				for _, n := range []string{"own", "b", "c"} {
					w.seen(n, 10*ms)
					w.landed(n, 10*ms, 6999*ms, 7*time.Second)
				}
				w.applied(11)
				d := w.judged(8 * time.Second)
				if !d.Complete || d.Connections != nil || d.Refused != nil {
					t.Fatalf("before any witness told: complete %v, %+v", d.Complete, d.Connections)
				}
				if frozen {
					w.j.freeze(w.j.rows["u"], d)
				}

				w.witness("b", 20*time.Second, ledger.Witness{DNAT: ledger.Flows{New: 10, Reset: 3, Silent: 4},
					Last: epoch.Add(6500 * ms), LastRefused: epoch.Add(6500 * ms), AfterLanding: 1, Reused: 2}, nil, nil)
				if d := w.judged(21 * time.Second); d.Refused == nil || *d.Refused != 7 || d.Connections.Own || d.Connections.AfterTold != nil {
					t.Errorf("by another node alone: %+v", d.Connections)
				}
				w.witness("own", 42*time.Second, ledger.Witness{Own: true, DNAT: ledger.Flows{New: 5, Reset: 1}, Direct: ledger.Flows{New: 12, Reset: 4},
					Last: epoch.Add(6200 * ms), Incomplete: []ledger.Missed{ledger.MissedOverrun}, Drain: &ledger.Drain{Closed: 3, Cut: 1, Open: 2, Last: epoch.Add(9 * time.Second), Accepted: epoch.Add(4900 * ms)}},
					[]time.Duration{1 * ms, 2 * time.Second, 4900 * ms, 5500 * ms, 6100 * ms, 6200 * ms},
					[]time.Duration{5300 * ms, time.Second, 8 * time.Second, 9 * time.Second})
				d = w.judged(43 * time.Second)
				c := d.Connections
				if c == nil || d.Refused == nil {
					t.Fatal("nothing was joined")
				}
				// b translated 10 of the 12 that came with the pod's address; 3 of its resets are among the 4. Of what was never
				// answered the pod's node saw nothing.
				if c.New != 17 || c.DNAT != 15 || c.Direct != 2 || c.Reset != 5 || c.Silent != 4 || *d.Refused != 9 {
					t.Errorf("got %+v, refused %d", c, *d.Refused)
				}
				// Told to stop 5 to 6 s after T0.
				if c.AfterTold == nil || *c.AfterTold != (report.Bounds{Least: 2, Most: 3}) {
					t.Errorf("after told to stop: %v, want 2 to 3", c.AfterTold)
				}
				if c.Last == nil || !near(*c.Last, 6.5, .01) || c.LastRefused == nil || !near(*c.LastRefused, 6.5, .01) {
					t.Errorf("last %v, last refused %v, want 6.5 s", c.Last, c.LastRefused)
				}
				dr := c.Drain
				if dr == nil || dr.Closed != 3 || dr.Cut != 1 || dr.Unended != 2 || dr.Last == nil || !near(*dr.Last, 9, .01) ||
					dr.OpenAtTold == nil || *dr.OpenAtTold != (report.Bounds{Least: 2, Most: 5}) ||
					dr.LastAccepted == nil || !near(*dr.LastAccepted, 4.9, .01) || dr.CutAfterTold == nil || *dr.CutAfterTold != (report.Bounds{Least: 0, Most: 1}) {
					t.Errorf("drain %+v", dr)
				}
				if c.AfterLanding != 1 || c.Reused != 2 || fmt.Sprint(c.Incomplete) != "[overrun]" || c.Unwitnessed != 0 {
					t.Errorf("got %+v", c)
				}
				const words = "17 new connections after it began to leave, the last at 6.50 s; 2 to 3 of them after it was told to stop; "
				if s := c.Words(); !strings.HasPrefix(s, words) || !strings.Contains(s, "9 proved lost (5 refused, 4 never answered)") || !strings.Contains(s, "some were missed (overrun)") {
					t.Errorf("in words: %s", s)
				}
			})
		}
	}
}

// TestDatagrams: the nodes' UDP flows are summed, and the last entry that went is the latest of all clocks.
func TestDatagrams(t *testing.T) {
	w := newWorld(t, "own", "b")
	w.clock("own", -time.Hour, 100)
	w.compare(2 * ms)
	w.deleted("own", 0, 30)
	for _, n := range []string{"own", "b"} {
		w.seen(n, 10*ms)
		w.landed(n, 10*ms, 999*ms, time.Second)
	}
	w.applied(11)
	w.witness("own", 14*time.Second, ledger.Witness{Own: true, Datagrams: &ledger.Datagrams{New: 3, Cleared: epoch.Add(1300 * ms)}}, nil, nil)
	w.witness("b", 14*time.Second, ledger.Witness{Datagrams: &ledger.Datagrams{New: 2, Open: 1, Cleared: epoch.Add(1200 * ms)}}, nil, nil)
	d := w.judged(15 * time.Second)
	if d.Connections == nil || d.Connections.Datagrams == nil {
		t.Fatalf("nothing was joined: %+v", d.Connections)
	}
	got := *d.Connections.Datagrams
	if got.New != 5 || got.Open != 1 || got.Cleared == nil || !near(*got.Cleared, 1.3, .01) {
		t.Errorf("got %+v, want 5, 1 still open, the last gone at 1.3 s", got)
	}
	const words = "5 UDP flows to it began after T0; the last entry that still led there was gone at 1.30 s; 1 led there still when the witness left."
	if s := d.Connections.Words(); !strings.Contains(s, words) {
		t.Errorf("in words: %s", s)
	}
	if d.Connections.New != 0 || *d.Refused != 0 {
		t.Errorf("a datagram counts as a connection: %+v", d.Connections)
	}
}

// TestRowWaitsForItsWitnesses: their windows end 12 s after the pod is gone; without witnesses nobody waits.
func TestRowWaitsForItsWitnesses(t *testing.T) {
	for _, tt := range []struct {
		name           string
		witness, tells bool
		at             time.Duration
		over           bool
	}{
		{"nobody witnesses", false, false, 40 * time.Second, true},
		{"the pod's own node has not told yet", true, false, 40 * time.Second, false},
		{"it never does", true, false, 52 * time.Second, true},
		{"it has told", true, true, 43 * time.Second, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, "a")
			w.j.nodes["a"].witness = tt.witness
			w.compare(ms)
			w.deleted("a", 0, 30)
			w.seen("a", 10*ms)
			w.landed("a", 10*ms, 99*ms, 100*ms)
			w.applied(11)
			if d := w.judged(3 * time.Second); !d.Complete {
				t.Fatal("not complete")
			}
			w.say("a", ledger.Event{Type: ledger.EventFarewell, At: w.at("a", 30*time.Second), Pod: &ledger.Pod{UID: "u"}, Gone: true})
			if tt.tells {
				w.witness("a", 42*time.Second, ledger.Witness{Own: true}, nil, nil)
			}
			if got := w.j.rows["u"].over(epoch.Add(tt.at)); got != tt.over {
				t.Errorf("over %v, want %v", got, tt.over)
			}
		})
	}
}

// TestImplausibleWitness: what a hostile agent says of connections is passed over, and cannot grow the hub.
func TestImplausibleWitness(t *testing.T) {
	w := newWorld(t, "a")
	w.compare(ms)
	n := w.j.nodes["a"]
	good := func() *ledger.Event {
		return &ledger.Event{Type: ledger.EventWitness, Boot: n.boot.id, UID: "u", At: w.at("a", 0), Witness: &ledger.Witness{Own: true, Since: w.at("a", 0),
			Began: ledger.NewSeries(w.at("a", 0)), Drain: &ledger.Drain{Ended: ledger.NewSeries(w.at("a", 0))}, Incomplete: []ledger.Missed{ledger.MissedRate}}}
	}
	if why := w.j.implausible(n, good(), epoch); why != "" {
		t.Errorf("a good line: %s", why)
	}
	for name, spoil := range map[string]func(e *ledger.Event){
		"no witness":        func(e *ledger.Event) { e.Witness = nil },
		"no pod":            func(e *ledger.Event) { e.UID = "" },
		"negative":          func(e *ledger.Event) { e.Witness.Direct.Reset = -1 },
		"long":              func(e *ledger.Event) { e.Witness.Began.Counts = make([]int, 1e6) },
		"negative count":    func(e *ledger.Event) { e.Witness.Drain.Ended.Counts = []int{-1} },
		"datagrams":         func(e *ledger.Event) { e.Witness.Datagrams = &ledger.Datagrams{Open: -1} },
		"no width":          func(e *ledger.Event) { e.Witness.Began.Width = 0 },
		"moment to come":    func(e *ledger.Event) { e.Witness.LastRefused = w.at("a", time.Hour) },
		"reasons":           func(e *ledger.Event) { e.Witness.Incomplete = []ledger.Missed{"x"} },
		"a thousand reason": func(e *ledger.Event) { e.Witness.Incomplete = make([]ledger.Missed, 1000) },
	} {
		e := good()
		spoil(e)
		if why := w.j.implausible(n, e, epoch); why == "" {
			t.Errorf("%s: passed", name)
		}
	}
	w.deleted("a", 0, 30)
	for range 100 {
		w.say("a", *good())
	}
	if own := len(w.j.rows["u"].witness.own); own != maxOwn {
		t.Errorf("a row holds %d windows of one node, want %d", own, maxOwn)
	}
	w = newWorld(t, "a", "b")
	w.compare(ms)
	w.deleted("a", 0, 30)
	w.say("b", *good())
	if own := len(w.j.rows["u"].witness.own); own != 0 {
		t.Error("another node tells as if it were the pod's own")
	}
}
