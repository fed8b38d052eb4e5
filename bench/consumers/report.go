//go:build linux

package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/lastcall-k8s/lastcall/internal/benchresult"
	"github.com/lastcall-k8s/lastcall/internal/restarts"
)

// figures is what one kind of restart gave at one kind of place. Times are milliseconds.
type figures struct {
	Place    string `json:"place"`
	Restarts string `json:"restarts"` // onePod or allPods
	Command  string `json:"command"`
	Replicas int    `json:"replicas"`
	// Compared is how many removals had a landing and a truth.
	Compared int `json:"compared"`
	// Lag is the bound that the kind states; it is in every landing.
	Lag        float64                  `json:"lag_bound_ms"`
	Error      benchresult.Distribution `json:"error_ms"` // hi - last request started
	Slop       benchresult.Distribution `json:"slop_ms"`  // hi - lo, lo not before T0
	Resolution benchresult.Distribution `json:"truth_resolution_ms"`
	Inside     int                      `json:"truth_inside"` // in (lo - resolution, hi]: error within slop and resolution
	// Bounded: the lower end is a reading that showed the pod, later than its deletion.
	Bounded int `json:"with_a_lower_end_of_their_own"`
	// After: requests that reached a pod though they were started after its landing.
	After int `json:"requests_after_landing"`
	// Kept: how long after the landing pods were reached over connections that were open before, of those that were.
	Kept benchresult.Distribution `json:"reached_over_kept_connections_ms"`
}

type results struct {
	benchresult.Run
	Pods    int       `json:"pods"`
	Rate    int       `json:"requests_a_second_and_replica"`
	Figures []figures `json:"figures"`
	Parts   []part    `json:"parts"`

	earlier struct {
		Figures []figures `json:"figures"`
		Parts   []part    `json:"parts"`
	}
}

// part is one kind of restart.
type part struct {
	Restarts string `json:"restarts"`
	Command  string `json:"command"`
	// Without counts removals that could not be compared, by place and why.
	Without map[string]map[string]int `json:"not_compared,omitempty"`
	// Clients counts since their start.
	Clients []restarts.Client `json:"clients"`
}

// How pods are restarted.
const (
	onePod  = "one pod"
	allPods = "all pods"
)

// add takes in what one kind of restart gave, and keeps what an earlier run had of the other.
func (r *results) add(how string, got restarts.Result, clients []restarts.Client) {
	other := func(restarts string) bool { return restarts != how }
	kept, parts := r.Figures, r.Parts
	if kept == nil {
		kept, parts = r.earlier.Figures, r.earlier.Parts
	}
	r.Figures, r.Parts = figuresOf(got.Samples, how, r.Command), []part{{how, r.Command, got.Without, clients}}
	for _, f := range kept {
		if other(f.Restarts) {
			r.Figures = append(r.Figures, f)
		}
	}
	for _, p := range parts {
		if other(p.Restarts) {
			r.Parts = append(r.Parts, p)
		}
	}
	slices.SortFunc(r.Figures, func(a, b figures) int {
		return cmp.Or(strings.Compare(a.Place, b.Place), -strings.Compare(a.Restarts, b.Restarts))
	})
}

func newResults(o options) *results {
	r := &results{Run: benchresult.Describe("go run ./bench/consumers " + strings.Join(os.Args[1:], " ")), Pods: o.pods, Rate: o.rate}
	if len(os.Args) == 1 {
		r.Command = "make consumers"
	}
	return r
}

func figuresOf(samples []restarts.Sample, how, command string) (all []figures) {
	by := map[string][]restarts.Sample{}
	for _, s := range samples {
		by[s.Place] = append(by[s.Place], s)
	}
	for place, of := range by {
		f := figures{Place: place, Restarts: how, Command: command, Compared: len(of)}
		replicas := map[string]bool{}
		var errs, slops, resolutions, kept []time.Duration
		for _, s := range of {
			replicas[s.Replica] = true
			f.Lag = float64(s.Lag.Milliseconds())
			errs, slops, resolutions = append(errs, s.Error()), append(slops, s.Slop()), append(resolutions, s.Resolution())
			f.After += s.After
			if s.Inside() {
				f.Inside++
			}
			if s.Bounded {
				f.Bounded++
			}
			if s.Kept > 0 {
				kept = append(kept, s.Kept)
			}
		}
		f.Replicas, f.Kept = len(replicas), benchresult.DistributionOf(kept)
		f.Error, f.Slop, f.Resolution = benchresult.DistributionOf(errs), benchresult.DistributionOf(slops), benchresult.DistributionOf(resolutions)
		all = append(all, f)
	}
	return all
}

