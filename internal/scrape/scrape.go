//go:build linux

// Package scrape reads Prometheus expositions from inside a testbed's nodes.
package scrape

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/lastcall-k8s/lastcall/internal/testbed"
)

// KubeProxy is where every kube-proxy exposes its metrics, on its node's loopback.
const KubeProxy = "http://127.0.0.1:10249/metrics"

// Families fetches an exposition from a node's loopback.
func Families(ctx context.Context, c *testbed.Cluster, node, url string) (map[string]*dto.MetricFamily, error) {
	client := &http.Client{Transport: &http.Transport{DialContext: c.Dialer(node), DisableKeepAlives: true}, Timeout: 10 * time.Second}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("metrics on %s: %w", node, err)
	}
	defer resp.Body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return nil, fmt.Errorf("metrics on %s: %w", node, err)
	}
	return families, nil
}

// Histogram is the number of samples and their sum, over all label sets. A histogram without samples may not
// be exposed at all: that is 0.
func Histogram(f *dto.MetricFamily) (n uint64, sum float64) {
	for _, m := range f.GetMetric() {
		n += m.GetHistogram().GetSampleCount()
		sum += m.GetHistogram().GetSampleSum()
	}
	return n, sum
}

// Quiet returns when a node's kube-proxy has not synced its rules for two seconds.
func Quiet(ctx context.Context, c *testbed.Cluster, node string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	last, since := uint64(0), time.Now()
	for time.Since(since) < 2*time.Second {
		families, err := Families(ctx, c, node, KubeProxy)
		if err != nil {
			return err
		}
		if now, _ := Histogram(families["kubeproxy_sync_proxy_rules_duration_seconds"]); now != last {
			last, since = now, time.Now()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("kube-proxy on %s goes on syncing: %w", node, ctx.Err())
		case <-time.After(200 * time.Millisecond):
		}
	}
	return nil
}
