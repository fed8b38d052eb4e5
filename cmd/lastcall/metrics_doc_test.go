package main

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lastcall-k8s/lastcall/hub"
	"github.com/lastcall-k8s/lastcall/hub/store"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// TestMetricsDoc: docs/metrics.md has every metric that the program registers, as it is.
func TestMetricsDoc(t *testing.T) {
	const file = "../../docs/metrics.md"
	var agent, ofHub catalogue
	ledger.NewMetrics(&agent, place, func() float64 { return 0 })
	rows, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "hub.db"), store.Config{RetentionAge: time.Hour, RetentionBytes: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close(t.Context()) //nolint:errcheck // nothing is in it
	hub.New(t.Context(), hub.Config{Now: time.Now, Store: rows, Metrics: &ofHub})
	for section, c := range map[string]catalogue{"agent": agent, "hub": ofHub} {
		if len(c) < 15 {
			t.Fatalf("%s registers %d metrics", section, len(c))
		}
		slices.SortFunc(c, func(a, b metric) int { return strings.Compare(a.name, b.name) })
		var b strings.Builder
		b.WriteString("| metric | type | labels | unit | series | |\n|---|---|---|---|---|---|\n")
		for _, m := range c {
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | %s |\n", m.name, m.kind, strings.Join(m.labels, ", "), m.unit(), m.series(), strings.ReplaceAll(m.help, "|", `\|`))
		}
		upToDate(t, file, section, b.String(), "metrics of the "+section, "MetricsDoc")
	}
}

// catalogue is a Registerer that notes what metrics there may be.
type catalogue []metric

type metric struct {
	name, help, kind string
	labels           []string
	buckets          int  // of a histogram's classic form, 0 if it has none
	native           bool // a histogram has that form too
}

var desc = regexp.MustCompile(`^Desc\{fqName: ("(?:[^"\\]|\\.)*"), help: ("(?:[^"\\]|\\.)*"), unit: "[^"]*", constLabels: \{\}, variableLabels: \{([^}]*)\}\}$`)

func (c *catalogue) Register(from prometheus.Collector) error {
	descs := make(chan *prometheus.Desc, 100)
	from.Describe(descs)
	close(descs)
	for d := range descs {
		parts := desc.FindStringSubmatch(d.String())
		if parts == nil {
			return fmt.Errorf("a description in a form that is not known: %v", d)
		}
		m := metric{kind: "gauge"}
		m.name, _ = strconv.Unquote(parts[1])
		m.help, _ = strconv.Unquote(parts[2])
		if parts[3] != "" {
			m.labels = strings.Split(parts[3], ",")
		}
		switch from.(type) {
		case *prometheus.HistogramVec, prometheus.Histogram:
			m.kind = "histogram"
			m.buckets, m.native = forms(from, len(m.labels))
		default:
			if strings.HasSuffix(m.name, "_total") { // the linter holds that it is so
				m.kind = "counter"
			}
		}
		*c = append(*c, m)
	}
	return nil
}

func (c *catalogue) MustRegister(all ...prometheus.Collector) {
	for _, from := range all {
		if err := c.Register(from); err != nil {
			panic(err)
		}
	}
}

func (c *catalogue) Unregister(prometheus.Collector) bool { return false }

// forms observes something to see which a histogram has.
func forms(from prometheus.Collector, labels int) (buckets int, native bool) {
	if v, ok := from.(*prometheus.HistogramVec); ok {
		v.WithLabelValues(make([]string, labels)...).Observe(0)
	}
	reg := prometheus.NewRegistry()
	reg.MustRegister(from)
	families, err := reg.Gather()
	if err != nil || len(families) != 1 {
		panic(fmt.Sprint(families, err))
	}
	h := families[0].GetMetric()[0].GetHistogram()
	if buckets = len(h.GetBucket()); buckets > 0 {
		buckets++ // +Inf
	}
	return buckets, h.Schema != nil
}

// values are how many each label can have, where that is fixed. The others are what there is a series for each of.
var values = map[string]int{
	"outcome": len(ledger.Outcomes), "kind": 2, "measured": 1, "fidelity": 1, "why": 2, "stage": 3, "state": 5,
	"result": 5, "phase": 3, "container": 1, "basis": 1, "lower_bound": 1, // of a workload
}

// series is how many there are at most.
func (m metric) series() string {
	n := 1
	var each []string
	for _, l := range m.labels {
		if v := values[l]; v > 0 {
			n *= v
		} else if l != "workload_type" && l != "namespace" {
			each = append(each, l)
		}
	}
	text := strconv.Itoa(n)
	switch {
	case m.buckets > 0 && m.native:
		text = fmt.Sprintf("%d, native %d", n*(m.buckets+2), n)
	case m.buckets > 0:
		text = strconv.Itoa(n * (m.buckets + 2)) // and its sum and count
	}
	if len(each) > 0 {
		text += " per " + strings.Join(each, ", ")
	}
	return text
}

func (m metric) unit() string {
	name := strings.TrimSuffix(m.name, "_total")
	switch {
	case strings.HasSuffix(name, "_timestamp_seconds"):
		return "Unix time, seconds"
	case strings.HasSuffix(name, "_seconds"):
		return "seconds"
	case strings.HasSuffix(name, "_bytes"):
		return "bytes"
	case strings.HasSuffix(name, "_info"):
		return "1"
	}
	return "count"
}
