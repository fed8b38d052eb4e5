//go:build linux

package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/lastcall-k8s/lastcall/internal/benchresult"
)

// figures is one comparison. Means over the runs; the difference is that of the pairs.
type figures struct {
	Mode       string `json:"mode"`
	Services   int    `json:"services"`
	Agent      string `json:"agent_flags"`
	Kept       string `json:"kept,omitempty"`       // from which earlier run, if from one
	Unmeasured string `json:"unmeasured,omitempty"` // why there are no figures
	Pairs      int    `json:"pairs"`
	Run        string `json:"run"`

	Departures  float64 `json:"departures_per_second"`
	Syncs       uint64  `json:"syncs"`
	SyncWithout float64 `json:"sync_without_ms"`
	SyncWith    float64 `json:"sync_with_ms"`
	// Difference of kube-proxy's mean sync with the agent, in percent, and its 95 % interval over the pairs.
	Difference     float64 `json:"difference_percent"`
	DifferenceLow  float64 `json:"difference_low_percent"`
	DifferenceHigh float64 `json:"difference_high_percent"`

	ProxyCPU float64 `json:"kube_proxy_cpu_percent"` // of one core, with the programs it ran, while the agent runs
	AgentCPU float64 `json:"agent_cpu_percent"`
	ProxyRSS float64 `json:"kube_proxy_peak_rss_mib"`
	AgentRSS float64 `json:"agent_peak_rss_mib"`
	// AgentFile is how much of it is pages of the program, which the kernel can drop.
	AgentFile float64 `json:"agent_rss_file_mib"`

	// Landings in the runs, in which no clients knock, and those of them with a slop of at most 5 ms.
	Landed uint64 `json:"landed"`
	Tight  uint64 `json:"landed_slop_within_5ms"`
}

type pairResults struct {
	benchresult.Run
	Rate     float64   `json:"departures_per_second"`
	Changing int       `json:"changing_services"`
	Figures  []figures `json:"figures"`
}

// add takes in a comparison, in place of an earlier one of the same.
func (r *pairResults) add(f figures) {
	same := func(old figures) bool {
		return old.Mode == f.Mode && old.Services == f.Services && old.Agent == f.Agent
	}
	if i := slices.IndexFunc(r.Figures, same); i >= 0 {
		r.Figures[i] = f
		return
	}
	r.Figures = append(r.Figures, f)
}

// keep takes over the figures of an earlier result.
func (r *pairResults) keep(earlier pairResults) {
	for _, f := range earlier.Figures {
		if f.Kept == "" {
			f.Kept = fmt.Sprintf("`%s` of %s", earlier.Command, earlier.Date.Format(time.DateOnly))
		}
		r.Figures = append(r.Figures, f)
	}
}

// kept says which figures this run did not make.
func (r *pairResults) kept() string {
	var b strings.Builder
	for _, f := range r.Figures {
		if f.Kept != "" {
			fmt.Fprintf(&b, " %s at %d Services: %s.", f.Mode, f.Services, f.Kept)
		}
	}
	return b.String()
}

func (f *figures) fill(with, without []sample, run time.Duration) {
	n := float64(len(with))
	f.Pairs = len(with)
	var differences []float64
	for i := range with {
		differences = append(differences, 100*(with[i].sync/without[i].sync-1))
		f.Departures += float64(with[i].departures) / run.Seconds() / n
		f.Syncs += with[i].syncs
		f.SyncWith += 1000 * with[i].sync / n
		f.SyncWithout += 1000 * without[i].sync / n
		f.ProxyCPU += 100 * with[i].proxyCPU / run.Seconds() / n
		f.AgentCPU += 100 * with[i].agentCPU / run.Seconds() / n
		f.ProxyRSS = max(f.ProxyRSS, with[i].proxy.Peak)
		f.AgentRSS = max(f.AgentRSS, with[i].agent.Peak)
		f.AgentFile = max(f.AgentFile, with[i].agent.File)
		f.Landed += with[i].landed
		f.Tight += with[i].tight
	}
	d := mean(differences)
	f.Difference, f.DifferenceLow, f.DifferenceHigh = d.Value, d.Low, d.High
}

// rows are the table, for people and for RESULTS.md.
func (r *pairResults) rows() [][]string {
	rows := [][]string{{"kube-proxy", "Services", "agent", "pairs", "departures/s", "kube-proxy's partial sync without / with", "difference (95 % interval)",
		"CPU kube-proxy / agent, of one core", "peak RSS kube-proxy / agent (program pages)", "landings with slop <= 5 ms"}}
	for _, f := range r.Figures {
		flags := f.Agent
		if flags == "" {
			flags = "as it comes"
		}
		row := []string{f.Mode, fmt.Sprint(f.Services), flags}
		if f.Unmeasured != "" {
			rows = append(rows, append(row, "-", "-", "not measured: "+firstLine(f.Unmeasured), "-", "-", "-", "-"))
			continue
		}
		rows = append(rows, append(row, fmt.Sprintf("%d x %s", f.Pairs, f.Run), fmt.Sprintf("%.1f", f.Departures),
			fmt.Sprintf("%.2f / %.2f ms", f.SyncWithout, f.SyncWith),
			fmt.Sprintf("%+.1f %% (%+.1f to %+.1f)", f.Difference, f.DifferenceLow, f.DifferenceHigh),
			fmt.Sprintf("%.1f / %.1f %%", f.ProxyCPU, f.AgentCPU), fmt.Sprintf("%.0f / %.0f (%.0f) MiB", f.ProxyRSS, f.AgentRSS, f.AgentFile),
			fmt.Sprintf("%d of %d", f.Tight, f.Landed)))
	}
	return rows
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

func (r *pairResults) print() error { return printTable(r.rows()) }

func renderPairs(dir string) error {
	var r pairResults
	if _, ok, err := benchresult.Newest(dir, "overhead", &r); err != nil || !ok || r.Rate == 0 {
		return err // of a version that changed one slice again and again: its section stays as it is
	}
	return renderPart(dir, "overhead", &r, &r.Run, func() string {
		return fmt.Sprintf("10 endpoints a Service, %.0f departures a second over %d Services.%s", r.Rate, r.Changing, r.kept())
	}, r.rows)
}

func printTable(rows [][]string) error {
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	return t.Flush()
}
