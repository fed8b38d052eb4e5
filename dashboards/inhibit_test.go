//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// TestFivePercent: 3 of 60 are a page each, 3 of 59 are one page.
func TestFivePercent(t *testing.T) {
	for _, c := range []struct{ nodes, each, one int }{{60, 3, 0}, {59, 0, 1}} {
		var b strings.Builder
		here, err := filepath.Abs(".")
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "rule_files: [%[1]s/rules.yaml, %[1]s/alerts.yaml]\ngroup_eval_order: [lastcall.rules.places, lastcall.alerts.places]\ntests:\n- interval: 1m\n  input_series:\n", here)
		for n := range c.nodes {
			fmt.Fprintf(&b, "  - {series: 'lastcall_late_landings_total{cluster=\"eu\",instance=\"node-%d\",place=\"kube-proxy\"}', values: '0x60'}\n", n)
			if n < 3 {
				fmt.Fprintf(&b, "  - {series: 'lastcall_removal_oldest_pending_timestamp_seconds{cluster=\"eu\",instance=\"node-%d\",place=\"kube-proxy\",family=\"ipv4\"}', values: '0x60'}\n", n)
			}
		}
		b.WriteString("  promql_expr_test:\n")
		for alert, want := range map[string]int{"LastcallPlaceStuck": c.each, "LastcallPlacesStuck": c.one} {
			samples := "[]"
			if want > 0 {
				samples = fmt.Sprintf("[{labels: '{}', value: %d}]", want)
			}
			fmt.Fprintf(&b, "  - {expr: 'count(ALERTS{alertname=\"%s\", alertstate=\"firing\"})', eval_time: 20m, exp_samples: %s}\n", alert, samples)
		}
		file := filepath.Join(t.TempDir(), "nodes.yaml")
		if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		promtool(t, "test", "rules", file)
	}
}

// TestAlertmanager: the example inhibits alerts that there are, by labels that both have, and never one that wakes somebody by
// one that does not.
func TestAlertmanager(t *testing.T) {
	text, err := os.ReadFile("alertmanager.yaml")
	if err != nil {
		t.Fatal(err)
	}
	type matchers []string
	var c struct {
		Inhibit []struct {
			Source matchers `json:"source_matchers"`
			Target matchers `json:"target_matchers"`
			Equal  []string `json:"equal"`
		} `json:"inhibit_rules"`
		Route struct {
			Receiver string   `json:"receiver"`
			GroupBy  []string `json:"group_by"`
			Routes   []struct {
				Matchers matchers `json:"matchers"`
				Receiver string   `json:"receiver"`
				GroupBy  []string `json:"group_by"`
			} `json:"routes"`
		} `json:"route"`
		Receivers []struct {
			Name string `json:"name"`
		} `json:"receivers"`
	}
	if err := yaml.UnmarshalStrict(text, &c); err != nil {
		t.Fatal(err)
	}
	alerts := map[string]rule{}
	for _, g := range groups(t, "alerts.yaml") {
		for _, r := range g.Rules {
			alerts[r.Alert] = r
		}
	}
	named := func(ms matchers) (rs []rule) {
		t.Helper()
		if len(ms) != 1 {
			t.Fatalf("matchers %v", ms)
		}
		_, names, _ := strings.Cut(ms[0], `"`)
		for name := range strings.SplitSeq(strings.Trim(names, `"`), "|") {
			r, ok := alerts[name]
			if !ok {
				t.Errorf("there is no alert %s", name)
			}
			rs = append(rs, r)
		}
		return rs
	}
	if len(c.Inhibit) == 0 {
		t.Fatal("inhibits nothing")
	}
	for _, i := range c.Inhibit {
		for _, s := range named(i.Source) {
			for _, target := range named(i.Target) {
				if s.Alert == target.Alert {
					t.Errorf("%s inhibits itself", s.Alert)
				}
				if target.Labels["severity"] == "critical" && s.Labels["severity"] != "critical" {
					t.Errorf("%s, a ticket, inhibits the page %s", s.Alert, target.Alert)
				}
				for _, l := range i.Equal {
					for _, r := range []rule{s, target} {
						if l != "cluster" && !slices.Contains(labelsOf(t, r.Alert), l) {
							t.Errorf("%s has no label %s", r.Alert, l)
						}
					}
				}
			}
		}
		if !slices.Contains(i.Equal, "cluster") {
			t.Errorf("%v inhibits in other clusters", i.Source)
		}
	}
	var receivers []string
	for _, r := range c.Receivers {
		receivers = append(receivers, r.Name)
	}
	for _, r := range c.Route.Routes {
		if !slices.Contains(receivers, r.Receiver) || !slices.Contains(receivers, c.Route.Receiver) {
			t.Errorf("no receiver %s or %s", r.Receiver, c.Route.Receiver)
		}
	}
}

// labelsOf are those that an alert has in promtool's tests.
func labelsOf(t *testing.T, alert string) (labels []string) {
	t.Helper()
	files, err := filepath.Glob("tests/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var file struct {
			Tests []struct {
				Alerts []struct {
					Name   string `json:"alertname"`
					Firing []struct {
						Labels map[string]string `json:"exp_labels"`
					} `json:"exp_alerts"`
				} `json:"alert_rule_test"`
			}
		}
		if err := yaml.Unmarshal(text, &file); err != nil {
			t.Fatal(err)
		}
		for _, test := range file.Tests {
			for _, a := range test.Alerts {
				for _, f := range a.Firing {
					if a.Name == alert {
						for l := range f.Labels {
							labels = append(labels, l)
						}
					}
				}
			}
		}
	}
	return labels
}
