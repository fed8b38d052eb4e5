package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/hub/sizing"
)

// mostPlaces are listed: of more, the latest.
const mostPlaces = 12

// measurement draws what the trials say, and what they do not.
func (v view) measurement(w io.Writer, m measurement) {
	fmt.Fprintln(w, v.paint("measure: ", bold)+fill(m.headline(), v.width, len("measure: "), 2))
	fmt.Fprintln(w)
	v.measuredTrials(m).write(w, v.screen)
	fmt.Fprintln(w)
	if len(m.Places) > 0 {
		v.measuredStages(m).write(w, v.screen)
		fmt.Fprintln(w)
		v.measuredPlaces(m).write(w, v.screen)
		if n := len(m.Places) - mostPlaces; n > 0 {
			fmt.Fprintf(w, "and %s\n", report.Plural(n, "more place"))
		}
		fmt.Fprintln(w)
	}
	for _, l := range m.lines() {
		fmt.Fprintln(w, v.paint(fmt.Sprintf("%-10s", l.Label), dim)+fill(visible(l.Text), v.width, 10, 10))
	}
}

// headline is the number, or that there is none.
func (m measurement) headline() string {
	s := report.Plural(len(m.Trials), "trial") + " in " + report.Seconds(m.Seconds) + ": "
	if m.Recommendation.Seconds == nil {
		return s + "no number"
	}
	return s + "preStop must sleep " + m.Recommendation.Number()
}

func (k measuredKind) words() string {
	if k.Kind == single {
		return "single pods"
	}
	return fmt.Sprintf("bursts of %d", k.Pods)
}

func (v view) measuredTrials(m measurement) table {
	t := table{columns: []column{{name: "TRIALS"}, {name: "N", right: true}, {name: "SHORTEST", right: true}, {name: "MEDIAN", right: true}, {name: "LONGEST", right: true},
		{name: "THE NEXT STAYS WITHIN"}}}
	for _, k := range m.Kinds {
		longest := k.show(k.Longest)
		if k.Open > 0 {
			longest = "unknown"
		}
		t.add(text(k.words(), fmt.Sprint(k.N), k.show(k.Shortest), k.show(k.Median), longest, k.within(m.Recommendation))...)
	}
	return t
}

func (k measuredKind) show(s float64) string {
	if k.spread == (spread{}) {
		return ""
	}
	return report.Seconds(s)
}

// within is the bound, or why there is none.
func (k measuredKind) within(r sizing.Recommendation) string {
	switch {
	case k.Within != nil && k.AtLeast && k.Unknown > 0:
		return fmt.Sprintf(">= %s: %d unknown", report.Seconds(*k.Within), k.Unknown)
	case k.Within != nil && k.AtLeast:
		return ">= " + report.Seconds(*k.Within)
	case k.Within != nil:
		return fmt.Sprintf("%s, with %g %%", report.Seconds(*k.Within), 100*r.Quantile)
	case k.N+k.Empty == 0:
		return "unknown: no trial"
	case k.N == 0:
		return "unknown: none counts"
	}
	return fmt.Sprintf("unknown: %d are needed", r.Needed)
}

var stageWords = map[string]string{
	"api":     "the first node had learnt of it",
	"watch":   "the last place had learnt of it",
	"program": "the last place had let go",
}

func (v view) measuredStages(m measurement) table {
	t := table{columns: []column{{name: "STAGE"}, {name: "TRIALS"}, {name: "N", right: true}, {name: "MEDIAN", right: true}, {name: "LONGEST", right: true}, {name: "UNTIL"}}}
	was := ""
	for _, s := range m.Stages {
		stage, words := s.Stage, stageWords[s.Stage]
		if stage == was {
			stage, words = " ", " " // once is enough
		}
		was = s.Stage
		t.add(text(stage, string(s.Kind), fmt.Sprint(s.N), report.Seconds(s.Median), report.Seconds(s.Longest), words)...)
	}
	return t
}

func (v view) measuredPlaces(m measurement) table {
	t := table{columns: []column{{name: "PLACE", shrink: true}, {name: "KIND"}, {name: "BACKEND"}, {name: "N", right: true}, {name: "BURST", right: true}, {name: "SINGLE", right: true},
		{name: "LONGEST", right: true}, {name: "LAST", right: true}}}
	for _, p := range m.Places[:min(len(m.Places), mostPlaces)] {
		name, longest := p.Node, ""
		if p.Replica != "" {
			name = p.Replica + " on " + p.Node
		}
		if p.N > 0 {
			longest = report.Seconds(p.Longest)
		}
		if p.Pending > 0 {
			longest = "pending"
		}
		t.add(text(name, p.Kind, p.Backend, fmt.Sprint(p.N), p.median(burst), p.median(single), longest, fmt.Sprint(p.Last))...)
	}
	return t
}

