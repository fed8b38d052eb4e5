package hub

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// family are the series of one name, in the registry's order.
func family(t *testing.T, reg *prometheus.Registry, name string) []*dto.Metric {
	t.Helper()
	all, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		if f.GetName() == name {
			return f.GetMetric()
		}
	}
	t.Fatalf("no metric %s", name)
	return nil
}

func labelled(t *testing.T, reg *prometheus.Registry, name string) (all []map[string]string) {
	t.Helper()
	for _, m := range family(t, reg, name) {
		labels := map[string]string{}
		for _, l := range m.GetLabel() {
			labels[l.GetName()] = l.GetValue()
		}
		all = append(all, labels)
	}
	return all
}

func histogram(t *testing.T, reg *prometheus.Registry, name, workload string) *dto.Histogram {
	t.Helper()
	for i, labels := range labelled(t, reg, name) {
		if labels["workload"] == workload {
			return family(t, reg, name)[i].GetHistogram()
		}
	}
	t.Fatalf("no %s of %s", name, workload)
	return nil
}
