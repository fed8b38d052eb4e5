//go:build linux

package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/lastcall-k8s/lastcall/internal/nodeagent"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// books are what an agent's lines add up to.
type books struct {
	pods      map[podFamily]*account
	announced map[string]bool
	unready   map[string]bool // was taken out of Services without leaving, at some time
	outcomes  map[ledger.Family]map[ledger.Outcome]int
	rearmed   map[ledger.Family]int // landed, and nobody knows since when they should have
	mixed     bool                  // some line does not tell how many of its landings those are
	late      int
	back      int
	problems  []string
}

type podFamily struct {
	uid    string
	family ledger.Family
}

type account struct {
	opened, settled int
	open            ledger.Open // by the newest line
}

func addUp(events []ledger.Event) *books {
	b := &books{pods: map[podFamily]*account{}, announced: map[string]bool{}, unready: map[string]bool{},
		outcomes: map[ledger.Family]map[ledger.Outcome]int{}, rearmed: map[ledger.Family]int{}}
	for _, e := range events {
		switch e.Type {
		case ledger.EventDeparture:
			b.announced[e.Pod.UID] = true
			b.unready[e.Pod.UID] = b.unready[e.Pod.UID] || e.Reason == ledger.Unready
			if e.T0.IsZero() != (e.T0Source == ledger.T0Unknown) {
				b.problem("departure of %s: T0 %v from %q", e.Pod.UID, e.T0, e.T0Source)
			}
		case ledger.EventRemovals:
			for _, d := range e.Departures {
				b.line(e, d)
			}
		case ledger.EventLate:
			b.late++
		case ledger.EventResurrection:
			b.back++
		case ledger.EventGap:
			b.problem("lines %d to %d were lost", e.From, e.To)
		case ledger.EventStop:
			b.stop(e)
		}
	}
	for of, a := range b.pods {
		if a.opened-a.settled != a.open.Pending+a.open.Retained {
			b.problem("%v: %d opened, %d settled, but %+v are open", of, a.opened, a.settled, a.open)
		}
	}
	return b
}

func (b *books) problem(format string, args ...any) {
	b.problems = append(b.problems, fmt.Sprintf(format, args...))
}

// line adds what a line says of one pod.
func (b *books) line(e ledger.Event, d ledger.Settled) {
	of := podFamily{d.UID, e.Family}
	a := b.pods[of]
	if a == nil {
		a = &account{}
		b.pods[of] = a
	}
	if d.Leaving != nil {
		b.announced[d.UID] = true
		b.unready[d.UID] = b.unready[d.UID] || d.Leaving.Reason == ledger.Unready
	}
	if !b.announced[d.UID] {
		b.problem("%v has removals before its departure: %+v", of, d)
	}
	if b.outcomes[e.Family] == nil {
		b.outcomes[e.Family] = map[ledger.Outcome]int{}
	}
	a.opened += d.Opened
	a.open = d.Open
	for o, n := range d.Outcomes {
		if n < 1 {
			b.problem("%v: %d times %s", of, n, o)
		}
		a.settled += n
		b.outcomes[e.Family][o] += n
	}
	if a.settled > a.opened {
		b.problem("%v: %d settled, and only %d opened: %+v", of, a.settled, a.opened, d)
	}
	if landed := d.Outcomes[ledger.Landed]; landed > 0 {
		switch {
		case !d.Rearmed:
		case d.SeenFirst.IsZero():
			b.rearmed[e.Family] += landed
		default:
			b.mixed = true
		}
		if e.Hi.IsZero() || e.Lo.After(e.Hi) {
			b.problem("%v landed in (%v, %v]", of, e.Lo, e.Hi)
		}
	}
}

// stop compares the last line of a boot with those before it.
func (b *books) stop(e ledger.Event) {
	open := map[string]ledger.Open{}
	for of, a := range b.pods {
		o := open[of.uid]
		o.Pending += a.open.Pending
		o.Retained += a.open.Retained
		open[of.uid] = o
	}
	for uid, o := range e.Open {
		if o == (ledger.Open{}) || o != open[uid] {
			b.problem("at the end %s has %+v open, by its lines %+v", uid, o, open[uid])
		}
		delete(open, uid)
	}
	for uid, o := range open {
		if o != (ledger.Open{}) {
			b.problem("at the end nothing is said of %s, which has %+v open by its lines", uid, o)
		}
	}
}

