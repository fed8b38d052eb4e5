//go:build linux

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	upstream "github.com/lastcall-k8s/lastcall/internal/prometheus"
)

func promtool(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), upstream.Require(t, "promtool"), args...).CombinedOutput()
	if err != nil {
		t.Errorf("promtool %v: %v\n%s", args, err, out)
	}
	return string(out)
}

func TestPromtool(t *testing.T) {
	promtool(t, "check", "rules", "--lint=all", "--lint-fatal", "rules.yaml", "alerts.yaml")
	tests, err := filepath.Glob("tests/*.yaml")
	if err != nil || len(tests) == 0 {
		t.Fatal(tests, err)
	}
	promtool(t, append([]string{"test", "rules"}, tests...)...)
}

// TestReadme: the configuration for a Prometheus without the operator is one.
func TestReadme(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "```yaml\n")
	config, _, found := strings.Cut(rest, "```")
	if !found {
		t.Fatal("no configuration in README.md")
	}
	file := filepath.Join(t.TempDir(), "prometheus.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := promtool(t, "check", "config", file); !strings.Contains(out, "SUCCESS") {
		t.Error(out)
	}
	for _, job := range []string{"lastcall-agent", "lastcall-hub"} {
		if !strings.Contains(config, "job_name: "+job+"\n") {
			t.Errorf("no job %s", job)
		}
	}
}

// TestTested: promtool's tests have, of every rule, a value, and of every alert a time at which it fires and one at which it
// does not.
func TestTested(t *testing.T) {
	names, err := filepath.Glob("tests/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	values, fires, silent := map[string]bool{}, map[string]bool{}, map[string]bool{}
	recorded := regexp.MustCompile(`[a-z_]+:lastcall_[a-z_0-9]+:[a-z0-9_]+`)
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var file struct {
			Tests []struct {
				Values []struct {
					Expr    string `json:"expr"`
					Samples []any  `json:"exp_samples"`
				} `json:"promql_expr_test"`
				Alerts []struct {
					Name   string `json:"alertname"`
					Firing []any  `json:"exp_alerts"`
				} `json:"alert_rule_test"`
			}
		}
		if err := yaml.Unmarshal(text, &file); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, test := range file.Tests {
			for _, v := range test.Values {
				for _, record := range recorded.FindAllString(v.Expr, -1) {
					values[record] = values[record] || len(v.Samples) > 0
				}
			}
			for _, a := range test.Alerts {
				fires[a.Name] = fires[a.Name] || len(a.Firing) > 0
				silent[a.Name] = silent[a.Name] || len(a.Firing) == 0
			}
		}
	}
	for _, g := range groups(t, "rules.yaml") {
		for _, r := range g.Rules {
			if !values[r.Record] {
				t.Errorf("no test of a value of %s", r.Record)
			}
		}
	}
	for _, g := range groups(t, "alerts.yaml") {
		for _, r := range g.Rules {
			if !fires[r.Alert] || !silent[r.Alert] {
				t.Errorf("%s: fires in a test: %v, does not: %v", r.Alert, fires[r.Alert], silent[r.Alert])
			}
		}
	}
}

// TestRules: names are level:metric:operation, and the level says by what is aggregated, always by cluster.
func TestRules(t *testing.T) {
	by := regexp.MustCompile(`by \(([^)]*)\)`)
	for _, g := range groups(t, "rules.yaml") {
		for _, r := range g.Rules {
			level, _, ok := strings.Cut(r.Record, ":")
			if !ok || !strings.HasPrefix(level, "cluster") || strings.Count(r.Record, ":") != 2 {
				t.Errorf("%s: want level:metric:operation, of a cluster", r.Record)
			}
			for _, m := range by.FindAllStringSubmatch(r.Expr, -1) {
				labels := slices.DeleteFunc(strings.Split(m[1], ", "), func(l string) bool { return l == "le" })
				want := strings.ReplaceAll(level, "cluster_workload", "cluster_namespace_workload_type_workload")
				if got := strings.Join(labels, "_"); got != want {
					t.Errorf("%s aggregates by %v", r.Record, labels)
				}
			}
		}
	}
}

// TestAlerts: everybody who is woken, or gets a ticket, is told whose problem it is, what to do, what will not help, and where more is.
func TestAlerts(t *testing.T) {
	pages := 0
	for _, g := range groups(t, "alerts.yaml") {
		for _, r := range g.Rules {
			if r.Labels["severity"] == "critical" {
				pages++
			} else if r.Labels["severity"] != "warning" {
				t.Errorf("%s: severity %q", r.Alert, r.Labels["severity"])
			}
			if owner := r.Labels["owner"]; owner != "app" && owner != "platform" {
				t.Errorf("%s: owner %q", r.Alert, owner)
			}
			if r.Labels["owner"] == "app" && !strings.Contains(r.Expr, "namespace") {
				t.Errorf("%s: to which owner?", r.Alert)
			}
			says := r.Annotations["description"]
			if r.Annotations["summary"] == "" || !strings.Contains(says, "Do: ") || !regexp.MustCompile(`will not|do(es)? not need|is not the repair|There is no page`).MatchString(says) {
				t.Errorf("%s does not say what to do and what will not help: %s", r.Alert, says)
			}
			if want := "https://github.com/lastcall-k8s/lastcall/blob/main/docs/runbooks/" + r.Alert + ".md"; r.Annotations["runbook_url"] != want {
				t.Errorf("%s: runbook_url %q, want %q", r.Alert, r.Annotations["runbook_url"], want)
			}
			book, err := os.ReadFile("../docs/runbooks/" + r.Alert + ".md")
			if err != nil {
				t.Error(err)
				continue
			}
			for _, part := range []string{"# " + r.Alert, "## What it means", "## What to look at", "## What to do", "## What will not help", "## When to silence it"} {
				if !strings.Contains(string(book), part+"\n") {
					t.Errorf("runbook of %s has no %q", r.Alert, part)
				}
			}
		}
	}
	if pages != 2 {
		t.Errorf("%d alerts wake somebody, want 2: a place is stuck, and its cluster-wide form", pages)
	}
	books, err := filepath.Glob("../docs/runbooks/*.md")
	if err != nil {
		t.Fatal(err)
	}
	alerts, err := os.ReadFile("alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range books {
		if name := strings.TrimSuffix(filepath.Base(b), ".md"); name != "README" && !strings.Contains(string(alerts), "alert: "+name+"\n") {
			t.Errorf("%s is of no alert", b)
		}
	}
}
