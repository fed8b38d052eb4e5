//go:build linux

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	upstream "github.com/lastcall-k8s/lastcall/internal/prometheus"
	"github.com/lastcall-k8s/lastcall/manifests"
)

// prometheus is a real one on node-1 that scrapes what is installed as the chart's monitors say: with classic histograms as cluster
// "classic", and with native ones as cluster "native". It records and alerts by our rules.
type prometheus struct {
	http    *http.Client
	started time.Time
}

const prometheusAt = "127.0.0.1:19090"

// prometheus starts one. besides is what this run cannot have, in the text format.
func (i *installed) prometheus(t *testing.T, besides string) *prometheus {
	t.Helper()
	program := upstream.Require(t, "prometheus")
	rendered, err := manifests.Template(t.Context(), "lastcall", system, "monitoring.podMonitor.enabled=true", "monitoring.serviceMonitor.enabled=true")
	if err != nil {
		t.Fatal(err)
	}
	dashboards, err := filepath.Abs("../../dashboards")
	if err != nil {
		t.Fatal(err)
	}
	jobs := []map[string]any{}
	for _, cluster := range []string{"classic", "native"} {
		jobs = append(jobs, scrapeConfigs(t, rendered, i.NodeKubeconfig, cluster)...)
		jobs = append(jobs, map[string]any{"job_name": "besides/" + cluster, "honor_labels": true,
			"static_configs": []any{map[string]any{"targets": []string{i.serveOn(t, "node-1", besides)}, "labels": map[string]string{"cluster": cluster}}}})
	}
	config, err := yaml.Marshal(map[string]any{
		"global":         map[string]any{"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
		"rule_files":     []string{dashboards + "/rules.yaml", dashboards + "/alerts.yaml"},
		"scrape_configs": jobs,
	})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "prometheus.yaml")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cmd := i.Command("node-1", program, "--config.file="+file, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+prometheusAt)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM) //nolint:errcheck // Wait tells
		if err := cmd.Wait(); err != nil || t.Failed() {
			t.Logf("prometheus: %v\n%s\n%s", err, config, log.String())
		}
	})
	p := &prometheus{http: &http.Client{Transport: &http.Transport{DialContext: i.Dialer("node-1")}, Timeout: 30 * time.Second}, started: time.Now()}
	for _, cluster := range []string{"classic", "native"} {
		within(t, time.Minute, func() error {
			got, err := p.now(t.Context(), fmt.Sprintf(`sum by (job) (up{job=~"lastcall-.+", cluster=%q}) == on (job) count by (job) (up{cluster=%q})`, cluster, cluster))
			if err == nil && len(got) != 2 {
				err = fmt.Errorf("cluster %s: up are %v, want those of agents and hub", cluster, got)
			}
			return err
		})
	}
	return p
}

// serveOn serves an exposition inside a node, and returns where.
func (i *installed) serveOn(t *testing.T, node, exposition string) string {
	t.Helper()
	var l net.Listener
	err := i.RunIn(node, func() (err error) {
		l, err = net.Listen("tcp", "127.0.0.1:0")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		io.WriteString(w, exposition) //nolint:errcheck // Prometheus tells
	})}
	ended := make(chan struct{})
	go func() { defer close(ended); s.Serve(l) }() //nolint:errcheck // it is closed
	t.Cleanup(func() { s.Close(); <-ended })
	return l.Addr().String()
}

// monitor is all that the chart says in PodMonitors and ServiceMonitors: it is read strictly, so that what scrapeConfigs
// does not translate fails here. The operator's own module would bring a controller's dependencies.
type monitor struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		Selector            metav1.LabelSelector `json:"selector"`
		PodMetricsEndpoints []endpoint           `json:"podMetricsEndpoints"`
		Endpoints           []endpoint           `json:"endpoints"`
	} `json:"spec"`
}

type endpoint struct {
	Port        string `json:"port"`
	HonorLabels bool   `json:"honorLabels"`
	Relabelings []struct {
		SourceLabels []string `json:"sourceLabels"`
		TargetLabel  string   `json:"targetLabel"`
		Replacement  string   `json:"replacement"`
	} `json:"relabelings"`
}

