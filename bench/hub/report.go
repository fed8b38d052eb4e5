//go:build linux

package main

import (
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"
	"strings"

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

	Pause        string  `json:"stopped_for"`
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

// looked are the pages that are asked for.
var looked = []string{"/", "/episodes/{id}", "/departures/{uid}", "/places", "/workloads", "/workloads/{...}"}

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

// section is the run as a part of RESULTS.md.
func (r *results) section(file string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "`%s` (%s; %s)\n\n| | reach | measured |\n|---|---|---|\n", r.Command, r.Date.Format("2006-01-02"), filepath.Base(file))
	row := func(what, reach, format string, args ...any) {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", what, reach, fmt.Sprintf(format, args...))
	}
	row("event lines/s", "10,000", "%.0f of %.0f written", r.Lines, r.Written)
	row("settled departures/s", "50,000", "%.0f (%.1f complete rows/s of %d places)", r.Settled, r.Rows, r.Cluster.Agents)
	row("rows complete and right", "all", "%d of %d; lines lost %.0f", r.Correct, r.Departures, r.Lost)
	row("row stored after", "stated", "%.1f s p50, %.1f s p99", r.Behind.P50, r.Behind.P99)
	row("RSS at the end / peak", "<= 512 MiB", "%d / %d MiB", r.RSS, r.PeakRSS)
	row("CPU of one core, hub / generator", "stated", "%.0f / %.0f %%", r.HubCPU, r.GeneratorCPU)
	row("all agents followed after a start", "stated", "%.1f s", r.Connected)
	row("caught up after a stop of "+r.Pause, "stated", "%.1f s: %.0f lines, peak RSS %d MiB", r.CatchUp, r.CatchUpLines, r.CatchUpPeak)
	for _, p := range looked {
		t := r.Pages[p]
		row(fmt.Sprintf("page `%s`, cold, over %d departures: p50 / p99 / max of %d", p, r.Preloaded, t.N), "p99 < 200 ms", "%v ms", t)
	}
	return b.String()
}

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
	for _, p := range looked {
		fmt.Fprintf(w, "  %-34s %v ms\n", p+" p50 / p99 / max", r.Pages[p])
	}
}
