package pages

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/hub/sizing"
)

// Workload is what the page of one draws.
type Workload struct {
	Advice   *sizing.Advice // nil: not worked out yet
	Account  sizing.Account // of the advice
	Episodes []report.Episode
	Sized    bool // false: nothing owns its pods, and they leave once
	Dropped  int  // workloads that are not sized because there are too many, if this one is among them
}

// WorkloadEpisodes is how many episodes, the newest, the page of a workload lists.
const WorkloadEpisodes = 25

// workloadView is the page of one workload.
type workloadView struct {
	Kind, Name, Short, Namespace string
	All                          string // URL of all workloads of its namespace
	Headline                     string
	Open                         string // why the page loads itself again
	Goes                         string // URL of an episode that goes on
	Figures                      []figure
	Verdicts                     []verdictView
	Spread                       *spread
	Drift                        *drift
	Places                       []contributionRow
	Stopping                     []fact
	Grace                        *graceChart
	Argument                     []line
	Commands                     []string
}

// verdictView is one verdict as `recommend` says it.
type verdictView struct {
	Title, Class, Owner string
	Says, ToDo          []segment
}

// line is a part of the argument.
type line struct {
	Name  string
	Value []segment
}

// segment is a part of a sentence; Code is what to type, which sentences have between backquotes.
type segment struct {
	Text string
	Code bool
}

// said is a sentence in its visible form.
func said(s string) (parts []segment) {
	for i, text := range strings.Split(report.Visible(s), "`") {
		if text != "" {
			parts = append(parts, segment{together(text), i%2 == 1})
		}
	}
	return parts
}

// contributionRow is what a place adds.
type contributionRow struct{ Place, Short, Detail, URL, Last, Worst, Without string }

func (p *pages) workload(w http.ResponseWriter, r *http.Request) {
	namespace, name := r.PathValue("namespace"), r.PathValue("kind")+"/"+r.PathValue("name")
	x, err := p.source.Workload(r.Context(), namespace, name)
	if err != nil {
		p.fail(w, r, "departure of a workload with this name", err)
		return
	}
	pg := page{Title: workloadName(name, nameRoom), Section: "workloads", Root: rootOf(r.URL.EscapedPath())}
	v := p.newWorkloadView(x, namespace, name, pg.Root)
	if v.Open != "" {
		pg.Still = r.URL.Query().Has("still")
		if !pg.Still {
			pg.Refresh = refresh
		}
	}
	pg.Body = v
	p.draw(w, http.StatusOK, "workload", pg)
}

func (p *pages) newWorkloadView(x Workload, namespace, workload, root string) workloadView {
	kind, name, _ := strings.Cut(workload, "/")
	v := workloadView{Kind: report.Shorten(kind, nameRoom), Name: report.Visible(workload), Short: report.Shorten(name, nameRoom), Namespace: report.Visible(namespace),
		All: root + "workloads?" + url.Values{"namespace": {namespace}}.Encode()}
	if len(x.Episodes) > 0 && x.Episodes[0].Open {
		v.Goes = episodeURL(root, x.Episodes[0].ID)
	}
	a := x.Advice
	switch {
	case a != nil && len(a.Verdicts) > 0:
	case !x.Sized:
		v.Headline = "Nothing owns this pod: it leaves once, and is not sized."
	case x.Dropped > 0:
		v.Headline = sizing.Advices{Dropped: x.Dropped}.Notes()[0] + " This is one of them; `kubectl lastcall recommend` asks for it by name."
	default:
		v.Headline = "How long its preStop must sleep is not worked out yet."
		v.Open = "the hub was started a short while ago and reads this workload next"
	}
	if a == nil || len(a.Verdicts) == 0 {
		v.Spread = newSpread(nil, x, p.now(), root)
		return v
	}
	v.Headline = together(sentence(a.Headline()))
	v.Figures = adviceFigures(a, ago(p.now(), a.AsOf))
	for _, d := range a.Verdicts {
		t := verdictView{Title: d.Code.Words(), Class: moods[moodOf(d.Code)], Owner: report.Shorten(string(d.Owner), 16), Says: said(d.Says())}
		if d.Code != sizing.Fits {
			t.ToDo = said(d.ToDo())
		}
		v.Verdicts = append(v.Verdicts, t)
	}
	v.Spread = newSpread(a, x, p.now(), root)
	v.Drift = newDrift(a, x.Account, p.now(), root)
	for _, c := range x.Account.Places {
		v.Places = append(v.Places, newContributionRow(c, a.Seconds, root))
	}
	for _, l := range a.Stopping.Lines(a.Drain) {
		v.Stopping = append(v.Stopping, fact{Name: l.Label, Value: together(report.Visible(l.Text))})
	}
	v.Grace = newGraceChart(a)
	for _, l := range a.Argument(when(a.AsOf)) {
		v.Argument = append(v.Argument, line{l.Label[:1] + strings.ToLower(l.Label[1:]), said(l.Text)})
	}
	if a.Acts() {
		for _, c := range a.Commands("") {
			v.Commands = append(v.Commands, report.Visible(c))
		}
	}
	return v
}

