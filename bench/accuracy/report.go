//go:build linux

package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/lastcall-k8s/lastcall/internal/benchresult"
)

// figures is what one kind of removal gave on one node. Times are milliseconds.
type figures struct {
	Mode     string `json:"mode"`
	Version  string `json:"version"` // of kube-proxy
	Services int    `json:"services"`
	Removals string `json:"removals"` // how they were made
	Done     int    `json:"done"`
	// Compared is how many of them had a truth: enough connections before and after.
	Compared   int                      `json:"compared"`
	Error      benchresult.Distribution `json:"error_ms"` // hi - last connection started
	Slop       benchresult.Distribution `json:"slop_ms"`  // hi - lo
	Resolution benchresult.Distribution `json:"truth_resolution_ms"`
	Inside     int                      `json:"truth_inside"` // in (lo - resolution, hi]
	// Connections started more than 2 ms after landed that reached the pod, as new entries. Every
	// connection has a source of its own, so none can be a reused entry.
	After int `json:"connections_after_landing"`
	// Polled: when a listing of the rules each second showed the endpoint gone, after the last connection.
	Polled *benchresult.Distribution `json:"polled_each_second_ms,omitempty"`
	// KubeProxySamples is what kubeproxy_network_programming_duration_seconds gained by the removals.
	KubeProxySamples uint64 `json:"kube_proxy_network_programming_samples"`
}

type results struct {
	benchresult.Run
	MinSyncPeriod string    `json:"kube_proxy_min_sync_period"`
	Figures       []figures `json:"figures"`
}

func newResults(o options) *results {
	r := &results{Run: benchresult.Describe("go run ./bench/accuracy " + strings.Join(os.Args[1:], " ")), MinSyncPeriod: o.minSync.String()}
	if len(os.Args) == 1 {
		r.Command = "make accuracy"
	}
	r.Versions["kubernetes"] = o.version
	return r
}

func (r *results) add(f figures) { r.Figures = append(r.Figures, f) }

func figuresOf(b *bench, how string, samples []sample, done int, kubeProxy uint64) figures {
	f := figures{Mode: string(b.node.Mode), Version: b.node.Version, Services: b.services, Removals: how, Done: done, Compared: len(samples), KubeProxySamples: kubeProxy}
	var errs, slops, resolutions, polled []time.Duration
	for _, s := range samples {
		errs = append(errs, s.errorOf())
		slop, _ := s.Landed.Slop()
		slops = append(slops, slop)
		resolutions = append(resolutions, s.resolution())
		f.After += s.After
		if s.inside() {
			f.Inside++
		}
		if !s.Polled.IsZero() {
			polled = append(polled, s.Polled.Sub(s.Truth.Last))
		}
	}
	f.Error, f.Slop, f.Resolution = benchresult.DistributionOf(errs), benchresult.DistributionOf(slops), benchresult.DistributionOf(resolutions)
	if len(polled) > 0 {
		d := benchresult.DistributionOf(polled)
		f.Polled = &d
	}
	return f
}

func (r *results) write(dir string) error { return benchresult.Write(dir, "accuracy", r.Date, r) }

func (r *results) print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "MODE\tVERSION\tSERVICES\tREMOVALS\tCOMPARED\tERROR p50/p99/max ms\tSLOP p50/p99/max ms\tINSIDE\tAFTER\tPOLLED p50/max ms\tKUBE-PROXY SAMPLES")
	for _, f := range r.Figures {
		polled := "-"
		if f.Polled != nil {
			polled = fmt.Sprintf("%.0f / %.0f", f.Polled.P50, f.Polled.Max)
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%d %s\t%d\t%.2f / %.2f / %.2f\t%.2f / %.2f / %.2f\t%d\t%d\t%s\t%d\n", f.Mode, f.Version, f.Services, f.Done, f.Removals, f.Compared,
			f.Error.P50, f.Error.P99, f.Error.Max, f.Slop.P50, f.Slop.P99, f.Slop.Max, f.Inside, f.After, polled, f.KubeProxySamples)
	}
	return t.Flush()
}

// render writes the newest result into RESULTS.md beside the results.
func render(dir string) error {
	var r results
	file, ok, err := benchresult.Newest(dir, "accuracy", &r)
	if err != nil || !ok {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\n`%s` at commit %s, %s: Kubernetes %s, kernel %s, %d x %s, %s; kube-proxy's minSyncPeriod %s. Data: [%s](results/%s)\n\n",
		r.Command, r.Commit, r.Date.Format(time.DateOnly), r.Versions["kubernetes"], r.Kernel, r.CPUs, r.CPU, r.Versions["nft"], r.MinSyncPeriod,
		filepath.Base(file), filepath.Base(file))
	b.WriteString("| kube-proxy | Services | removals | with a truth | error p50 / p99 / max | slop p50 / p99 / max | truth's resolution p50 / p99 | truth inside | connections after landed + 2 ms |\n")
	b.WriteString("|---|---|---|---|---|---|---|---|---|\n")
	for _, f := range r.Figures {
		fmt.Fprintf(&b, "| %s %s | %d | %d %s | %d | %.2f / %.2f / %.2f ms | %.2f / %.2f / %.2f ms | %.2f / %.2f ms | %s | %s |\n", f.Mode, f.Version, f.Services, f.Done, f.Removals, f.Compared,
			f.Error.P50, f.Error.P99, f.Error.Max, f.Slop.P50, f.Slop.P99, f.Slop.Max, f.Resolution.P50, f.Resolution.P99, share(f.Inside, f.Compared), bound(f.After, f.Compared))
	}
	b.WriteString("\nThe same removals with what a user has today:\n\n| kube-proxy | Services | removals | listing the rules each second: late by p50 / max | samples in kubeproxy_network_programming_duration_seconds |\n|---|---|---|---|---|\n")
	for _, f := range r.Figures {
		polled := "not polled: the same address comes back at once"
		if f.Removals == "real pods" {
			polled = "unknown: the listing failed in this run"
		}
		if f.Polled != nil {
			polled = fmt.Sprintf("%.0f / %.0f ms (n = %d)", f.Polled.P50, f.Polled.Max, f.Polled.N)
		}
		fmt.Fprintf(&b, "| %s %s | %d | %d %s | %s | %d |\n", f.Mode, f.Version, f.Services, f.Done, f.Removals, polled, f.KubeProxySamples)
	}
	b.WriteString("\n")
	return benchresult.ReplaceSection(filepath.Join(filepath.Dir(dir), "RESULTS.md"), "accuracy", b.String())
}

func share(k, n int) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprintf("%d of %d (%.1f %%)", k, n, 100*float64(k)/float64(n))
}

// bound says what k removals with a late connection out of n show: with none, the rule of three.
func bound(k, n int) string {
	if k == 0 && n > 0 {
		return fmt.Sprintf("0 (so in < %.2f %% of removals, 95 %% confidence)", 300/float64(n))
	}
	return fmt.Sprint(k)
}