// median over the departures in trials of a kind, "" if it is not known.
func (p measuredPlace) median(k trialKind) string {
	s, ok := p.Medians[k]
	if !ok || p.Some {
		return ""
	}
	return report.Seconds(s)
}

// lines are what it rests on, what it says, and what it does not.
func (m measurement) lines() (ls []sizing.Line) {
	add := func(label, text string) {
		if text != "" {
			ls = append(ls, sizing.Line{Label: label, Text: text})
		}
	}
	for _, l := range (sizing.Advice{Recommendation: m.Recommendation}).Argument("") {
		if slices.Contains([]string{"BASIS", "DRIVER", "STUCK", "MISSING", "MEASURED"}, l.Label) {
			ls = append(ls, l)
		}
	}
	add("COVERAGE", m.coverage())
	add("LEFT OUT", m.leftOut())
	add("SAYS", m.says())
	add("NOT SAID", m.saysNot())
	add("NEXT", m.next())
	return ls
}

// coverage is the least of all departures.
func (m measurement) coverage() string {
	var least report.Departure
	n, found := 0, false
	for _, t := range m.Trials {
		for _, d := range t.Departures {
			n++
			if !found || d.Expected-d.Answered > least.Expected-least.Answered {
				least, found = d, true
			}
		}
	}
	if !found {
		return "the hub told of none of the pods that left"
	}
	if least.Answered >= least.Expected {
		return fmt.Sprintf("%s answered for all of %s that left", report.Plural(least.Expected, "node"), report.Plural(n, "pod"))
	}
	s := "at least " + least.Coverage() + " answered"
	var names []string
	for i, miss := range least.Missing {
		if i == 5 {
			names = append(names, fmt.Sprintf("and %d more", len(least.Missing)-i+least.MissingMore))
			break
		}
		names = append(names, report.Shorten(miss.Place, 40)+": "+miss.Why)
	}
	if len(names) > 0 {
		s += " (" + strings.Join(names, "; ") + ")"
	}
	return s
}

// leftOut says which trials are no samples, or not whole ones.
func (m measurement) leftOut() string {
	var parts []string
	empty, open, unheard := 0, 0, 0
	for _, k := range m.Kinds {
		empty += k.Empty
	}
	for _, t := range m.Trials {
		unheard += t.Unheard
		if !t.Ended {
			open++
		}
	}
	if empty > 0 {
		s := report.Plural(empty, "trial") + " of which no pod counts"
		if n := m.Recommendation.Departures.Out[sizing.OutCoverage]; n > 0 {
			s += fmt.Sprintf(" (of %s fewer than 99 %% of the nodes answered)", report.Plural(n, "pod"))
		}
		parts = append(parts, s)
	}
	if open > 0 {
		parts = append(parts, report.Plural(open, "trial")+" had not ended when the time was over: how long that takes is not known")
	}
	if unheard > 0 {
		parts = append(parts, "of "+report.Plural(unheard, "pod")+" the hub told nothing")
	}
	return strings.Join(parts, "; ")
}

func (m measurement) says() string {
	g := m.Recommendation.Regime
	if g.Nodes == 0 {
		return ""
	}
	return fmt.Sprintf("for how long %s (%s) sent new connections to pods that had left, in %s of today: one pod by itself, or %d at once just after others began to serve, as a rollout does",
		report.Plural(g.Nodes, "node"), either(g.Dataplane, "dataplane unknown"), report.Seconds(m.Seconds), m.BurstSize)
}

func (m measurement) saysNot() string {
	s := fmt.Sprintf("what it is like in another regime (more load on nodes and API server, more Services, more nodes, another version or mode of kube-proxy, bursts of more than %d), "+
		"on a day when a node is slow, and how your own server stops", m.BurstSize)
	if d := m.slowSync(); d > 0 {
		s += fmt.Sprintf(". kube-proxy syncs at most every %s (minSyncPeriod), and each trial begins %s after it has: a rollout may meet one that has just done so, and take %s longer",
			report.Seconds(d.Seconds()), report.Seconds(restTime.Seconds()), report.Seconds(restTime.Seconds()))
	}
	return s
}

func (m measurement) next() string {
	r := m.Recommendation
	const then = " until there were rollouts: `kubectl lastcall explain` after the first, `kubectl lastcall recommend` from then on"
	switch {
	case r.Departures.Entered == 0:
		return "Look at what is missing, `kubectl lastcall check`, and measure again"
	case r.Seconds == nil:
		return "Give it more time, --for 3m"
	case r.AtLeast:
		return "Sleep that long at least" + then
	}
	return "Sleep that long" + then
}
