package hub

import (
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lastcall-k8s/lastcall/hub/report"
)

// workloadMetrics counts departures by workload, each once, when nothing more can be told of it: only then is it known what was
// lost. Whose workload nobody knows, and pods that nothing owns, have no series.
type workloadMetrics struct {
	departures, connections, exposure *prometheus.CounterVec
	duration                          *prometheus.HistogramVec

	most int
	mu   sync.Mutex
	seen map[workloadKey]time.Time // T0 of the newest departure counted
}

func newWorkloadMetrics() *workloadMetrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, append([]string{"namespace", "workload_type", "workload"}, labels...))
	}
	return &workloadMetrics{
		departures: counter("lastcall_workload_departures_total",
			"Departures that are over, by the worst that is known of each: kept on purpose, connections refused, late, unknown, safe. What is not known is never safe.", "result"),
		connections: counter("lastcall_workload_late_connections_total",
			"New connections to pods that were leaving, by whether the pod was sleeping in preStop, had been told to stop, or nobody can tell. Lower bounds.", "phase"),
		exposure: counter("lastcall_workload_exposure_seconds_total",
			"Time between told to stop and the last call of late departures, in which new connections could reach a stopping server. Lower ends of the intervals."),
		// Without classic buckets: 17 more series for each workload are not worth it.
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "lastcall_workload_departure_duration_seconds",
			Help:                        "Time from T0 to the last call of departures that are over: upper ends of the intervals. Native only.",
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 160}, []string{"namespace", "workload_type", "workload"}),
		most: maxAdvised, seen: map[workloadKey]time.Time{},
	}
}

func (m *workloadMetrics) register(reg prometheus.Registerer) {
	reg.MustRegister(m.departures, m.connections, m.exposure, m.duration)
}

// over counts a departure that nothing more is told of.
func (m *workloadMetrics) over(d report.Departure) {
	k := workloadKey{d.Namespace, d.Workload}
	if d.Workload == "" || !sized(k) || !leaves(d.Reason) {
		return
	}
	m.room(k, d.T0)
	w := k.labels()
	with := func(more string) []string { return append(w[:3:3], more) }
	m.departures.WithLabelValues(with(result(d))...).Inc()
	if d.LastCall != nil {
		m.duration.WithLabelValues(w...).Observe(d.LastCall.Hi)
	}
	if d.Late == report.Yes && !d.Kept {
		m.exposure.WithLabelValues(w...).Add(exposed(d))
	}
	if c := d.Connections; c != nil {
		sleeping, stopped, unknown := phases(*c)
		for phase, n := range map[string]int{"sleeping": sleeping, "stopped": stopped, "unknown": unknown} {
			if n > 0 {
				m.connections.WithLabelValues(with(phase)...).Add(float64(n))
			}
		}
	}
}

// room drops the workload that nothing has left for longest when there are too many.
func (m *workloadMetrics) room(k workloadKey, t0 time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if was, ok := m.seen[k]; !ok || t0.After(was) {
		m.seen[k] = t0
	}
	if len(m.seen) <= m.most {
		return
	}
	var oldest workloadKey
	for o := range m.seen {
		if o != k && (oldest == (workloadKey{}) || m.seen[o].Before(m.seen[oldest])) {
			oldest = o
		}
	}
	delete(m.seen, oldest)
	w := oldest.labels()
	of := prometheus.Labels{"namespace": w[0], "workload_type": w[1], "workload": w[2]}
	for _, vec := range []interface{ DeletePartialMatch(prometheus.Labels) int }{m.departures, m.connections, m.exposure, m.duration} {
		vec.DeletePartialMatch(of)
	}
}

// labels are namespace, workload_type and workload. What is no UTF-8 would end the whole scrape.
func (k workloadKey) labels() []string {
	kind, name, _ := strings.Cut(k.workload, "/")
	w := []string{k.namespace, kind, name}
	for i := range w {
		w[i] = strings.ToValidUTF8(w[i], "\uFFFD")
	}
	return w
}

// result is the worst that is known of a departure. One that was kept on purpose loses what it loses whatever preStop does.
func result(d report.Departure) string {
	switch {
	case d.Kept:
		return "kept"
	case d.Refused != nil && *d.Refused > 0:
		return "refused"
	case d.Late == report.Yes:
		return "late"
	case d.Late == report.No:
		return "safe"
	}
	return "unknown"
}

// exposed is for how long a late departure could surely be reached after it was told to stop.
func exposed(d report.Departure) float64 {
	switch {
	case d.Exposure != nil:
		return d.Exposure.Lo
	case d.LastCall != nil && d.Told != nil:
		return max(d.LastCall.Lo-d.Told.Hi, 0)
	}
	return 0
}

// phases splits the new connections by what the pod was doing. The pod's own node says when they began, in cells of time, and
// when it was told to stop is an interval: those about that moment belong to neither.
func phases(c report.Connections) (sleeping, stopped, unknown int) {
	if c.AfterTold == nil {
		return 0, 0, c.New
	}
	most := min(c.AfterTold.Most, c.New)
	stopped = min(c.AfterTold.Least, most)
	return c.New - most, stopped, most - stopped
}
