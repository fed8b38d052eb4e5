//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// besides is what a run of minutes on two nodes does not have: a recommendation takes 19 episodes, and there is no consumer to
// read. That the program has these metrics, with these labels, is held by besidesExists.
const besides = `
lastcall_workload_prestop_recommended_seconds{namespace="watched",workload_type="deployment",workload="shop",container="server"} 5
lastcall_workload_grace_period_recommended_seconds{namespace="watched",workload_type="deployment",workload="shop"} 35
lastcall_consumer_lag_bound_seconds{instance="node-1",place="traefik",fidelity="config"} 2
lastcall_consumer_failures_total{instance="node-1",place="traefik"} 1
lastcall_consumer_requests_total{instance="node-1",place="traefik",why="pending"} 7
`

func besidesExists(t *testing.T) {
	t.Helper()
	reference, err := os.ReadFile("../../docs/metrics.md") // generated from the code
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(strings.TrimSpace(besides)) {
		name, rest, _ := strings.Cut(line, "{")
		var labels []string
		for _, m := range regexp.MustCompile(`([a-z_]+)="`).FindAllStringSubmatch(rest, -1) {
			if m[1] != "instance" {
				labels = append(labels, m[1])
			}
		}
		if row := fmt.Sprintf(" %s |", strings.Join(labels, ", ")); !regexp.MustCompile("(?m)^\\| `" + name + "` \\|[^|]*\\|" + regexp.QuoteMeta(row)).Match(reference) {
			t.Errorf("docs/metrics.md has no %s with labels %v", name, labels)
		}
	}
}

// lateTwice: what panels are to show later. Twice, because a counter that begins with the first shows nothing of it in rate(). Late,
// because node-1 lets go so late that the pod was surely told before.
func lateTwice(t *testing.T, s *shop, p *prometheus) {
	load := s.load(t, "node-1")
	for n := range 2 {
		resume := s.stopKubeProxy(t, "node-1")
		s.delete(t, s.pods(t)[0])
		p.becomes(t, `max(cluster_instance_place:lastcall_removal_oldest_pending_seconds:max{cluster="native", instance="node-1"}) > bool 3`, 1)
		resume()
		for _, cluster := range []string{"classic", "native"} {
			p.becomes(t, fmt.Sprintf(`sum(lastcall_workload_departures_total{cluster=%q, namespace="watched", result=~"late|refused"})`, cluster), float64(n+1))
		}
		s.ready(t, 2)
	}
	load.stop()
	p.becomes(t, `count(cluster_workload:lastcall_workload_departures_late:increase1h{namespace="watched"})`, 2) // in both clusters
}

// watched: every panel of every dashboard shows something of this run, with the labels that it names, of a Prometheus that has classic
// histograms and of one that has native ones; and every rule can be evaluated.
func watched(t *testing.T, p *prometheus) {
	besidesExists(t)
	// The configuration is known when the episode of lateTwice has ended, a minute after it.
	p.becomes(t, `count(lastcall_workload_prestop_seconds{namespace="watched"})`, 2)
	files, err := filepath.Glob("../../dashboards/*.json")
	if err != nil || len(files) != 3 {
		t.Fatal(files, err)
	}
	panels, queries := 0, 0
	for _, file := range files {
		var b board
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, &b); err != nil {
			t.Fatal(err)
		}
		b.variablesHaveValues(t, p)
		for _, panel := range b.Panels {
			if len(panel.Targets) > 0 {
				panels, queries = panels+1, queries+len(panel.Targets)
				b.shows(t, p, panel)
			}
		}
	}
	if panels < 40 {
		t.Errorf("%d panels were looked at", panels)
	}
	rules := p.healthy(t)
	t.Logf("%d panels with %d queries of %d dashboards, %d rules", panels, queries, len(files), rules)
	counted(t, p)
}

// becomes waits until an expression has that one value.
func (p *prometheus) becomes(t *testing.T, expr string, want float64) {
	t.Helper()
	within(t, 2*time.Minute, func() error { // an episode ends after one
		got, err := p.now(t.Context(), expr)
		if err != nil {
			return err
		}
		if len(got) != 1 || got[0].Value[1] != strconv.FormatFloat(want, 'f', -1, 64) {
			return fmt.Errorf("%s is %v, want %v", expr, got, want)
		}
		return nil
	})
}