// sentence begins with a capital and ends with a full stop.
func sentence(s string) string {
	if strings.HasPrefix(s, "preStop") { // is written like that
		return s + "."
	}
	return strings.ToUpper(s[:1]) + s[1:] + "."
}

func adviceFigures(a *sizing.Advice, ago string) []figure {
	c, d, first := a.Cells(), a.Departures, a.Verdicts[0]
	now := figure{Name: "It sleeps", Value: c.PreStop, Note: "nobody can tell: see Now"}
	switch n := a.Present.PreStop; {
	case n != nil && *n == 0:
		now.Value, now.Note = "not at all", ""
	case n != nil:
		now.Note = "in preStop"
	}
	if a.Present.Container != "" {
		now.Note = strings.TrimSpace(now.Note + " of " + report.Shorten(a.Present.Container, nameRoom))
		if a.Present.PreStop == nil {
			now.Note = "nobody can read the hook of " + report.Shorten(a.Present.Container, nameRoom)
		}
	}
	if ago != "" {
		now.Note += ", as of " + ago
	}
	must := figure{Name: "It must sleep", Value: a.Number(), Note: "basis: " + report.Visible(c.Basis) + pluralEpisodes(a.Class.N)}
	switch {
	case first.Code == sizing.Fits:
		must.Class = "good"
	case a.Seconds != nil && a.Present.PreStop != nil && *a.Present.PreStop < *a.Seconds:
		must.Class = "bad"
	case a.Seconds == nil || a.AtLeast:
		must.Class = "odd"
	}
	switch {
	case a.Seconds == nil:
		must.Note += ", a number takes " + report.Count(a.Needed)
	case a.AtLeast:
		must.Note += "; a lower bound"
	}
	late := figure{Name: "Late", Value: report.Count(d.Late) + " of " + report.Plural(d.Late+d.InTime+d.Unknown, "pod")}
	switch {
	case d.Late > 0:
		late.Class = "bad"
	case d.Unknown == 0 && d.InTime > 0:
		late.Class = "good"
	}
	notes := []string{"lost connections not witnessed"}
	if d.Refused != nil {
		notes[0] = report.Plural(*d.Refused, "connection") + " lost"
	}
	if d.Unknown > 0 {
		notes = append(notes, report.Count(d.Unknown)+" unknown, never called safe")
	}
	late.Note = strings.Join(notes, "; ")
	worst := figure{Name: "Worst last call", Value: "none", Note: "no episode counts"}
	if w := a.Largest; w != nil {
		worst.Value, worst.Note = report.Seconds(w.Seconds), "of "+report.Plural(a.Episodes.Used, "episode")
		if w.AtLeast {
			worst.Value += " or more"
		}
	}
	if dr := a.Driver; dr != nil {
		worst.Note += "; without " + report.Shorten(dr.Node, nameRoom) + " " + report.Seconds(float64(dr.Seconds)) + " would do"
	}
	f := []figure{now, must, late, worst}
	for i := range f {
		f[i].Value, f[i].Note = together(f[i].Value), together(f[i].Note)
	}
	return f
}

func pluralEpisodes(n int) string {
	if n == 1 {
		return " episode"
	}
	return " episodes"
}

func newContributionRow(c sizing.Contribution, number *int64, root string) contributionRow {
	r := contributionRow{Place: report.Visible(c.Node), Short: report.Shorten(c.Node, nameRoom), Detail: report.Shorten(c.Kind, nameRoom),
		URL: root + "places?" + url.Values{"node": {c.Node}}.Encode(), Last: "in " + report.Plural(c.Episodes, "episode"),
		Worst: report.Seconds(c.Worst), Without: "–"}
	if c.Replica != "" {
		r.Detail += ", " + report.Shorten(c.Replica, nameRoom)
	}
	switch n := c.Without; {
	case n == nil:
	case *n == *number:
		r.Without = "no less"
	default:
		r.Without = together(report.Seconds(float64(*n)) + " would do")
	}
	return r
}
