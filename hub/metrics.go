package hub

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// buckets are those of the agents' histograms.
var buckets = ledger.Buckets

// metrics are the hub's series. None carries a pod's or a node's name.
type metrics struct {
	departure *prometheus.HistogramVec
	stage     *prometheus.HistogramVec
	place     *prometheus.HistogramVec
	lines     prometheus.Counter
	lost      prometheus.Counter
	malformed prometheus.Counter
	refused   prometheus.Counter
	workloads *workloadMetrics
}

func newMetrics(reg prometheus.Registerer, h *Hub) *metrics {
	histogram := func(name, help string, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets,
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 160}, labels)
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	m := &metrics{
		departure: histogram("lastcall_departure_duration_seconds",
			"Time from T0 to the last call of complete departures: upper ends of the intervals.", "reason"),
		stage: histogram("lastcall_departure_stage_duration_seconds",
			"Stages of the last landing of each complete departure that has a named straggler; they add up.", "stage"),
		place: histogram("lastcall_place_departure_duration_seconds",
			"Time from T0 until the last place of a kind had landed.", "place"),
		lines:     counter("lastcall_hub_lines_total", "Event lines read from agents."),
		lost:      counter("lastcall_hub_lines_lost_total", "Event lines that agents no longer had when the hub came to read them."),
		malformed: counter("lastcall_hub_lines_malformed_total", "Event lines that were passed over because they make no sense."),
		refused:   counter("lastcall_hub_agents_refused_total", "Answers that no agent of this cluster gives."),
		workloads: newWorkloadMetrics(),
	}
	m.workloads.register(reg)
	reg.MustRegister(m.departure, m.stage, m.place, m.lines, m.lost, m.malformed, m.refused, newAdviceMetrics(h), &gauges{h,
		prometheus.NewDesc("lastcall_hub_agents", "Agents by how the hub gets on with them.", []string{"state"}, nil),
		prometheus.NewDesc("lastcall_hub_store_bytes", "Size of the store's file with its log.", nil, nil),
		prometheus.NewDesc("lastcall_hub_store_ok", "1 while rows are kept; 0 if the store cannot be used, while measuring goes on.", nil, nil),
		prometheus.NewDesc("lastcall_hub_ingest_lag_seconds", "Time since the agent that was longest silent was heard, of those that are followed.", nil, nil),
		prometheus.NewDesc("lastcall_hub_nodes_missing", "Nodes that are expected to have an agent and of which nothing is heard.", nil, nil),
	})
	return m
}

// departed counts a departure that is complete.
func (m *metrics) departed(d report.Departure) {
	if d.LastCall == nil {
		return
	}
	m.departure.WithLabelValues(string(d.Reason)).Observe(d.LastCall.Hi)
	for _, k := range d.Kinds {
		if k.LastCall != nil {
			m.place.WithLabelValues(k.Kind).Observe(k.LastCall.Hi)
		}
	}
	if s := d.Straggler; s != nil && s.Stages != nil {
		m.stage.WithLabelValues("api").Observe(s.Stages.API)
		m.stage.WithLabelValues("watch").Observe(s.Stages.Watch)
		m.stage.WithLabelValues("program").Observe(s.Stages.Program)
	}
}

// gauges reads the hub at scrape time.
type gauges struct {
	h                               *Hub
	agents, bytes, ok, lag, missing *prometheus.Desc
}

func (g *gauges) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{g.agents, g.bytes, g.ok, g.lag, g.missing} {
		ch <- d
	}
}

func (g *gauges) Collect(ch chan<- prometheus.Metric) {
	states := map[report.AgentState]int{report.AgentFollowing: 0, report.AgentCatchingUp: 0, report.AgentUnreachable: 0, report.AgentRefused: 0, report.AgentMissing: 0}
	v := g.h.view()
	agents, lag := v.agents, v.lag
	missing := 0
	for _, a := range agents {
		states[a.State]++
		if a.State != report.AgentFollowing && a.State != report.AgentCatchingUp && a.NodeReady {
			missing++
		}
	}
	for s, n := range states {
		ch <- prometheus.MustNewConstMetric(g.agents, prometheus.GaugeValue, float64(n), string(s))
	}
	ok := 1.0
	if g.h.cfg.Store.Err() != nil {
		ok = 0
	}
	ch <- prometheus.MustNewConstMetric(g.bytes, prometheus.GaugeValue, float64(g.h.cfg.Store.Bytes()))
	ch <- prometheus.MustNewConstMetric(g.ok, prometheus.GaugeValue, ok)
	ch <- prometheus.MustNewConstMetric(g.lag, prometheus.GaugeValue, lag)
	ch <- prometheus.MustNewConstMetric(g.missing, prometheus.GaugeValue, float64(missing))
}