// board is what is looked at of a dashboard.
type board struct {
	UID        string
	Templating struct {
		List []struct {
			Name, Type string
			Query      json.RawMessage
		}
	}
	Panels []panel
}

type panel struct {
	Type, Title string
	Targets     []struct{ Expr, LegendFormat string }
	// Of a table: labels are those that get a column.
	Transformations []struct {
		Options struct{ IndexByName map[string]int }
	}
}

// at puts values for Grafana's variables.
func (b board) at(p *prometheus, cluster, expr string) string {
	namespace := ".*" // All
	if b.UID == "lastcall-workload" {
		namespace = "watched"
	}
	return strings.NewReplacer("$__rate_interval", "20s", "$__range", fmt.Sprintf("%ds", int(time.Since(p.started).Seconds())), "$step", "1s",
		"$cluster", cluster, "$namespace", namespace, "$workload_type", "deployment", "$workload", "shop", "$instance", ".*").Replace(expr)
}

var labelValues = regexp.MustCompile(`^label_values\((.+), ([a-z_]+)\)$`)

// variablesHaveValues: what Grafana offers to choose from has what happened.
func (b board) variablesHaveValues(t *testing.T, p *prometheus) {
	t.Helper()
	for _, v := range b.Templating.List {
		if v.Type != "query" {
			continue
		}
		var query string
		if err := json.Unmarshal(v.Query, &query); err != nil {
			t.Fatal(err)
		}
		parts := labelValues.FindStringSubmatch(query)
		if parts == nil {
			t.Errorf("%s: variable %s asks %s", b.UID, v.Name, query)
			continue
		}
		want := map[string]string{"cluster": "native", "namespace": "watched", "workload_type": "deployment", "workload": "shop", "instance": "node-1"}[v.Name]
		var values []string
		err := p.ask(t.Context(), "/api/v1/label/"+parts[2]+"/values", url.Values{"match[]": {b.at(p, "native", parts[1])}}, &values)
		if err != nil || !slices.Contains(values, want) {
			t.Errorf("%s: %v among the values of %s, want %s: %v", b.UID, values, v.Name, want, err)
		}
	}
}

var legendLabel = regexp.MustCompile(`{{([a-z_]+)}}`)

// mayLack are labels that are empty with a reason.
var mayLack = map[string]string{
	"le":     "a native histogram has no bounds in labels",
	"family": "an agent that has not found a dataplane yet does not say of which family",
}

// shows: each query of a panel has a value that is one, at some time of the run; what it needs native histograms for has it there.
func (b board) shows(t *testing.T, p *prometheus, of panel) {
	t.Helper()
	empty := map[string]int{}
	for _, cluster := range []string{"classic", "native"} {
		some := false
		for _, q := range of.Targets {
			expr := b.at(p, cluster, q.Expr)
			got, err := p.since(t.Context(), expr)
			if err != nil {
				t.Errorf("%s: %s: %v", b.UID, of.Title, err)
				continue
			}
			labels := []string{}
			for _, m := range legendLabel.FindAllStringSubmatch(q.LegendFormat, -1) {
				labels = append(labels, m[1])
			}
			for _, tr := range of.Transformations {
				for l := range tr.Options.IndexByName {
					if !strings.HasPrefix(l, "Value") {
						labels = append(labels, l)
					}
				}
			}
			seen := false
			for _, s := range got {
				seen = seen || len(s.Histograms) > 0 || slices.ContainsFunc(s.Values, func(v [2]any) bool { return v[1] != "NaN" })
				for _, l := range labels {
					if s.Metric[l] == "" && mayLack[l] == "" {
						t.Errorf("%s: %s: a series has no %s: %v\n%s", b.UID, of.Title, l, s.Metric, expr)
					}
				}
			}
			if !seen {
				empty[q.Expr]++
			}
			some = some || seen
		}
		if !some {
			t.Errorf("%s: %s is empty in cluster %s", b.UID, of.Title, cluster)
		}
	}
	for expr, n := range empty {
		if n == 2 || !strings.Contains(expr, "_duration_seconds{") {
			t.Errorf("%s: %s: in %d of 2 clusters there is nothing of\n%s", b.UID, of.Title, n, expr)
		}
	}
}

