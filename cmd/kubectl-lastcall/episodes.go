package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/lastcall-k8s/lastcall/hub/report"
)

// episodeTable is a table of episodes, newest first. LOST is what a witness of connections proved, where there is one.
func (v view) episodeTable(es []report.Episode, noHeaders bool) table {
	t := table{noHeaders: noHeaders, columns: []column{{name: "NAMESPACE", shrink: true}, {name: "WORKLOAD", shrink: true}, {name: "WHAT"}, {name: "BEGAN"},
		{name: "LEFT", right: true}, {name: "LATE", right: true}, {name: "UNKNOWN", right: true}, {name: "LOST", right: true}, {name: "LAST CALL"}}}
	for _, e := range es {
		t.add(v.episodeRow(e)...)
	}
	return t
}

func (v view) episodeRow(e report.Episode) []cell {
	what := string(e.Tag)
	if e.Open {
		what += " (may go on)"
	}
	late := cell{text: report.Count(e.Late)}
	if e.Late > 0 {
		late.style = red
	}
	lost := ""
	if e.Refused != nil {
		lost = report.Count(*e.Refused)
	}
	call := ""
	switch {
	case e.Pending > 0:
		call = "not yet"
	case e.LastCall != nil:
		call = e.LastCall.String()
	}
	row := append(text(e.Namespace, subject(e.Workload), what, v.clock(e.Begun, toSeconds), report.Count(e.Left)), late)
	return append(row, text(report.Count(e.Unknown), lost, call)...)
}

func ofKind(workload, kind string) bool {
	k, _, _ := strings.Cut(workload, "/")
	return k == kind
}

// rule separates one episode from the next.
func rule(v view) string {
	r := "-"
	if v.unicode {
		r = "─"
	}
	return v.paint(strings.Repeat(r, min(v.width, fallbackWidth)), dim)
}

// history draws what the hub knows of a node.
func (v view) history(w io.Writer, h report.NodeHistory) {
	last, by := 0, map[string]int{}
	for _, p := range h.Places {
		last += p.Last
		for stage, n := range p.LastBy {
			by[stage] += n
		}
	}
	head := "node/" + visible(h.Node)
	line := fmt.Sprintf(": was last in %s of %s", report.Count(last), report.Plural(h.Of, "departure"))
	if h.Of > 0 && last > 0 {
		line += fmt.Sprintf(" (%.0f %%)%s", 100*float64(last)/float64(h.Of), mostly(by))
	}
	fmt.Fprintln(w, v.paint(head, bold)+fill(visible(line), v.width, len(head), 2))
	if len(h.Places) > 0 {
		fmt.Fprintln(w)
		v.placeTable(w, h.Places, false)
		for _, p := range h.Places {
			if p.Why != "" {
				fmt.Fprintln(w, paragraph(visible(fmt.Sprintf("%s: %s", p.State, p.Why)), v.width))
			}
		}
	}
	if len(h.Departures) == 0 {
		return
	}
	fmt.Fprintf(w, "\nThe newest departures in which it was last:\n")
	t := table{columns: historyColumns}
	const most = 10
	for i, d := range h.Departures {
		if i == most && !v.wide {
			break
		}
		t.add(v.historyRow(d)...)
	}
	t.write(w, v.screen)
	if n := len(h.Departures) - len(t.rows); n > 0 {
		fmt.Fprintf(w, "and %s (-o wide shows them)\n", report.Plural(n, "more departure"))
	}
}

var historyColumns = []column{{name: "T0"}, {name: "NAMESPACE", shrink: true}, {name: "POD", shrink: true}, {name: "LAST CALL"},
	{name: "API", right: true}, {name: "WATCH", right: true}, {name: "PROGRAM", right: true}, {name: "LATE"}}

func (v view) historyRow(d report.Departure) []cell {
	late := departureRow(d)[4]
	stages := text("", "", "")
	if d.Straggler != nil && d.Straggler.Stages != nil {
		g := d.Straggler.Stages
		stages = text(report.Seconds(g.API), report.Seconds(g.Watch), report.Seconds(g.Program))
	}
	row := text(v.clock(d.T0, toSeconds), d.Namespace, d.Pod, d.LastCallWords())
	return append(append(row, stages...), late)
}

// mostly names the stage in which most of the time went.
func mostly(by map[string]int) string {
	best, words := 0, ""
	for _, s := range []struct{ stage, words string }{{"api", "the API server and its controllers, before any node knew"},
		{"watch", "its watch of the API"}, {"program", "its kube-proxy, between knowing and letting go"}} {
		if by[s.stage] > best {
			best, words = by[s.stage], s.words
		}
	}
	if best == 0 {
		return ""
	}
	return "; most of the time went to " + words + fmt.Sprintf(" (%d times)", best)
}
