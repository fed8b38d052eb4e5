package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/hub/sizing"
)

// advice draws the whole argument for one workload. now is the workload as it is, nil if it could not be read, for the reason unread;
// options are the flags that make the same number again.
func (v view) advice(w io.Writer, a sizing.Advice, now *workload, unread error, options string) {
	head := visible(a.Workload) + " "
	rest := fmt.Sprintf("in namespace %s: ", visible(a.Namespace)) + headline(a)
	fmt.Fprintln(w, v.paint(head, bold)+fill(rest, v.width, len(head), 2))
	fmt.Fprintln(w)
	for _, d := range a.Verdicts {
		owner := ""
		if d.Owner != sizing.Nobody {
			owner = fmt.Sprintf(" (%s)", d.Owner)
		}
		title := d.Code.Words() + owner + ": "
		fmt.Fprintln(w, v.paint(title, mood(d.Code))+fill(visible(d.Says()), v.width, len(title), 2))
		if do := d.ToDo(); do != "" && d.Code != sizing.Fits {
			fmt.Fprintln(w, hang("  -> ", visible(do), v.width))
		}
	}
	fmt.Fprintln(w)
	lines := a.Argument()
	if b := a.Backtest; b != nil && b.Tested > 0 {
		lines = append(lines, sizing.Line{Label: "BACKTEST", Text: fmt.Sprintf("since the hub was started, %d of %s took longer than had been recommended before", b.Exceeded, report.Plural(b.Tested, "episode"))})
	}
	lines = append(lines, sizing.Line{Label: "MEASURED", Text: measured(a.Regime.Places)}, sizing.Line{Label: "NOW", Text: v.asOf(a, unread)})
	commands, words := apply(a, now, options)
	if words != "" {
		lines = append(lines, sizing.Line{Label: "APPLY", Text: words})
	}
	label := func(s string) string { return v.paint(fmt.Sprintf("%-10s", s), dim) }
	for _, l := range lines {
		fmt.Fprintln(w, label(l.Label)+fill(visible(l.Text), v.width, 10, 10))
	}
	for i, c := range commands { // whole: people copy them
		fmt.Fprintln(w, label([]string{"APPLY", ""}[min(i, 1)])+visible(c))
	}
}

// headline is the number, or that there is none.
func headline(a sizing.Advice) string {
	now := "how long it sleeps now is not known"
	switch n := a.Present.PreStop; {
	case n != nil && *n == 0:
		now = "it does not sleep now"
	case n != nil:
		now = fmt.Sprintf("it sleeps %d s now", *n)
	}
	if !a.Live {
		now = strings.Replace(now, " now", " in the last pod that left", 1)
	}
	if a.Seconds == nil {
		return "how long preStop must sleep is unknown; " + now
	}
	return "preStop must sleep " + a.Number() + "; " + now
}

func measured(places string) string {
	if places == "" {
		return "nothing"
	}
	return strings.ReplaceAll(places, "+", ", ") + ". What else routes to it (an ingress controller, DNS, a mesh, a cloud load balancer) is not in the number"
}

// asOf says whose configuration the argument is about.
func (v view) asOf(a sizing.Advice, unread error) string {
	grace := ""
	if g := a.Present.Grace; g != nil {
		grace = fmt.Sprintf(", grace %d s", *g)
	}
	var cs []string
	for _, c := range a.Containers {
		if c.Serves {
			cs = append(cs, c.Name+": "+report.PreStopWords(c.PreStop))
		}
	}
	what := strings.Join(cs, "; ")
	if what == "" {
		what = "which container serves is not known"
	}
	if a.Live {
		return what + grace + ", as the API server has it"
	}
	s := what + grace + ", as of the last pod that left (" + v.clock(a.AsOf, toSeconds) + ")"
	if unread != nil {
		first, _, _ := strings.Cut(unread.Error(), "\n")
		s += ". The workload as it is now could not be read: " + first
	}
	return s
}

// apply says what to type, or in words what to do by hand.
func apply(a sizing.Advice, now *workload, options string) (commands []string, words string) {
	if a.Seconds == nil {
		return nil, ""
	}
	if now != nil && a.Live {
		const newest = 1 << 10 // the versions are asked for when the patch is
		if p := a.Patch(now.patched(a.Containers, newest)); p.Merge == nil {
			return nil, strings.Join(p.Why, "; ")
		}
	} else if a.Verdicts[0].Code == sizing.Fits {
		return nil, ""
	}
	kind, name, _ := strings.Cut(a.Workload, "/")
	ns := shell(a.Namespace)
	return []string{fmt.Sprintf("kubectl lastcall recommend -n %s %s%s -o patch > patch.json", ns, shell(a.Workload), options),
		fmt.Sprintf("kubectl -n %s patch %s %s --patch-file patch.json", ns, shell(kind), shell(name))}, ""
}