// healthy: every rule was evaluated without an error or a warning.
func (p *prometheus) healthy(t *testing.T) (n int) {
	t.Helper()
	var data struct {
		Groups []struct {
			Rules []struct{ Name, Health, LastError, Type string }
		}
	}
	if err := p.ask(t.Context(), "/api/v1/rules", nil, &data); err != nil {
		t.Fatal(err)
	}
	for _, g := range data.Groups {
		for _, r := range g.Rules {
			n++
			if r.Health != "ok" || r.LastError != "" {
				t.Errorf("rule %s is %s: %s", r.Name, r.Health, r.LastError)
			}
		}
	}
	if n < 20 {
		t.Errorf("%d rules", n)
	}
	return n
}

// counted holds the budget of series: 60 of an agent, 10 of a workload that is well, whose histogram is native only.
func counted(t *testing.T, p *prometheus) {
	t.Helper()
	most := func(expr string) (n int, of map[string]string) {
		got, err := p.now(t.Context(), "topk(1, "+expr+")")
		if err != nil || len(got) != 1 {
			t.Fatalf("%s: %v, %v", expr, got, err)
		}
		if n, err = strconv.Atoi(got[0].Value[1].(string)); err != nil {
			t.Fatal(err)
		}
		return n, got[0].Metric
	}
	const own = `__name__=~"lastcall_.+", __name__!="lastcall_build_info"`
	// An old connection that a client revived, and a hole of a kind that is rare, are a series more from then on.
	const usual = `kind!="reused", source!~"malformed|kernel|dataplane|conntrack|capacity"`
	run := fmt.Sprintf("[%ds:1s]", int(time.Since(p.started).Seconds()))
	agent, where := most(`max_over_time(count by (instance) ({` + own + `, ` + usual + `, job="lastcall-agent", cluster="classic"})` + run + `)`)
	agentNative, _ := most(`max_over_time(count by (instance) ({` + own + `, ` + usual + `, job="lastcall-agent", cluster="native"})` + run + `)`)
	collectors, _ := most(`count by (instance) ({__name__!~"lastcall_.+|up|scrape_.+|ALERTS.*|.*:.*", job="lastcall-agent", cluster="classic"})`)
	ofWorkload := `count by (namespace, workload) ({` + own + `, job="lastcall-hub", cluster="native", workload!=""})`
	worst, which := most(`max_over_time((` + ofWorkload + `)` + run + `)`)
	workload, well := most(`max_over_time((` + ofWorkload + ` unless on (namespace, workload) lastcall_workload_departures_total{result=~"late|refused"})` + run + `)`)
	hub, _ := most(`max_over_time(count by (job) ({` + own + `, job="lastcall-hub", cluster="classic", workload=""})` + run + `)`)
	recorded, _ := most(`count by (cluster) ({__name__=~".+:.+:.+", cluster="classic"})`)
	t.Logf("series: %d of the agent on %s (%d with native histograms) and %d of Go and the process, %d of workload %s/%s, which is well, %d of %s/%s, which is late, %d of the hub besides, %d recorded",
		agent, where["instance"], agentNative, collectors, workload, well["namespace"], well["workload"], worst, which["namespace"], which["workload"], hub, recorded)
	if agent > 60 {
		t.Errorf("%d series of an agent, want at most 60", agent)
	}
	if workload > 10 {
		t.Errorf("%d series of %v, want at most 10", workload, well)
	}
	if worst > 17 { // all results and phases that there are
		t.Errorf("%d series of %v, want at most 17", worst, which)
	}
	const nodes, workloads = 3000, 8000
	if all, budget := nodes*agent+workloads*workload+hub, nodes*60+workloads*10+500; all > budget {
		t.Errorf("%d series at %d nodes and %d workloads, want at most %d", all, nodes, workloads, budget)
	}
}
