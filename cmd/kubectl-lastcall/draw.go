package main

import (
	"cmp"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// explanation draws an episode: what it was, one of its pods in full, the others as a table. The pod in full is
// the one named, else the worst.
func (v view) explanation(w io.Writer, e report.Explanation, pod string, pages pages) {
	v.episode(w, e.Episode)
	i := chosen(e, pod)
	if i < 0 {
		fmt.Fprintln(w, "The hub keeps none of its departures any more.")
		return
	}
	d := e.Departures[i]
	fmt.Fprintln(w)
	v.departure(w, d, len(e.Departures) > 1 && d.UID == e.Episode.Worst)
	if others := slices.Delete(slices.Clone(e.Departures), i, i+1); len(others) > 0 {
		fmt.Fprintln(w)
		v.others(w, others)
	}
	fmt.Fprintf(w, "\npage: %s\n", pages.departure(d.UID))
}

// chosen is the index of the departure to draw, -1 if there are none.
func chosen(e report.Explanation, pod string) int {
	best := -1
	for i, d := range e.Departures {
		// The same name comes back in a StatefulSet: the latest of that name.
		if pod != "" && d.Pod == pod && (best < 0 || d.T0.After(e.Departures[best].T0)) {
			best = i
		}
	}
	if best < 0 && pod == "" {
		best = slices.IndexFunc(e.Departures, func(d report.Departure) bool { return d.UID == e.Episode.Worst })
	}
	if best < 0 && len(e.Departures) > 0 {
		best = 0 // worst first
	}
	return best
}

// episode is the header.
func (v view) episode(w io.Writer, e report.Episode) {
	parts := []string{report.Plural(e.Left, "pod") + " left", report.Count(e.Late) + " late"}
	for _, p := range []struct {
		n    int
		what string
	}{{e.Unknown, "unknown"}, {e.Kept, "kept on purpose"}, {e.Pending, "not let go yet"}} {
		if p.n > 0 {
			parts = append(parts, report.Count(p.n)+" "+p.what)
		}
	}
	parts = append(parts, fmt.Sprintf("at most %s terminating at once", report.Count(e.Most)))
	head := fmt.Sprintf("%s: %sat %s", subject(e.Workload), tagWords(e.Tag), v.clock(e.Begun, toSeconds))
	if e.Open {
		parts = append(parts, "may go on")
	}
	line := paragraph(visible(head+", "+strings.Join(parts, ", ")), v.width)
	name, rest, _ := strings.Cut(line, ": ")
	fmt.Fprintln(w, v.paint(name, bold)+": "+rest)
	fmt.Fprintln(w, "connections lost: "+refused(e.Refused))
}

func subject(workload string) string {
	if workload == "" {
		return "pods without a workload"
	}
	return workload
}

func tagWords(t report.Tag) string {
	switch t {
	case report.Deleted:
		return "pods deleted "
	case report.UnknownTag, "":
		return ""
	}
	return string(t) + " "
}

func refused(n *int) string {
	switch {
	case n == nil:
		return "not witnessed"
	case *n == 0:
		return "none proved"
	}
	return report.Count(*n) + " proved"
}

// departure draws one pod: the moments, the places over time, and what that means.
func (v view) departure(w io.Writer, d report.Departure, worst bool) {
	head := visible(d.Pod)
	if d.Node != "" {
		head += " on " + visible(d.Node)
	}
	what := report.ReasonWords(d.Reason)
	if d.Reason != ledger.Completed {
		what = "was " + what
	}
	if d.Grace != nil {
		what += fmt.Sprintf(", grace %d s", *d.Grace)
	}
	label := ""
	if worst {
		label = "worst: "
	}
	fmt.Fprintln(w, label+v.paint(head, bold)+" "+fill(visible(what), v.width, len(label+head)+1, 2))
	for _, m := range moments(d, v) {
		fmt.Fprintln(w, v.moment(m))
	}
	v.places(w, d)
	fmt.Fprintln(w)
	text, st := verdict(d)
	fmt.Fprintln(w, v.paint(paragraph(visible(text), v.width), st))
	if d.Connections != nil {
		fmt.Fprintln(w, paragraph(visible("What it cost: "+d.Connections.Words()), v.width))
	}
	for _, line := range caveats(d) {
		fmt.Fprintln(w, paragraph(visible(line), v.width))
	}
}

// others is the table of the pods that are not drawn.
func (v view) others(w io.Writer, ds []report.Departure) {
	t := table{columns: departureColumns}
	const most = 15
	for i, d := range ds {
		if i == most && !v.wide {
			break
		}
		t.add(departureRow(d)...)
	}
	t.write(w, v.screen)
	if n := len(ds) - len(t.rows); n > 0 {
		fmt.Fprintf(w, "and %s (-o wide shows them)\n", report.Plural(n, "more pod"))
	}
}

var departureColumns = []column{{name: "POD", shrink: true}, {name: "NODE", shrink: true}, {name: "LAST CALL"},
	{name: "TOLD TO STOP"}, {name: "LATE"}, {name: "LAST PLACE", shrink: true}}

func departureRow(d report.Departure) []cell {
	late, st := d.Late.Words(), plain
	switch {
	case d.Kept:
		late = "kept on purpose"
	case d.Late == report.Yes:
		st = red
		if d.Exposure != nil {
			late = "by " + d.Exposure.String()
		}
	}
	return append(text(d.Pod, d.Node, d.LastCallWords(), d.ToldWords()), cell{late, st}, cell{text: lastPlace(d)})
}

// lastPlace names who was last only if that is certain.
func lastPlace(d report.Departure) string {
	switch {
	case d.Straggler != nil:
		return d.Straggler.Node
	case d.OneOf > 1:
		return fmt.Sprintf("one of %s", report.Count(d.OneOf))
	}
	return ""
}

// pages is how a person opens the hub's pages.
type pages struct{ open, base string }

func (p pages) departure(uid string) string { return p.at("/departures/" + url.PathEscape(uid)) }

func (p pages) workload(namespace, workload string) string {
	return p.at("/" + cmp.Or(report.WorkloadPath(namespace, workload), "workloads"))
}

func (p pages) at(path string) string {
	if p.open == "" {
		return path + " on the hub's port for pages"
	}
	return p.open + "\n      then " + p.base + path
}
