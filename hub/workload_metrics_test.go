package hub

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// TestWorkloadMetrics: each departure is counted once, by the worst that is known of it, and nothing is claimed that is not.
func TestWorkloadMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	m := newWorkloadMetrics()
	m.register(reg)
	count := func(change ...func(*report.Departure)) {
		d := left("deployment/shop", epoch, 4)
		for _, f := range change {
			f(&d)
		}
		m.over(d)
	}
	late := func(d *report.Departure) {
		d.Late, d.LastCall, d.Exposure = report.Yes, &report.Span{Lo: 8, Hi: 8.5}, &report.Span{Lo: 2, Hi: 3.5}
	}
	lost := func(n int) func(*report.Departure) { return func(d *report.Departure) { d.Refused = &n } }
	seen := func(c report.Connections) func(*report.Departure) {
		return func(d *report.Departure) { d.Connections = &c }
	}
	count()
	count(lost(0), seen(report.Connections{New: 7, AfterTold: &report.Bounds{}}))
	count(late, lost(0), seen(report.Connections{New: 7, AfterTold: &report.Bounds{Least: 2, Most: 3}}))
	count(late, lost(2), seen(report.Connections{New: 5}))
	count(late, func(d *report.Departure) { d.Exposure = nil }) // something of it was not watched
	count(late, lost(2), func(d *report.Departure) { d.Kept = true })
	count(func(d *report.Departure) { d.Late, d.LastCall = report.Unknown, nil })
	// These have no series: nobody's, and those that did not leave.
	count(func(d *report.Departure) { d.Workload = "" })
	count(func(d *report.Departure) { d.Workload = "pod/alone" })
	count(func(d *report.Departure) { d.Reason = ledger.Unready })
	count(func(d *report.Departure) { d.Workload = "deployment/\xff" })
	const w = `,workload="shop",workload_type="deployment"} `
	if err := testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP lastcall_workload_departures_total Departures that are over, by the worst that is known of each: kept on purpose, connections refused, late, unknown, safe. What is not known is never safe.
# TYPE lastcall_workload_departures_total counter
lastcall_workload_departures_total{namespace="prod",result="safe",workload="�",workload_type="deployment"} 1
lastcall_workload_departures_total{namespace="prod",result="kept"`+w+`1
lastcall_workload_departures_total{namespace="prod",result="late"`+w+`2
lastcall_workload_departures_total{namespace="prod",result="refused"`+w+`1
lastcall_workload_departures_total{namespace="prod",result="safe"`+w+`2
lastcall_workload_departures_total{namespace="prod",result="unknown"`+w+`1
# HELP lastcall_workload_exposure_seconds_total Time between told to stop and the last call of late departures, in which new connections could reach a stopping server. Lower ends of the intervals.
# TYPE lastcall_workload_exposure_seconds_total counter
lastcall_workload_exposure_seconds_total{namespace="prod"`+w+`6
# HELP lastcall_workload_late_connections_total New connections to pods that were leaving, by whether the pod was sleeping in preStop, had been told to stop, or nobody can tell. Lower bounds.
# TYPE lastcall_workload_late_connections_total counter
lastcall_workload_late_connections_total{namespace="prod",phase="sleeping"`+w+`11
lastcall_workload_late_connections_total{namespace="prod",phase="stopped"`+w+`2
lastcall_workload_late_connections_total{namespace="prod",phase="unknown"`+w+`6
`), "lastcall_workload_departures_total", "lastcall_workload_exposure_seconds_total", "lastcall_workload_late_connections_total"); err != nil {
		t.Error(err)
	}
	h := histogram(t, reg, "lastcall_workload_departure_duration_seconds", "shop")
	if h.GetSampleCount() != 6 || len(h.GetBucket()) != 0 || len(h.GetPositiveSpan()) == 0 {
		t.Errorf("%v: want 6 departures that have a last call, in native buckets only", h)
	}
	if got, err := testutil.GatherAndLint(reg); err != nil || len(got) > 0 {
		t.Error(got, err)
	}
}

// TestWorkloadMetricsBounded: of too many workloads those that nothing has left for longest lose their series.
func TestWorkloadMetricsBounded(t *testing.T) {
	reg := prometheus.NewRegistry()
	m := newWorkloadMetrics()
	m.register(reg)
	m.most = 3
	for i, name := range []string{"a", "b", "c", "a", "d", "e", "e"} {
		d := left("deployment/"+name, epoch.Add(time.Duration(i)*time.Second), 4)
		d.Late, d.Exposure, d.Connections = report.Yes, &report.Span{Lo: 1, Hi: 2}, &report.Connections{New: 1}
		m.over(d)
	}
	for _, family := range []string{"departures_total", "exposure_seconds_total", "late_connections_total", "departure_duration_seconds"} {
		var have []string
		for _, labels := range labelled(t, reg, "lastcall_workload_"+family) {
			have = append(have, labels["workload"])
		}
		if got := strings.Join(have, " "); got != "a d e" {
			t.Errorf("%s: of %s, want a d e", family, got)
		}
	}
}

// TestCountedWhenOver: a running hub counts a departure when its pod is gone and nothing more can come, and not again.
func TestCountedWhenOver(t *testing.T) {
	f := newFleet(t, "a")
	f.start()
	f.agents[0].leave("1", true)
	f.agents[0].leave("2", true)
	f.until("both are complete", func() (bool, string) {
		d, err := f.hub.Departure(t.Context(), "2")
		return err == nil && d.Complete, fmt.Sprint(err)
	})
	counted := func() float64 {
		return testutil.ToFloat64(f.hub.metrics.workloads.departures.WithLabelValues("shop", "deployment", "web", "unknown"))
	}
	if n := counted(); n != 0 {
		t.Errorf("%v are counted while how they end is not known", n)
	}
	f.agents[0].say(ledger.Event{Type: ledger.EventFarewell, Pod: &ledger.Pod{UID: "1", Namespace: "shop", Name: "web-1", Node: "a"}, Gone: true})
	f.until("the one that is gone is counted", func() (bool, string) { n := counted(); return n == 1, fmt.Sprint(n) })
}
