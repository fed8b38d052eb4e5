//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/lastcall-k8s/lastcall/internal/benchresult"
	"github.com/lastcall-k8s/lastcall/internal/proof"
)

// result is what one part gave.
type result struct {
	benchresult.Run
	Gap      string          `json:"episode_gap"`
	Problems []string        `json:"problems"`
	Loop     *proof.Loop     `json:"loop,omitempty"`
	Delays   []proof.Delayed `json:"delays,omitempty"`
	Stops    []proof.Verdict `json:"stops,omitempty"`
}

func newResult(o options, gap time.Duration) *result {
	r := &result{Run: benchresult.Describe("make proof"), Gap: gap.String()}
	if len(os.Args) > 1 {
		r.Command = "go run ./bench/proof"
		for _, arg := range os.Args[1:] {
			if arg == "" {
				arg = `""`
			}
			r.Command += " " + arg
		}
	}
	r.Versions["kubernetes"] = o.version
	return r
}

func (r *result) write(dir, part string) error {
	if dir == "" {
		e := json.NewEncoder(os.Stdout)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	return benchresult.Write(dir, "proof-"+part, r.Date, r)
}

// renderResults writes the newest result of each part into RESULTS.md beside the results.
func renderResults(dir string) error {
	var b strings.Builder
	for _, p := range parts {
		var r result
		file, ok, err := benchresult.Newest(dir, "proof-"+p.name, &r)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		fmt.Fprintf(&b, "\n`%s` at commit %s, %s: Kubernetes %s, kernel %s, %d x %s; gap between episodes %s. Data: [%s](results/%s)\n\n", r.Command, r.Commit,
			r.Date.Format(time.DateOnly), r.Versions["kubernetes"], r.Kernel, r.CPUs, r.CPU, r.Gap, filepath.Base(file), filepath.Base(file))
		r.render(&b)
	}
	b.WriteString("\n")
	return benchresult.ReplaceSection(filepath.Join(filepath.Dir(dir), "RESULTS.md"), "proof", b.String())
}

func (r *result) render(b *strings.Builder) {
	if l := r.Loop; l != nil {
		made, failed := sum(l.Before)
		after, lost := sum(l.Patched)
		fmt.Fprintf(b, "| restarts behind %s | requests | failed | restarts with failures |\n|---|---|---|---|\n", strings.Join(l.Via, " and "))
		fmt.Fprintf(b, "| %d without preStop | %d | %d | %d |\n", len(l.Before), made, failed, proof.Failing(l.Before))
		fmt.Fprintf(b, "| %d with what is recommended, %s (by %d episodes, the largest %.2f s) | %d | %d | %d |\n", len(l.Patched), l.Advice.Number(), l.Advice.N, l.Advice.Largest,
			after, lost, proof.Failing(l.Patched))
		for _, m := range l.Advice.Missing {
			fmt.Fprintf(b, "\nNot in the number: %s (%s).\n", m.Place, m.Why)
		}
	}
	if len(r.Delays) > 0 {
		b.WriteString("| kube-proxy stopped for | recommended | largest of n | without the place named | pods that left without preStop: failures in | with what is recommended: failures in (of these, delays longer than that) | with 2 s less than the delay: failures in |\n|---|---|---|---|---|---|---|\n")
	}
	for _, d := range r.Delays {
		driver := "-"
		if d.Advice.Driver != "" {
			driver = fmt.Sprintf("%d s without %s", d.Advice.Without, d.Advice.Driver)
		}
		made, failed := sum(d.Patched)
		exceeded := 0
		for i, t := range d.Patched {
			if t.Failed > 0 && d.Exceeded(i) {
				exceeded++
			}
		}
		fmt.Fprintf(b, "| %g s | %s | %.2f s of %d | %s | %s | %s (%d): %d of %d requests | %s |\n", d.Seconds, d.Advice.Number(), d.Advice.Largest, d.Advice.N, driver,
			of(d.Learning), of(d.Patched), exceeded, failed, made, of(d.Short))
	}
	if len(r.Stops) > 0 {
		b.WriteString("| workload | verdict | in words |\n|---|---|---|\n")
	}
	for _, v := range r.Stops {
		var got []string
		for _, c := range v.Got {
			got = append(got, string(c))
		}
		fmt.Fprintf(b, "| %s | %s | %s |\n", v.Namespace, strings.Join(got, ", "), v.Says)
	}
}

func of(ts []proof.Tally) string { return fmt.Sprintf("%d of %d", proof.Failing(ts), len(ts)) }

func sum(ts []proof.Tally) (made, failed int) {
	for _, t := range ts {
		made, failed = made+t.Made, failed+t.Failed
	}
	return made, failed
}
