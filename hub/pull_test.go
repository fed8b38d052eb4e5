package hub

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// counted is a counter's value.
func counted(t *testing.T, f *fleet, name string) float64 {
	t.Helper()
	fs, err := f.hub.cfg.Metrics.(*prometheus.Registry).Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range fs {
		if m.GetName() == name {
			return m.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

// complete waits for a departure's row.
func (f *fleet) complete(uid string) (d report.Departure) {
	f.t.Helper()
	f.until("departure "+uid+" is complete", func() (bool, string) {
		var err error
		d, err = f.hub.Departure(f.t.Context(), uid)
		return err == nil && d.Complete, fmt.Sprintf("%v %+v", err, d)
	})
	return d
}

// TestMalformedLines: lines that cannot be are counted and passed over, and the agent's good ones still count.
func TestMalformedLines(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "a", "b")
	a := f.agents[0]
	f.start()
	f.until("both are followed", func() (bool, string) {
		return f.state("a").State == report.AgentFollowing && f.state("b").State == report.AgentFollowing, ""
	})
	future, minus, huge := time.Now().Add(time.Hour), int64(-1), int64(1)<<62
	pod := &ledger.Pod{UID: "bad", Namespace: "shop", Name: "web-bad", Node: "a"}
	departure := func(change func(*ledger.Event)) ledger.Event {
		e := ledger.Event{Type: ledger.EventDeparture, Pod: pod, Reason: ledger.Delete, T0: time.Now(), T0Source: ledger.FromPod}
		change(&e)
		return e
	}
	removals := func(s ledger.Settled) ledger.Event {
		return ledger.Event{Type: ledger.EventRemovals, Place: kubeProxy, Family: ledger.IPv4, Departures: []ledger.Settled{s}}
	}
	bad := []ledger.Event{
		departure(func(e *ledger.Event) { e.T0 = future }),
		departure(func(e *ledger.Event) { e.Reason = ledger.Reason(strings.Repeat("x", 1000)) }),
		departure(func(e *ledger.Event) { e.Grace = &minus }),
		departure(func(e *ledger.Event) { e.Grace = &huge }),
		departure(func(e *ledger.Event) {
			e.Containers = []ledger.Container{{Name: "c", PreStop: ledger.PreStop{Kind: ledger.PreStopSleep, Seconds: &minus}}}
		}),
		departure(func(e *ledger.Event) { e.Containers = []ledger.Container{{Name: strings.Repeat("c", 1000)}} }),
		removals(ledger.Settled{UID: "good", Open: ledger.Open{Pending: -1}}),
		removals(ledger.Settled{UID: "good", Outcomes: map[ledger.Outcome]int{ledger.Landed: -1}}),
		removals(ledger.Settled{UID: "good", Outcomes: map[ledger.Outcome]int{ledger.Landed: 1}, SeenFirst: future, SeenLast: future}),
	}
	for _, e := range bad {
		a.say(e)
	}
	a.leave("good", true)
	d := f.complete("good")
	if got := counted(t, f, "lastcall_hub_lines_malformed_total"); got != float64(len(bad)) {
		t.Errorf("%v lines counted as malformed, want %d", got, len(bad))
	}
	if d.Answered != 2 || len(d.Missing) != 0 || d.Kinds[0].Outcomes[ledger.Landed] != 1 {
		t.Errorf("the good one: %+v", d)
	}
	if _, err := f.hub.Departure(t.Context(), "bad"); err == nil {
		t.Error("a departure that cannot be has a row")
	}
}

// TestSilentAgent: one that sends no heartbeat is given up and says why; a good one beside it is not held up.
func TestSilentAgent(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "good", "bad")
	f.agents[1].events = func(w http.ResponseWriter, r *http.Request) {
		json.NewEncoder(w).Encode(f.agents[1].hello) //nolint:errcheck // the reader may leave
		http.NewResponseController(w).Flush()        //nolint:errcheck // likewise
		<-r.Context().Done()
	}
	f.start()
	f.until("it is given up", func() (bool, string) {
		a := f.state("bad")
		return a.State == report.AgentUnreachable && strings.Contains(a.Why, "silent for 10s"), fmt.Sprintf("%s: %s", a.State, a.Why)
	})
	if a := f.state("good"); a.State != report.AgentFollowing {
		t.Errorf("the good one is %s: %s", a.State, a.Why)
	}
}

// TestAgentRestarts while the hub follows it: the next boot is read from its first line, on a timeline of its own.
func TestAgentRestarts(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "a", "b")
	a := f.agents[0]
	f.start()
	a.leave("1", true)
	f.complete("1")
	a.mu.Lock()
	a.lines = nil
	a.mu.Unlock()
	a.hello.Boot = "next" // written while nobody is answered
	a.server.CloseClientConnections()
	a.leave("2", true)
	d := f.complete("2")
	if s := f.state("a"); s.Boot != "next" || s.Lost != 0 {
		t.Errorf("agent %+v", s)
	}
	if d.LastCall == nil || d.LastCall.Hi > 1 || d.Answered != 2 {
		t.Errorf("row %+v", d)
	}
}

// TestRestartKeepsRows: a hub that was killed reads again from the first line of what was open. What it reads of a departure
// that was complete is a part of it: the row stays what it was, in the store and for whoever asks.
func TestRestartKeepsRows(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "a", "b")
	a, b := f.agents[0], f.agents[1]
	f.start()
	a.leave("1", true) // lines 1 to 3 of a
	t0 := time.Now().UTC()
	b.leave("2", false) // lines 1 and 2 of b: pending
	// Lines 3 and 4 of b, behind the cursor: what it says of 1.
	b.say(ledger.Event{Type: ledger.EventDeparture, Pod: &ledger.Pod{UID: "1", Namespace: "shop", Name: "web-1"}, Reason: ledger.Delete, T0: t0, T0Source: ledger.FromSlice, ResourceVersion: "51"})
	b.land("1", t0)
	before := f.complete("1")
	f.until("the other is known", func() (bool, string) {
		d, err := f.hub.Departure(t.Context(), "2")
		return err == nil && d.Pending == 1, fmt.Sprint(err)
	})
	if before.Kinds[0].Outcomes[ledger.Landed] != 2 || before.Workload != "deployment/web" {
		t.Fatalf("row %+v", before)
	}
	f.stop()
	b.land("2", t0)
	f.start()
	f.complete("2")
	after := f.complete("1")
	if after.Kinds[0].Outcomes[ledger.Landed] != 2 || after.Workload != before.Workload || after.Episode != before.Episode || *after.LastCall != *before.LastCall {
		t.Errorf("after a restart the row is\n%+v, before\n%+v", after, before)
	}
	x, err := f.hub.Explanation(t.Context(), before.Episode)
	if err != nil || x.Episode.Left != 2 || len(x.Departures) != 2 {
		t.Errorf("the episode: %v %+v", err, x)
	}
}
