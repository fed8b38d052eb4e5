package hub

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lastcall-k8s/lastcall/hub/sizing"
)

// adviceMetrics are the series of each workload: six or seven, and none of its pods.
type adviceMetrics struct {
	h                                                                   *Hub
	prestop, recommended, grace, longer, basis, exceeded, test, dropped *prometheus.Desc
}

func newAdviceMetrics(h *Hub) *adviceMetrics {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, append([]string{"namespace", "workload_type", "workload"}, labels...), nil)
	}
	return &adviceMetrics{h,
		desc("lastcall_workload_prestop_seconds", "How long the container that serves sleeps in preStop, as of when pods of it last left; absent if nobody can tell.", "container"),
		desc("lastcall_workload_prestop_recommended_seconds", "How long preStop should sleep; absent while there is no number.", "container"),
		desc("lastcall_workload_grace_period_seconds", "terminationGracePeriodSeconds, as of when pods of it last left."),
		desc("lastcall_workload_grace_period_recommended_seconds", "How long it must be for preStop as recommended and the longest drain that was seen; absent while it is as long as that."),
		desc("lastcall_workload_recommendation_info", "1; basis says what the recommendation rests on: own, pool, none, and whether the number is a lower bound.", "basis", "lower_bound"),
		desc("lastcall_recommendation_exceeded_total", "Episodes that took longer than had been recommended before they began. 1 in n + 1 does by right, of n episodes before."),
		desc("lastcall_recommendation_tested_total", "Episodes that were held against a recommendation from before they began."),
		prometheus.NewDesc("lastcall_hub_workloads_dropped", "Workloads that are not sized because there are too many: those that no pod has left for longest.", nil, nil),
	}
}

func (m *adviceMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.prestop, m.recommended, m.grace, m.longer, m.basis, m.exceeded, m.test, m.dropped} {
		ch <- d
	}
}

func (m *adviceMetrics) Collect(ch chan<- prometheus.Metric) {
	all := m.h.Advices()
	ch <- prometheus.MustNewConstMetric(m.dropped, prometheus.GaugeValue, float64(all.Dropped))
	for _, a := range all.Items {
		w := workloadKey{a.Namespace, a.Workload}.labels()
		emit := func(d *prometheus.Desc, t prometheus.ValueType, v float64, more ...string) {
			for i := range more {
				more[i] = strings.ToValidUTF8(more[i], "\uFFFD")
			}
			ch <- prometheus.MustNewConstMetric(d, t, v, append(w[:3:3], more...)...)
		}
		if n := a.Present.PreStop; n != nil {
			emit(m.prestop, prometheus.GaugeValue, float64(*n), a.Present.Container)
		}
		if a.Seconds != nil {
			emit(m.recommended, prometheus.GaugeValue, float64(*a.Seconds), a.Present.Container)
		}
		if n := a.Present.Grace; n != nil {
			emit(m.grace, prometheus.GaugeValue, float64(*n))
			if needs := a.Grace.Seconds; needs != nil && *needs > *n && a.Grace.DrainObserved { // a series only where somebody is to act
				emit(m.longer, prometheus.GaugeValue, float64(*needs))
			}
		}
		bound := "false"
		if a.AtLeast {
			bound = "true"
		}
		emit(m.basis, prometheus.GaugeValue, 1, string(a.Basis), bound)
		test := sizing.Backtest{}
		if a.Backtest != nil {
			test = *a.Backtest
		}
		emit(m.exceeded, prometheus.CounterValue, float64(test.Exceeded))
		emit(m.test, prometheus.CounterValue, float64(test.Tested))
	}
}