// agree compares the lines with the metrics.
func (b *books) agree(text string) error {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		return err
	}
	var wrong []string
	expect := func(what string, labels map[string]string, want int) {
		if got := sample(families[what], labels); got != want {
			wrong = append(wrong, fmt.Sprintf("%s%v is %d, by the lines %d", what, labels, got, want))
		}
	}
	landed := 0
	for _, f := range []ledger.Family{ledger.IPv4, ledger.IPv6} {
		of := map[string]string{"family": string(f)}
		for _, o := range ledger.Outcomes {
			expect("lastcall_removals_total", map[string]string{"family": string(f), "outcome": string(o)}, b.outcomes[f][o])
		}
		pending := 0
		for pod, a := range b.pods {
			if pod.family == f {
				pending += a.open.Pending
			}
		}
		expect("lastcall_removals_pending", of, pending)
		if !b.mixed { // what was re-armed claims no latency
			expect("lastcall_removal_program_duration_seconds", of, b.outcomes[f][ledger.Landed]-b.rearmed[f])
		}
		landed += b.outcomes[f][ledger.Landed]
		oldest := sample(families["lastcall_removal_oldest_pending_timestamp_seconds"], of)
		if routed := pending + b.outcomes[f][ledger.Expired] - b.late; oldest > 0 && routed == 0 || oldest == 0 && pending > 0 {
			wrong = append(wrong, fmt.Sprintf("%s: the oldest pending is of %d, and %d are routed", f, oldest, routed))
		}
	}
	expect("lastcall_late_landings_total", nil, b.late)
	expect("lastcall_endpoint_resurrections_total", nil, b.back)
	uncertain := sample(families["lastcall_removal_uncertainty_seconds"], nil)
	expect("lastcall_landed_unbounded_total", nil, landed-uncertain)
	if gaps := b.outcomes[ledger.IPv4][ledger.Gap] + b.outcomes[ledger.IPv6][ledger.Gap]; gaps > 0 &&
		sample(families["lastcall_agent_events_lost_total"], map[string]string{"source": "kernel"})+
			sample(families["lastcall_agent_events_lost_total"], map[string]string{"source": "capacity"}) == 0 {
		wrong = append(wrong, fmt.Sprintf("%d gaps, and nothing was lost", gaps))
	}
	if len(wrong) > 0 {
		return fmt.Errorf("%s", strings.Join(wrong, "\n"))
	}
	return nil
}

// sample is the value of all series with these labels together, or how many values a histogram took, 0 if there is none: the
// backend is a label, and may change.
func sample(f *dto.MetricFamily, labels map[string]string) (sum int) {
	for _, m := range f.GetMetric() {
		have := map[string]string{}
		for _, l := range m.GetLabel() {
			have[l.GetName()] = l.GetValue()
		}
		fits := true
		for name, value := range labels {
			fits = fits && have[name] == value
		}
		if fits {
			sum += int(m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount()))
		}
	}
	return sum
}

// endInBalance ends an agent and holds over everything it said: what its lines opened is what they settled and left open, and
// its metrics say the same. Every scenario ends with it, whatever it is about.
func endInBalance(t *testing.T, a *nodeagent.Agent, followed func()) {
	t.Helper()
	if !a.Killed() {
		said := func(context.Context) ([]ledger.Event, error) { return a.Events(), nil }
		balanced(t, a.Node, said, a.Metrics)
		if err := a.Stop(); err != nil {
			t.Errorf("agent on %s: %v", a.Node, err)
		}
	}
	followed()
	events := a.Events()
	for _, p := range addUp(events).problems {
		t.Errorf("%s: %s", a.Node, p)
	}
	if !a.Killed() && last(events).Type != ledger.EventStop {
		t.Errorf("%s: the last line is missing: the agent did not flush", a.Node)
	}
}

// balanced waits until metrics and lines agree: other scenarios may be opening and settling removals between the two answers.
func balanced(t *testing.T, node string, lines func(context.Context) ([]ledger.Event, error), metrics func(context.Context) (string, error)) *books {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), soon/2) // in a cleanup the test's own has ended
	defer cancel()
	for {
		text, err := metrics(ctx)
		var events []ledger.Event
		if err == nil {
			events, err = lines(ctx)
		}
		b := addUp(events)
		if err == nil {
			err = b.agree(text)
		}
		if err == nil {
			return b
		}
		select {
		case <-ctx.Done():
			t.Errorf("%s: metrics and lines do not agree: %v", node, err)
			return b
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// last is the newest line of the sequence; a heartbeat may come after it.
func last(events []ledger.Event) ledger.Event {
	for _, e := range slices.Backward(events) {
		if e.Seq != 0 {
			return e
		}
	}
	return ledger.Event{}
}
