//go:build linux

package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/lastcall-k8s/lastcall/ledger"
)

// TestBooks: the check that ends every scenario finds what it is there for.
func TestBooks(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	departed := ledger.Event{Type: ledger.EventDeparture, Seq: 1, Pod: &ledger.Pod{UID: "u"}, T0: now, T0Source: ledger.FromPod}
	line := func(s ledger.Settled) ledger.Event {
		s.UID = "u"
		return ledger.Event{Type: ledger.EventRemovals, Family: ledger.IPv4, Interval: ledger.Interval{Lo: now, Hi: now.Add(1)}, Departures: []ledger.Settled{s}}
	}
	opens := line(ledger.Settled{Opened: 2, Open: ledger.Open{Pending: 2}})
	one := line(ledger.Settled{Outcomes: map[ledger.Outcome]int{ledger.Landed: 1}, Open: ledger.Open{Pending: 1}})
	two := line(ledger.Settled{Outcomes: map[ledger.Outcome]int{ledger.Landed: 1}})
	stop := func(open map[string]ledger.Open) ledger.Event {
		return ledger.Event{Type: ledger.EventStop, Open: open}
	}
	good := `lastcall_removals_total{family="ipv4",outcome="landed",place="kube-proxy"} 2
lastcall_removal_program_duration_seconds_count{family="ipv4"} 2
lastcall_removal_uncertainty_seconds_count{place="kube-proxy"} 2
`
	types := "# TYPE lastcall_removals_total counter\n# TYPE lastcall_removals_pending gauge\n" +
		"# TYPE lastcall_removal_program_duration_seconds histogram\n# TYPE lastcall_removal_uncertainty_seconds histogram\n"
	for _, tt := range []struct {
		name    string
		lines   []ledger.Event
		metrics string
		want    string
	}{
		{"in balance", []ledger.Event{departed, opens, one, two, stop(nil)}, good, ""},
		{"one is never settled, and nobody says that it is open", []ledger.Event{departed, opens, two}, good, "2 opened, 1 settled, but {Pending:0 Retained:0} are open"},
		{"settled twice", []ledger.Event{departed, opens, one, two, two}, good, "3 settled, and only 2 opened"},
		{"no departure", []ledger.Event{opens}, good, "has removals before its departure"},
		{"the last line forgets one", []ledger.Event{departed, opens, one, stop(nil)}, good, "at the end nothing is said of u"},
		{"the last line has one too many", []ledger.Event{departed, opens, one, two, stop(map[string]ledger.Open{"u": {Pending: 1}})}, good, "at the end u has {Pending:1 Retained:0} open"},
		{"a landing that ends before it begins", []ledger.Event{departed, {Type: ledger.EventRemovals, Family: ledger.IPv4, Interval: ledger.Interval{Lo: now.Add(1), Hi: now},
			Departures: []ledger.Settled{{UID: "u", Opened: 1, Outcomes: map[ledger.Outcome]int{ledger.Landed: 1}}}}}, good, "landed in ("},
		{"a counter missed one", []ledger.Event{departed, opens, one, two}, strings.Replace(good, "} 2", "} 1", 1), "outcome:landed] is 1, by the lines 2"},
		{"the histogram missed one", []ledger.Event{departed, opens, one, two}, strings.Replace(good, `ipv4"} 2`, `ipv4"} 1`, 1), "lastcall_removal_program_duration_seconds"},
		{"the gauge says pending", []ledger.Event{departed, opens, one, two}, good + `lastcall_removals_pending{family="ipv4"} 1` + "\n", "lastcall_removals_pending"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := addUp(tt.lines)
			got := strings.Join(b.problems, "\n")
			if err := b.agree(types + tt.metrics); err != nil {
				got += err.Error()
			}
			if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