func (r *results) write(dir string) error { return benchresult.Write(dir, "consumers", r.Date, r) }

func (r *results) print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "PLACE\tRESTARTED\tCOMPARED\tLAG BOUND ms\tERROR p50/p99/max ms\tSLOP p50/p99/max ms\tRESOLUTION p50/p99 ms\tINSIDE\tAFTER")
	for _, f := range r.Figures {
		fmt.Fprintf(t, "%s\t%s\t%d\t%.0f\t%.0f / %.0f / %.0f\t%.0f / %.0f / %.0f\t%.0f / %.0f\t%d\t%d\n", f.Place, f.Restarts, f.Compared, f.Lag,
			f.Error.P50, f.Error.P99, f.Error.Max, f.Slop.P50, f.Slop.P99, f.Slop.Max, f.Resolution.P50, f.Resolution.P99, f.Inside, f.After)
	}
	for _, p := range r.Parts {
		fmt.Fprintf(t, "%s\tnot compared: %v\n", p.Restarts, p.Without)
	}
	return t.Flush()
}

// render writes the newest result into RESULTS.md beside the results.
func render(dir string) error {
	var r results
	file, ok, err := benchresult.Newest(dir, "consumers", &r)
	if err != nil || !ok {
		return err
	}
	var b strings.Builder
	var commands []string
	for _, p := range r.Parts {
		if command := "`" + p.Command + "`"; !slices.Contains(commands, command) {
			commands = append(commands, command)
		}
	}
	fmt.Fprintf(&b, "\n%s at commit %s, %s: Contour %s with Envoy %s, CoreDNS %s, HAProxy %s, Kubernetes %s, kernel %s, %d x %s; %d pods, %d requests a second through each replica. Data: [%s](results/%s)\n\n",
		strings.Join(commands, " and "), r.Commit, r.Date.Format(time.DateOnly), r.Versions["contour"], r.Versions["envoy"], r.Versions["coredns"], r.Versions["haproxy"],
		r.Versions["kubernetes"], r.Kernel, r.CPUs, r.CPU, r.Pods, r.Rate, filepath.Base(file), filepath.Base(file))
	b.WriteString("| place | restarted | removals compared | lag bound | error p50 / p99 / max | slop p50 / p99 / max | truth's resolution p50 / p99 | truth inside | requests after landing |\n")
	b.WriteString("|---|---|---|---|---|---|---|---|---|\n")
	for _, f := range r.Figures {
		fmt.Fprintf(&b, "| %s (%d) | %s | %d | %.0f ms | %.0f / %.0f / %.0f ms | %.0f / %.0f / %.0f ms | %.0f / %.0f ms | %d of %d | %s |\n", f.Place, f.Replicas, f.Restarts, f.Compared, f.Lag,
			f.Error.P50, f.Error.P99, f.Error.Max, f.Slop.P50, f.Slop.P99, f.Slop.Max, f.Resolution.P50, f.Resolution.P99, f.Inside, f.Compared, bound(f.After, f.Compared))
	}
	fmt.Fprintf(&b, "\nNot compared: %s.\n\n", r.notCompared())
	for _, f := range r.Figures {
		if f.Kept.N > 0 {
			fmt.Fprintf(&b, "Over connections that %s kept open, requests went on to reach %d of these %d pods (%s) after they had landed, for %.1f s at the median and %.1f s at most.\n\n",
				f.Place, f.Kept.N, f.Compared, f.Restarts, f.Kept.P50/1000, f.Kept.Max/1000)
		}
	}
	return benchresult.ReplaceSection(filepath.Join(filepath.Dir(dir), "RESULTS.md"), "consumers", b.String())
}

func (r *results) notCompared() string {
	var all []string
	for _, p := range r.Parts {
		for _, place := range slices.Sorted(maps.Keys(p.Without)) {
			for _, why := range slices.Sorted(maps.Keys(p.Without[place])) {
				all = append(all, fmt.Sprintf("%d at %s, %s (%s)", p.Without[place][why], place, p.Restarts, why))
			}
		}
	}
	if all == nil {
		return "none"
	}
	return strings.Join(all, "; ")
}

// bound says what k requests after n landings show: with none, the rule of three.
func bound(k, n int) string {
	if k == 0 && n > 0 {
		return fmt.Sprintf("0 (so after < %.1f %% of landings, 95 %% confidence)", 300/float64(n))
	}
	return fmt.Sprint(k)
}
