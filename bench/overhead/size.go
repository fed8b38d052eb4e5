//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/lastcall-k8s/lastcall/internal/benchresult"
	"github.com/lastcall-k8s/lastcall/internal/scrape"
	"github.com/lastcall-k8s/lastcall/internal/testbed"
)

// sized is an agent that started with so many endpoints in the cluster, after a while of departures.
type sized struct {
	Endpoints int `json:"endpoints"`
	memory
	Heap float64 `json:"heap_live_mib"` // after the last collection
}

type memoryResults struct {
	benchresult.Run
	Rate  float64 `json:"departures_per_second"`
	After string  `json:"after"`
	Sizes []sized `json:"sizes"`
	// Slopes of RSS by least squares, in bytes for each endpoint, with what remains at none.
	Peak   estimate `json:"peak_rss_bytes_per_endpoint"`
	PeakAt float64  `json:"peak_rss_mib_at_none"`
	RSS    estimate `json:"rss_bytes_per_endpoint"`
	RSSAt  float64  `json:"rss_mib_at_none"`
}

// measureMemory starts the agent anew in a cluster that grows. kube-proxy has nothing to do with it and is stopped; the rules
// that it leaves are what the agent looks for.
func measureMemory(ctx context.Context, s *suite) (result, error) {
	r := &memoryResults{Run: s.about, Rate: s.rate, After: s.options.run.String()}
	c, err := newChurn(ctx, s.cluster.Client(), s.changing, s.rate)
	if err != nil {
		return nil, err
	}
	node := s.cluster.Nodes[0].Name
	if err := scrape.Quiet(ctx, s.cluster, node); err != nil {
		return nil, err
	}
	if err := s.cluster.StopKubeProxy(ctx, node); err != nil {
		return nil, err
	}
	for _, n := range s.sizes {
		if err := s.cluster.Load(ctx, testbed.LoadSpec{Services: (n - 10*s.changing) / 10, Endpoints: 10}, os.Stderr); err != nil {
			return nil, err
		}
		one, err := s.sized(ctx, c, node)
		if err != nil {
			return nil, err
		}
		one.Endpoints = n
		fmt.Fprintf(os.Stderr, "%d endpoints: RSS %.1f MiB, peak %.1f, program pages %.1f, live heap %.1f\n", one.Endpoints, one.RSS, one.Peak, one.File, one.Heap)
		r.Sizes = append(r.Sizes, one)
	}
	var ns, peaks, now []float64
	for _, x := range r.Sizes {
		ns, peaks, now = append(ns, float64(x.Endpoints)), append(peaks, x.Peak*(1<<20)), append(now, x.RSS*(1<<20))
	}
	r.Peak, r.PeakAt = line(ns, peaks)
	r.RSS, r.RSSAt = line(ns, now)
	r.PeakAt, r.RSSAt = r.PeakAt/(1<<20), r.RSSAt/(1<<20)
	return r, nil
}

func (s *suite) sized(ctx context.Context, c *churn, node string) (one sized, err error) {
	a, err := s.agent(ctx, node)
	if err != nil {
		return one, err
	}
	defer func() { err = errors.Join(err, a.Stop()) }()
	if err := c.during(ctx, s.options.run); err != nil {
		return one, err
	}
	one.memory = memoryOf(a.Pid())
	own, err := scrape.Families(ctx, s.cluster, node, "http://127.0.0.1:9747/metrics")
	if err != nil {
		return one, err
	}
	// next_gc is live x (1 + GOGC/100).
	percent := 100 + gauge(own["go_gc_gogc_percent"])
	one.Heap = gauge(own["go_memstats_next_gc_bytes"]) / percent * 100 / (1 << 20)
	return one, nil
}

func (r *memoryResults) rows() [][]string {
	rows := [][]string{{"endpoints", "RSS", "peak RSS", "of it program pages", "live heap"}}
	for _, x := range r.Sizes {
		rows = append(rows, []string{fmt.Sprint(x.Endpoints), fmt.Sprintf("%.1f MiB", x.RSS), fmt.Sprintf("%.1f MiB", x.Peak),
			fmt.Sprintf("%.1f MiB", x.File), fmt.Sprintf("%.1f MiB", x.Heap)})
	}
	return rows
}

func (r *memoryResults) slopes() string {
	return fmt.Sprintf("RSS = %.1f MiB + %.0f bytes an endpoint (95 %%: %.0f to %.0f); peak = %.1f MiB + %.0f (%.0f to %.0f).",
		r.RSSAt, r.RSS.Value, r.RSS.Low, r.RSS.High, r.PeakAt, r.Peak.Value, r.Peak.Low, r.Peak.High)
}

func (r *memoryResults) print() error {
	fmt.Println(r.slopes())
	return printTable(r.rows())
}

func renderMemory(dir string) error {
	var r memoryResults
	return renderPart(dir, "memory", &r, &r.Run, func() string {
		return fmt.Sprintf("10 endpoints a Service, %s of %.0f departures a second after each start. %s", r.After, r.Rate, r.slopes())
	}, r.rows)
}

// span is a duration as people write it.
func span(d time.Duration) string { return d.Round(time.Second).String() }