// scrapeConfigs are what the operator makes of the monitors (v0.80, pkg/prometheus/promcfg.go): the same targets, with the same
// labels, and then their own relabelings.
func scrapeConfigs(t *testing.T, rendered []byte, kubeconfig, cluster string) (jobs []map[string]any) {
	t.Helper()
	for doc := range bytes.SplitSeq(rendered, []byte("\n---\n")) {
		var m monitor
		if err := yaml.Unmarshal(doc, &m.TypeMeta); err != nil {
			t.Fatal(err)
		}
		if m.APIVersion != "monitoring.coreos.com/v1" {
			continue
		}
		if err := yaml.UnmarshalStrict(doc, &m); err != nil {
			t.Fatalf("%v\n%s", err, doc)
		}
		role, of, port, all := "pod", "pod_label_", "pod_container_port_name", m.Spec.PodMetricsEndpoints
		if m.Kind == "ServiceMonitor" {
			role, of, port, all = "endpointslice", "service_label_", "endpointslice_port_name", m.Spec.Endpoints
		}
		for _, e := range all {
			const meta = "__meta_kubernetes_"
			var relabel []map[string]any
			keep := func(label, value string) {
				relabel = append(relabel, map[string]any{"action": "keep", "source_labels": []string{meta + label}, "regex": value})
			}
			set := func(label, from string) {
				relabel = append(relabel, map[string]any{"source_labels": []string{meta + from}, "target_label": label})
			}
			for _, name := range slices.Sorted(maps.Keys(m.Spec.Selector.MatchLabels)) {
				keep(of+strings.NewReplacer(".", "_", "/", "_", "-", "_").Replace(name), m.Spec.Selector.MatchLabels[name])
			}
			keep(port, e.Port)
			set("namespace", "namespace")
			set("container", "pod_container_name")
			set("pod", "pod_name")
			if role == "endpointslice" {
				set("service", "service_name")
			}
			relabel = append(relabel, map[string]any{"target_label": "endpoint", "replacement": e.Port})
			for _, r := range e.Relabelings {
				own := map[string]any{"target_label": r.TargetLabel}
				if len(r.SourceLabels) > 0 {
					own["source_labels"] = r.SourceLabels
				}
				if r.Replacement != "" {
					own["replacement"] = r.Replacement
				}
				relabel = append(relabel, own)
			}
			relabel = append(relabel, map[string]any{"target_label": "cluster", "replacement": cluster})
			jobs = append(jobs, map[string]any{"job_name": m.Kind + "/" + m.Name + "/" + cluster, "honor_labels": e.HonorLabels,
				"scrape_native_histograms": cluster == "native", "relabel_configs": relabel,
				"kubernetes_sd_configs": []any{map[string]any{"role": role, "kubeconfig_file": kubeconfig, "namespaces": map[string]any{"names": []string{m.Namespace}}}}})
		}
	}
	if len(jobs) != 2 {
		t.Fatalf("%d jobs of the chart's monitors, want that of the agents and that of the hub", len(jobs))
	}
	return jobs
}

// sampled is a series and its samples; of a native histogram, the numbers of observations.
type sampled struct {
	Metric     map[string]string
	Value      [2]any
	Values     [][2]any
	Histogram  []json.RawMessage
	Histograms []json.RawMessage
}

func (p *prometheus) ask(ctx context.Context, path string, query url.Values, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+prometheusAt+path+"?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	resp, err := p.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return fmt.Errorf("%s: %w", resp.Status, err)
	}
	if answer.Status != "success" {
		return fmt.Errorf("%s: %s", query.Get("query"), answer.Error)
	}
	return json.Unmarshal(answer.Data, into)
}

// now asks for the present values.
func (p *prometheus) now(ctx context.Context, expr string) ([]sampled, error) {
	var data struct{ Result []sampled }
	err := p.ask(ctx, "/api/v1/query", url.Values{"query": {expr}}, &data)
	return data.Result, err
}

// since asks for the values of every second since the start.
func (p *prometheus) since(ctx context.Context, expr string) ([]sampled, error) {
	var data struct{ Result []sampled }
	seconds := func(t time.Time) string { return strconv.FormatInt(t.Unix(), 10) }
	err := p.ask(ctx, "/api/v1/query_range", url.Values{"query": {expr}, "start": {seconds(p.started)}, "end": {seconds(time.Now())}, "step": {"1"}}, &data)
	return data.Result, err
}
