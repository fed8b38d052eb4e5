//go:build linux

package main

import (
	"fmt"
	"io"
	"math"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/lastcall-k8s/lastcall/internal/benchresult"
)

// figures is one comparison. Means over the runs; the difference is that of the pairs.
type figures struct {
	Mode     string `json:"mode"`
	Services int    `json:"services"`
	Agent    string `json:"agent_flags"`
	Pairs    int    `json:"pairs"`
	Run      string `json:"run"`

	SyncWithout float64 `json:"sync_without_ms"`
	SyncWith    float64 `json:"sync_with_ms"`
	// Difference of kube-proxy's mean sync with the agent, in percent, and its 95 % interval over the pairs.
	Difference     float64 `json:"difference_percent"`
	DifferenceLow  float64 `json:"difference_low_percent"`
	DifferenceHigh float64 `json:"difference_high_percent"`

	ProxyCPU float64 `json:"kube_proxy_cpu_percent"` // of one core, with the programs it ran
	AgentCPU float64 `json:"agent_cpu_percent"`
	ProxyRSS float64 `json:"kube_proxy_peak_rss_mib"`
	AgentRSS float64 `json:"agent_peak_rss_mib"`

	// Landings in the runs, in which no clients knock, and those of them with a slop of at most 5 ms.
	Landed uint64 `json:"landed"`
	Tight  uint64 `json:"landed_slop_within_5ms"`
}

type results struct {
	benchresult.Run
	Pause   string    `json:"pause_between_changes"`
	Figures []figures `json:"figures"`
}

// student95 is the 97.5 % quantile of Student's t by degrees of freedom, from 1 on.
var student95 = []float64{12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093}

func (f *figures) fill(with, without []sample) {
	n := float64(len(with))
	run, _ := time.ParseDuration(f.Run)
	var ratios []float64
	for i := range with {
		ratios = append(ratios, 100*(with[i].sync/without[i].sync-1))
		f.SyncWith += 1000 * with[i].sync / n
		f.SyncWithout += 1000 * without[i].sync / n
		f.ProxyCPU += 100 * with[i].proxyCPU / run.Seconds() / n
		f.AgentCPU += 100 * with[i].agentCPU / run.Seconds() / n
		f.ProxyRSS = max(f.ProxyRSS, float64(with[i].prox)/1024)
		f.AgentRSS = max(f.AgentRSS, float64(with[i].agentRSS)/1024)
		f.Landed += with[i].landed
		f.Tight += with[i].tight
	}
	mean, sd := 0.0, 0.0
	for _, r := range ratios {
		mean += r / n
	}
	for _, r := range ratios {
		sd += (r - mean) * (r - mean) / (n - 1)
	}
	half := math.NaN()
	if len(ratios) >= 2 && len(ratios)-2 < len(student95) {
		half = student95[len(ratios)-2] * math.Sqrt(sd/n)
	}
	f.Difference, f.DifferenceLow, f.DifferenceHigh = mean, mean-half, mean+half
}

func (r *results) print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "MODE\tSERVICES\tAGENT\tSYNC without/with\tDIFFERENCE (95 %)\tCPU kube-proxy/agent\tRSS kube-proxy/agent\tSLOP <= 5 ms")
	for _, f := range r.Figures {
		fmt.Fprintf(t, "%s\t%d\t%s\t%.2f / %.2f ms\t%+.1f %% (%+.1f to %+.1f)\t%.1f / %.1f %%\t%.0f / %.0f MiB\t%d of %d\n", f.Mode, f.Services, flags(f.Agent),
			f.SyncWithout, f.SyncWith, f.Difference, f.DifferenceLow, f.DifferenceHigh, f.ProxyCPU, f.AgentCPU, f.ProxyRSS, f.AgentRSS, f.Tight, f.Landed)
	}
	return t.Flush()
}

func flags(s string) string {
	if s == "" {
		return "as it comes"
	}
	return s
}

func render(dir string) error {
	var r results
	file, ok, err := benchresult.Newest(dir, "overhead", &r)
	if err != nil || !ok {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\n`%s` at commit %s, %s: Kubernetes %s, kernel %s, %d x %s; 10 endpoints a Service, one slice changed every %s. Data: [%s](results/%s)\n\n",
		strings.TrimSpace(r.Command), r.Commit, r.Date.Format(time.DateOnly), r.Versions["kubernetes"], r.Kernel, r.CPUs, r.CPU, r.Pause, filepath.Base(file), filepath.Base(file))
	b.WriteString("| kube-proxy | Services | agent | pairs | kube-proxy's partial sync without / with | difference (95 % interval) | CPU kube-proxy / agent, of one core | peak RSS kube-proxy / agent | landings with slop <= 5 ms |\n|---|---|---|---|---|---|---|---|---|\n")
	for _, f := range r.Figures {
		fmt.Fprintf(&b, "| %s | %d | %s | %d x %s | %.2f / %.2f ms | %+.1f %% (%+.1f to %+.1f) | %.1f / %.1f %% | %.0f / %.0f MiB | %d of %d |\n", f.Mode, f.Services, flags(f.Agent), f.Pairs, f.Run,
			f.SyncWithout, f.SyncWith, f.Difference, f.DifferenceLow, f.DifferenceHigh, f.ProxyCPU, f.AgentCPU, f.ProxyRSS, f.AgentRSS, f.Tight, f.Landed)
	}
	b.WriteString("\n")
	return benchresult.ReplaceSection(filepath.Join(filepath.Dir(dir), "RESULTS.md"), "overhead", b.String())
}
