//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/lastcall-k8s/lastcall/internal/benchresult"
	"github.com/lastcall-k8s/lastcall/internal/nodeagent"
	"github.com/lastcall-k8s/lastcall/internal/scrape"
	"github.com/lastcall-k8s/lastcall/internal/testbed"
)

const (
	// soakSamples are taken whatever the soak's length.
	soakSamples = 600
	// soakWarm is the part of it that is left out of the slopes: caches fill, the heap finds its size.
	soakWarm = soakSamples / 6
	// soakBlocks are averaged each before a line is laid through them.
	soakBlocks = 20
)

// soaked is one agent over the whole time.
type soaked struct {
	Mode       string `json:"mode"`
	Unmeasured string `json:"unmeasured,omitempty"`
	// Per hour, after the first sixth.
	RSS        estimate `json:"rss_kib_per_hour"`
	Heap       estimate `json:"live_heap_kib_per_hour"`
	Goroutines estimate `json:"goroutines_per_hour"`

	Last     memory             `json:"last"`
	CPU      float64            `json:"cpu_percent"`
	Outcomes map[string]float64 `json:"removals_by_outcome"`
	Pending  float64            `json:"removals_pending_at_end"`
	Series   []soakSample       `json:"series"`
}

type soakSample struct {
	Seconds    float64 `json:"s"`
	RSS        float64 `json:"rss_kib"`
	Heap       float64 `json:"live_heap_kib"`
	Goroutines float64 `json:"goroutines"`
}

type soakResults struct {
	benchresult.Run
	Services   int      `json:"services"`
	Rate       float64  `json:"departures_per_second"`
	For        string   `json:"measured_for"`
	Departures int      `json:"departures"`
	Agents     []soaked `json:"agents"`
}

// measureSoak runs an agent on each node for the whole time and looks at what grows.
func measureSoak(ctx context.Context, s *suite) (_ result, err error) {
	r := &soakResults{Run: s.about, Services: maxOf(s.services), Rate: s.rate, For: s.options.run.String()}
	if err := s.cluster.Load(ctx, testbed.LoadSpec{Services: r.Services, Endpoints: 10}, os.Stderr); err != nil {
		return nil, err
	}
	c, err := newChurn(ctx, s.cluster.Client(), s.changing, s.rate)
	if err != nil {
		return nil, err
	}
	agents := map[int]*nodeagent.Agent{}
	defer func() {
		for _, a := range agents {
			err = errors.Join(err, a.Stop())
		}
	}()
	for i, node := range s.cluster.Nodes {
		r.Agents = append(r.Agents, soaked{Mode: string(node.Mode), Outcomes: map[string]float64{}})
		if err := scrape.Quiet(ctx, s.cluster, node.Name); err != nil {
			return nil, err
		}
		a, err := s.agent(ctx, node.Name)
		if err != nil {
			r.Agents[i].Unmeasured = err.Error()
			continue
		}
		agents[i] = a
	}
	begun := time.Now()
	before := map[int]float64{}
	for i, a := range agents {
		before[i] = cpu(a.Pid())
	}
	for n := range soakSamples {
		next := begun.Add(s.options.run * time.Duration(n+1) / soakSamples)
		if err := c.during(ctx, time.Until(next)); err != nil {
			return nil, err
		}
		for i, a := range agents {
			if err := r.Agents[i].sample(ctx, s, a, time.Since(begun)); err != nil {
				return nil, err // an agent that ended is no soak
			}
		}
	}
	r.Departures = c.made
	for i, a := range agents {
		x := &r.Agents[i]
		x.Last, x.CPU = memoryOf(a.Pid()), 100*(cpu(a.Pid())-before[i])/time.Since(begun).Seconds()
		x.slopes()
		if err := x.outcomes(ctx, s, a); err != nil {
			return nil, err
		}
	}
	return r, nil
}

const agentMetrics = "http://127.0.0.1:9747/metrics"

func (x *soaked) sample(ctx context.Context, s *suite, a *nodeagent.Agent, at time.Duration) error {
	m, err := scrape.Families(ctx, s.cluster, a.Node, agentMetrics)
	if err != nil {
		return err
	}
	percent := 100 + gauge(m["go_gc_gogc_percent"])
	x.Series = append(x.Series, soakSample{at.Seconds(), memoryOf(a.Pid()).RSS * 1024,
		gauge(m["go_memstats_next_gc_bytes"]) / percent * 100 / 1024, gauge(m["go_goroutines"])})
	return nil
}

func (x *soaked) slopes() {
	series := x.Series[min(len(x.Series), soakWarm):]
	slope := func(of func(soakSample) float64) estimate {
		var hours, values []float64
		for _, p := range series {
			hours, values = append(hours, p.Seconds/3600), append(values, of(p))
		}
		e, _ := line(blocks(hours, soakBlocks), blocks(values, soakBlocks))
		return e
	}
	x.RSS = slope(func(p soakSample) float64 { return p.RSS })
	x.Heap = slope(func(p soakSample) float64 { return p.Heap })
	x.Goroutines = slope(func(p soakSample) float64 { return p.Goroutines })
}

func (x *soaked) outcomes(ctx context.Context, s *suite, a *nodeagent.Agent) error {
	m, err := scrape.Families(ctx, s.cluster, a.Node, agentMetrics)
	if err != nil {
		return err
	}
	for _, c := range m["lastcall_removals_total"].GetMetric() {
		for _, l := range c.GetLabel() {
			if l.GetName() == "outcome" {
				x.Outcomes[l.GetValue()] += c.GetCounter().GetValue()
			}
		}
	}
	for _, g := range m["lastcall_removals_pending"].GetMetric() {
		x.Pending += g.GetGauge().GetValue()
	}
	return nil
}

func (r *soakResults) rows() [][]string {
	rows := [][]string{{"kube-proxy", "RSS at the end", "RSS grows by, an hour", "live heap, an hour", "goroutines, an hour", "CPU, of one core", "removals"}}
	for _, x := range r.Agents {
		if x.Unmeasured != "" {
			rows = append(rows, []string{x.Mode, "not measured: " + firstLine(x.Unmeasured), "-", "-", "-", "-", "-"})
			continue
		}
		slope := func(e estimate, unit string) string {
			return fmt.Sprintf("%+.1f%s (%+.1f to %+.1f)", e.Value, unit, e.Low, e.High)
		}
		settled := 0.0
		for _, n := range x.Outcomes {
			settled += n
		}
		rows = append(rows, []string{x.Mode, fmt.Sprintf("%.1f MiB", x.Last.RSS), slope(x.RSS, " KiB"), slope(x.Heap, " KiB"), slope(x.Goroutines, ""),
			fmt.Sprintf("%.1f %%", x.CPU), fmt.Sprintf("%.0f settled, %.0f landed, %.0f pending", settled, x.Outcomes["landed"], x.Pending)})
	}
	return rows
}

func (r *soakResults) print() error { return printTable(r.rows()) }

func renderSoak(dir string) error {
	var r soakResults
	return renderPart(dir, "soak", &r, &r.Run, func() string {
		return fmt.Sprintf("%d Services of 10 endpoints, %d departures in %s on each node. Slopes after the first sixth, with their 95 %% interval over %d blocks.",
			r.Services, r.Departures, r.For, soakBlocks)
	}, r.rows)
}
