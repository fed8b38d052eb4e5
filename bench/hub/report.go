//go:build linux

package main

import (
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/lastcall-k8s/lastcall/internal/benchresult"
)

// results is what a run found.
type results struct {
	benchresult.Run
	Cluster   shape `json:"cluster"`
	Preloaded int   `json:"preloaded_departures"`

	Connected float64 `json:"connected_seconds"` // from the hub's start until all agents were followed

	Window  float64 `json:"window_seconds"`
	Lines   float64 `json:"lines_read_per_second"`
	Written float64 `json:"lines_written_per_second"`
	Rows    float64 `json:"rows_completed_per_second"`
	Settled float64 `json:"settled_departures_per_second"` // rows completed, times agents
	// CPU in percent of one core.
	HubCPU       float64 `json:"hub_cpu_percent"`
	GeneratorCPU float64 `json:"generator_cpu_percent"`
	RSS          int     `json:"hub_rss_mib"`
	PeakRSS      int     `json:"hub_peak_rss_mib"`
	Lag          times   `json:"lag_seconds"`
	// Behind is how long after its second a departure's row was stored as complete. The last place settles up to
	// 0.9 s after it begins, and rows are judged once a second.
	Behind times `json:"row_stored_after_seconds"`

	// Overdue are seconds whose first row was not right after 20 s.
	Overdue map[string]int `json:"overdue"`

	Stopped      float64 `json:"stop_seconds"`
	CatchUp      float64 `json:"catch_up_seconds"`
	CatchUpLines float64 `json:"catch_up_lines"`
	CatchUpPeak  int     `json:"catch_up_peak_rss_mib"`

	Pages map[string]times `json:"pages_ms"` // cold, while ingesting

	Departures int            `json:"departures"`
	Correct    int            `json:"rows_complete_and_right"`
	Wrong      map[string]int `json:"rows_wrong"`
	Lost       float64        `json:"lines_lost"`
	Malformed  float64        `json:"lines_malformed"`
	Refused    float64        `json:"answers_refused"`
}

// times are quantiles of durations.
type times struct {
	N   int     `json:"n"`
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

func quantiles(v []float64) times {
	if len(v) == 0 {
		return times{}
	}
	v = slices.Sorted(slices.Values(v))
	at := func(q float64) float64 { return v[max(int(math.Ceil(q*float64(len(v))))-1, 0)] }
	return times{N: len(v), P50: at(.5), P99: at(.99), Max: v[len(v)-1]}
}

func (t times) String() string { return fmt.Sprintf("%.1f / %.1f / %.1f", t.P50, t.P99, t.Max) }

func (r *results) print(w io.Writer) {
	fmt.Fprintf(w, "%d agents, %d departures/s, %d departures stored before\n", r.Cluster.Agents, r.Cluster.Rate, r.Preloaded)
	for _, l := range []struct {
		name string
		v    any
	}{
		{"lines/s read (written)", fmt.Sprintf("%.0f (%.0f)", r.Lines, r.Written)},
		{"settled departures/s", fmt.Sprintf("%.0f", r.Settled)},
		{"CPU of one core, hub / generator", fmt.Sprintf("%.0f / %.0f %%", r.HubCPU, r.GeneratorCPU)},
		{"RSS at the end / peak", fmt.Sprintf("%d / %d MiB", r.RSS, r.PeakRSS)},
		{"lag p50 / p99 / max", fmt.Sprintf("%v s", r.Lag)},
		{"row stored after p50 / p99 / max", fmt.Sprintf("%v s", r.Behind)},
		{"all agents followed after", fmt.Sprintf("%.1f s", r.Connected)},
		{"caught up after", fmt.Sprintf("%.1f s (%.0f lines, peak RSS %d MiB)", r.CatchUp, r.CatchUpLines, r.CatchUpPeak)},
		{"rows complete and right", fmt.Sprintf("%d of %d; wrong: %v", r.Correct, r.Departures, r.Wrong)},
		{"lines lost / malformed, refused", fmt.Sprintf("%.0f / %.0f, %.0f", r.Lost, r.Malformed, r.Refused)},
	} {
		fmt.Fprintf(w, "  %-34s %v\n", l.name, l.v)
	}
	for _, p := range []string{"/", "/episodes/{id}", "/departures/{uid}", "/places"} {
		fmt.Fprintf(w, "  %-34s %v ms\n", p+" p50 / p99 / max", r.Pages[p])
	}
}
