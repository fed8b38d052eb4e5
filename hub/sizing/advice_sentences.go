package sizing

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/lastcall-k8s/lastcall/hub/report"
)

// Headline is the number, or that there is none, beside what the workload has now.
func (a Advice) Headline() string {
	now := "how long it sleeps now is not known"
	switch n := a.Present.PreStop; {
	case n != nil && *n == 0:
		now = "it does not sleep now"
	case n != nil:
		now = fmt.Sprintf("it sleeps %d s now", *n)
	}
	switch {
	case a.Live:
	case a.Template:
		now = strings.Replace(now, " now", " as last read", 1)
	default:
		now = strings.Replace(now, " now", " in the last pod that left", 1)
	}
	if a.Seconds == nil {
		return "how long preStop must sleep is unknown; " + now
	}
	return "preStop must sleep " + a.Number() + "; " + now
}

// Argument is that of the recommendation, with what became of earlier ones, what is measured, and whose configuration it is
// about, as of a moment in the reader's words. That is the last line.
func (a Advice) Argument(asOf string) []Line {
	lines := a.Recommendation.Argument()
	if b := a.Backtest; b != nil && b.Tested > 0 {
		lines = append(lines, Line{"BACKTEST", fmt.Sprintf("since the hub was started, %d of %s took longer than had been recommended before", b.Exceeded, report.Plural(b.Tested, "episode"))})
	}
	return append(lines, Line{"MEASURED", a.measuredWords()}, Line{"NOW", a.now(asOf)})
}

// measuredWords says which kinds of places a number is about, and which it cannot be about.
func (r Recommendation) measuredWords() string {
	if r.Regime.Places == "" {
		return "nothing"
	}
	s := strings.ReplaceAll(r.Regime.Places, "+", ", ")
	if len(r.Idle) > 0 {
		s += "; " + strings.Join(r.Idle, ", ") + " too, and it does not send there"
	}
	return s + ". What else routes to it (an ingress controller, DNS, a mesh, a cloud load balancer) is not in the number"
}

// now says whose configuration the argument is about.
func (a Advice) now(asOf string) string {
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
	if g := a.Present.Grace; g != nil {
		what += fmt.Sprintf(", grace %d s", *g)
	}
	switch {
	case a.Live:
		return what + ", as the API server has it"
	case a.Template:
		return what + ", as the workload was when its last pods left (" + asOf + ")"
	}
	return what + ", as of the last pod that left (" + asOf + ")"
}

// Commands are what to type to make the change. options are flags that make the same number again.
func (a Advice) Commands(options string) []string {
	kind, name, _ := strings.Cut(a.Workload, "/")
	ns := report.ShellWord(a.Namespace)
	return []string{fmt.Sprintf("kubectl lastcall recommend -n %s %s%s -o patch > patch.json", ns, report.ShellWord(a.Workload), options),
		fmt.Sprintf("kubectl -n %s patch %s %s --patch-file patch.json", ns, report.ShellWord(kind), report.ShellWord(name))}
}

// Acts reports whether there is something to type: a number that preStop should have, and has not.
func (a Advice) Acts() bool {
	return a.Seconds != nil && slices.ContainsFunc(a.Verdicts, func(v Verdict) bool { return v.Code == TooShort || v.Code == LongerThanNeeded })
}

// Notes say what a table of all workloads does not.
func (a Advices) Notes() (notes []string) {
	if a.Read < a.Of {
		notes = append(notes, fmt.Sprintf("The hub was started a short while ago: it has read %s of %s workloads.", report.Count(a.Read), report.Count(a.Of)))
	}
	if a.Dropped > 0 {
		notes = append(notes, fmt.Sprintf("There are too many workloads: the %s that no pod has left for longest are not sized.", report.Count(a.Dropped)))
	}
	return notes
}

// Urgency sorts workloads: the lower, the sooner somebody should look.
func (a Advice) Urgency() int {
	switch a.Verdicts[0].Code {
	case Fits:
		return 3
	case LongerThanNeeded:
		return 1
	case TooFew, NothingLeft, NotAllMeasured, Unreadable:
		return 2
	}
	return 0
}

// Cells are what a table says of a workload, beside its number and its verdict. What is not known is "" or "?".
type Cells struct{ PreStop, Late, Refused, Basis, Missing string }

// Cells of the recommendation.
func (r Recommendation) Cells() Cells {
	d := r.Departures
	c := Cells{PreStop: "?", Late: report.Count(d.Late) + "/" + report.Count(d.Late+d.InTime+d.Unknown), Basis: string(r.Basis) + " " + strconv.Itoa(r.Class.N)}
	if n := r.Present.PreStop; n != nil {
		c.PreStop = secs(*n)
	}
	if d.Refused != nil {
		c.Refused = report.Count(*d.Refused)
	}
	if n := len(r.Missing) + r.MissingMore; n > 0 {
		c.Missing = report.Count(n)
	}
	return c
}
