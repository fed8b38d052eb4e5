package sizing

import (
	"fmt"
	"slices"
	"strings"

	"github.com/lastcall-k8s/lastcall/hub/report"
)

// nameRoom is how much of a name a sentence shows.
const nameRoom = 48

func name(s string) string { return report.Shorten(s, nameRoom) }

func secs(n int64) string { return fmt.Sprintf("%d s", n) }

// Number is the recommendation as a table shows it: "12 s", ">= 12 s", "72 s (12 + 60 assumed)", "unknown".
func (r Recommendation) Number() string {
	if r.Seconds == nil {
		return "unknown"
	}
	s := secs(*r.Seconds)
	if r.AtLeast {
		s = ">= " + s
	}
	if r.Added > 0 {
		s += fmt.Sprintf(" (%d + %d assumed)", *r.Seconds-r.Added, r.Added)
	}
	return s
}

// Words is a verdict for a table.
func (c Code) Words() string {
	switch c {
	case TooShort:
		return "too short"
	case Fits:
		return "fits"
	case LongerThanNeeded:
		return "longer than needed"
	case TooFew:
		return "too few episodes"
	case Unreadable:
		return "unknown: the hook cannot be read"
	case NotAllMeasured:
		return "unknown: not all is measured"
	case NothingLeft:
		return "unknown: no pod has left"
	case TooLate:
		return "sleeping cannot help: learnt too late"
	case Kept:
		return "sleeping cannot help: no other endpoint"
	case StuckPlace:
		return "sleeping cannot help: a place is stuck"
	case HookFails:
		return "the preStop hook fails"
	case LeavesFirst:
		return "a container leaves first"
	case NoTimeToStop:
		return "the grace period is too short"
	case CutsAtStop:
		return "cuts connections when it stops"
	case DrainsTooLong:
		return "drains longer than its grace period"
	case IgnoresSIGTERM:
		return "ignores SIGTERM"
	case Killed:
		return "killed at the end of its grace period"
	}
	return report.Visible(string(c))
}

// Says is a verdict with its evidence, in a sentence or two.
func (v Verdict) Says() string {
	of := report.Count(v.K) + " of " + report.Count(v.N)
	switch v.Code {
	case TooShort:
		return v.tooShort(of)
	case Fits:
		return fmt.Sprintf("preStop sleeps %s and %s would do.", secs(*v.Has), secs(*v.Needs))
	case LongerThanNeeded:
		return fmt.Sprintf("preStop sleeps %s where %s would do: each pod takes %s longer to go than it has to.", secs(*v.Has), secs(*v.Needs), secs(*v.Has-*v.Needs))
	case TooFew:
		return fmt.Sprintf("%s of the %d that a number takes. The largest was %s; the next exceeds it with a probability of at most 1/%d.",
			report.Plural(v.K, "episode"), v.N, report.Seconds(v.Longest), v.K+1)
	case Unreadable:
		if v.Container == "" {
			return "Which container serves is not known, so nobody can tell how long preStop sleeps now; " + v.needs() + "."
		}
		return fmt.Sprintf("%s has a preStop hook whose length nobody can tell; %s.", name(v.Container), v.needs())
	case NotAllMeasured:
		return fmt.Sprintf("preStop sleeps %s, and what is known needs at least %s; what is not measured may need more.", secs(*v.Has), secs(*v.Needs))
	case NothingLeft:
		return "No pod has left in a way that can be timed: deleted, evicted or preempted while a node routed to it."
	case TooLate:
		return of + " pods that left were stopped by their node: the API learns of that only when the containers are dead. No preStop can help."
	case Kept:
		return of + " pods that left were kept on purpose, since no other endpoint was usable: they got traffic until they stopped serving. No preStop changes that."
	case StuckPlace:
		s := "In " + of + " episodes a place did not let go for over 5 minutes"
		if v.Place != nil {
			s += ", most often " + name(v.Place.who()) + " (" + name(v.Place.Kind) + ")"
		}
		return s + ": sleeping cannot fix that, and it is not in the number."
	case HookFails:
		return fmt.Sprintf("In %s pods %s ended before its preStop was over: the hook fails, and SIGTERM comes at once; or it ends by itself.", of, name(v.Container))
	case LeavesFirst:
		return fmt.Sprintf("In %s pods %s had ended while connections still came and the server was waiting in preStop. If they pass through it, that sleep is useless.", of, name(v.Container))
	case NoTimeToStop:
		return of + " pods were killed with no time to stop: preStop took the whole grace period" + v.grace() + "."
	case CutsAtStop:
		return of + " pods reset open connections as soon as they were told to stop."
	case DrainsTooLong:
		return of + " pods were killed at the end of their grace period" + v.grace() + " with connections open. Sleeping cannot help connections that do not end."
	case IgnoresSIGTERM:
		return of + " pods were killed (137) after the whole grace period" + v.grace() + " with nothing connected: the process does not act on SIGTERM."
	case Killed:
		return of + " pods were killed (137) after the whole grace period" + v.grace() + ": they ignore SIGTERM, or drain for longer. Which of the two is not known."
	}
	return v.Code.Words() + "."
}

func (v Verdict) grace() string {
	if v.Has == nil {
		return ""
	}
	return " of " + secs(*v.Has)
}

func (v Verdict) needs() string {
	if v.AtLeast {
		return "it must sleep at least " + secs(*v.Needs)
	}
	return "it must sleep " + secs(*v.Needs)
}

func (v Verdict) tooShort(of string) string {
	s := "There is no preStop"
	switch {
	case v.Has == nil:
		s = "How long preStop sleeps is not known"
	case *v.Has > 0:
		s = "preStop sleeps " + secs(*v.Has)
	}
	if v.Needs != nil {
		s += "; " + v.needs()
	}
	if v.K > 0 {
		s += ". " + of + " last calls came too late for that"
	} else {
		s += ". No last call is known to have come too late for that yet"
	}
	if v.Needs == nil {
		s += fmt.Sprintf("; the largest last call was %s, and how long it must be takes more episodes to say", report.Seconds(v.Longest))
	}
	if v.Place != nil {
		s += fmt.Sprintf(". Without %s %s would do", name(v.Place.who()), secs(v.Without))
	}
	return s + "."
}

// ToDo is what to change, and where.
func (v Verdict) ToDo() string {
	switch v.Code {
	case TooShort:
		switch {
		case v.Place != nil:
			return fmt.Sprintf("Until %s lets go sooner, sleep %s; see `kubectl lastcall explain node/%s`.", name(v.Place.who()), secs(*v.Needs), name(v.Place.Node))
		case v.Needs == nil:
			return fmt.Sprintf("Until there is a number, sleep %s or more.", secs(wholeSeconds(v.Longest)))
		}
		return fmt.Sprintf("Let %s sleep %s in preStop.", container(v.Container), secs(*v.Needs))
	case Fits:
		return "Nothing."
	case LongerThanNeeded:
		return fmt.Sprintf("Let %s sleep %s in preStop, if rollouts and drains are to be faster.", container(v.Container), secs(max(*v.Needs, 1)))
	case TooFew, NothingLeft:
		return "Wait for more rollouts. `kubectl lastcall measure` has a first answer in 90 s."
	case Unreadable:
		if v.Container == "" {
			return "Declare the containerPort of the container that serves."
		}
		return fmt.Sprintf("See to it that the hook of %s takes %s or more.", name(v.Container), secs(*v.Needs))
	case NotAllMeasured:
		return "Say with --unmeasured how long the rest may take, or have it measured."
	case TooLate:
		return "Drain nodes before they shut down."
	case Kept:
		return "Have another replica ready before the last one goes."
	case StuckPlace:
		return "Look at that place: `kubectl lastcall places`."
	case HookFails:
		return "Look at the events of the pod (FailedPreStopHook): does its image have the program that the hook runs?"
	case LeavesFirst:
		if v.Needs == nil {
			return fmt.Sprintf("Give %s the same preStop, or make it a native sidecar.", name(v.Container))
		}
		return fmt.Sprintf("Give %s the same preStop of %s, or make it a native sidecar.", name(v.Container), secs(*v.Needs))
	case NoTimeToStop:
		if v.Needs == nil {
			return "Make terminationGracePeriodSeconds longer than preStop and the time to drain."
		}
		return fmt.Sprintf("Set terminationGracePeriodSeconds to %d or more, or sleep less in preStop.", *v.Needs)
	case CutsAtStop:
		return "Let the server finish what is open: many need another signal than SIGTERM for that (STOPSIGNAL in the image)."
	case DrainsTooLong:
		return "Have the server close long-lived connections when it is told to stop, or set a longer grace period."
	case IgnoresSIGTERM:
		return "Handle SIGTERM in the server; if a shell is its parent, start it with exec."
	case Killed:
		return "See whether the process acts on SIGTERM (a shell as PID 1 passes nothing on), and whether connections stay open."
	}
	return ""
}

func container(s string) string {
	if s == "" {
		return "the container that serves"
	}
	return name(s)
}

// Line is one part of the argument.
type Line struct{ Label, Text string }

// Argument is the whole of it, a line for each thing it rests on; what there is nothing to say about is left out.
func (r Recommendation) Argument() (ls []Line) {
	add := func(label, text string) {
		if text != "" {
			ls = append(ls, Line{label, text})
		}
	}
	add("WHY", r.why())
	add("BASIS", r.basis())
	if d := r.Driver; d != nil {
		s := fmt.Sprintf("without %s %s would do; it alone was later than that in %d of %s", name(d.who()), secs(d.Seconds), d.Episodes, report.Plural(d.Of, "episode"))
		if d.Episodes < repeated {
			s += ", which may have been an accident"
		}
		add("DRIVER", s+fmt.Sprintf("; see `kubectl lastcall explain node/%s`", name(d.Node)))
	}
	if r.Episodes.Stuck > 0 {
		add("STUCK", fmt.Sprintf("%d of %s had a stuck place: sleeping cannot fix that, and it is not in the number", r.Episodes.Stuck, report.Plural(r.Episodes.Used, "episode")))
	}
	add("CONSUMERS", r.consumerWords())
	add("MISSING", r.missingWords())
	add("GRACE", r.graceWords())
	add("COST", r.costWords())
	return ls
}

func (r Recommendation) why() string {
	d := r.Departures
	n := d.Late + d.InTime + d.Unknown
	if n == 0 {
		return ""
	}
	parts := []string{fmt.Sprintf("%s of %s late", report.Count(d.Late), report.Plural(n, "pod"))}
	if d.Unknown > 0 {
		parts = append(parts, report.Count(d.Unknown)+" unknown")
	}
	if d.Refused == nil {
		parts = append(parts, "lost connections not witnessed")
	} else {
		parts = append(parts, report.Plural(*d.Refused, "connection")+" lost")
	}
	if w := r.Largest; w != nil {
		s := "worst last call " + report.Seconds(w.Seconds)
		if w.AtLeast {
			s += " or more"
		}
		parts = append(parts, s)
	}
	return strings.Join(parts, "; ")
}

func (r Recommendation) basis() string {
	var s string
	switch c := r.Class; {
	case r.Episodes.Used == 0:
		return "no episode"
	case r.Basis == BasisNone:
		s = fmt.Sprintf("none: the largest of n = %d is %s; the next exceeds it with a probability of at most 1/%d; a number takes %d",
			c.N, report.Seconds(c.Largest), c.N+1, r.Needed)
	default:
		s = fmt.Sprintf("%s, n = %d (%s): the next stays within %s with a probability of at least %g %% (rank %d of %d)",
			basisWords(r.Basis), c.N, r.regimeWords(), report.Seconds(c.Seconds), 100*r.Quantile, c.Rank, c.N)
		if r.Basis == BasisPool {
			s += fmt.Sprintf("; of its own there are %d", c.Own)
		}
		if w := r.Largest; w != nil && *r.Seconds-r.Added > wholeSeconds(c.Seconds) {
			s += fmt.Sprintf("; %s has been seen here, so no less", report.Seconds(w.Seconds))
		}
	}
	if len(r.Classes) > 1 {
		s += "; of all bursts these decide"
	}
	if r.Episodes.Unknown > 0 {
		s += fmt.Sprintf("; %d not known to the end", r.Episodes.Unknown)
	}
	if r.Episodes.Coarse > 0 {
		s += fmt.Sprintf("; %d with T0 in whole seconds", r.Episodes.Coarse)
	}
	var others []string
	for what, n := range r.Episodes.Other {
		others = append(others, fmt.Sprintf("%d of another regime (%s)", n, what))
	}
	slices.Sort(others)
	for _, o := range others {
		s += "; " + o
	}
	return s
}

// regimeWords is what of the regime is known: "nftables v1.36.3, 3 nodes, bursts of 2-9".
func (r Recommendation) regimeWords() string {
	g := r.Regime
	parts := []string{strings.TrimSpace(report.Visible(g.Dataplane + " " + g.Version))}
	var unknown []string
	if g.Version == "" {
		unknown = append(unknown, "version")
	}
	if g.MinSync != "" {
		parts = append(parts, "minSyncPeriod "+report.Visible(g.MinSync))
	} else {
		unknown = append(unknown, "minSyncPeriod")
	}
	if len(unknown) > 0 {
		parts = append(parts, "its "+strings.Join(unknown, " and ")+" unknown")
	}
	if g.Nodes > 0 {
		parts = append(parts, report.Plural(g.Nodes, "node"))
	}
	if g.Policies != "" {
		parts = append(parts, "traffic policy "+report.Visible(g.Policies))
	}
	burst := "bursts of " + string(r.Class.Burst)
	if r.Class.OrLarger {
		burst += " or more"
	}
	parts = append(parts, burst)
	return strings.TrimPrefix(strings.Join(parts, ", "), ", ")
}

func basisWords(b Basis) string {
	switch b {
	case BasisPool:
		return "all workloads in the same regime"
	case BasisMeasure:
		return "trials of `measure`, one regime"
	}
	return "own episodes"
}

// consumerWords says what the samples of consumers are worth.
func (r Recommendation) consumerWords() string {
	var parts []string
	for i, w := range r.Consumers {
		if i == 5 {
			parts = append(parts, fmt.Sprintf("and %s more", report.Count(len(r.Consumers)-i)))
			break
		}
		s := name(w.Kind) + ": " + report.Visible(report.Kind{Fidelity: w.Fidelity, LagBound: w.LagBound}.FidelityWords())
		if w.LagBound > 0 {
			s += ", which is in the number"
		}
		parts = append(parts, s)
	}
	return strings.Join(parts, "; ")
}

func (r Recommendation) missingWords() string {
	var parts []string
	for i, m := range r.Missing {
		if i == 5 {
			parts = append(parts, fmt.Sprintf("and %s more", report.Count(len(r.Missing)-i+r.MissingMore)))
			break
		}
		s := name(m.Place) + ": " + report.Visible(m.Why)
		if m.Departures > 0 {
			s += " (" + report.Plural(m.Departures, "departure") + ")"
		}
		parts = append(parts, s)
	}
	for _, b := range r.Unsupported {
		parts = append(parts, fmt.Sprintf("bursts of %s: fewer than %d", b, r.Needed))
	}
	s := strings.Join(parts, "; ")
	if r.Added > 0 {
		s = strings.TrimPrefix(s+fmt.Sprintf("; %s added for what is not measured", secs(r.Added)), "; ")
	}
	return s
}

func (r Recommendation) graceWords() string {
	g := r.Grace
	if g.Seconds == nil {
		return ""
	}
	s := fmt.Sprintf("%s = preStop %d + drain %d", secs(g.PreStop+g.Drain+g.Margin), g.PreStop, g.Drain)
	if g.DrainObserved {
		s += fmt.Sprintf(" (longest of %d) + margin %d", r.Drain.N, g.Margin)
	} else {
		s += " (not observed: what it has today)"
	}
	if g.Stays {
		s += fmt.Sprintf("; it is %s and stays", secs(*g.Seconds))
	}
	return s
}

func (r Recommendation) costWords() string {
	c := r.Cost
	if c == nil || c.Longer == 0 {
		return ""
	}
	longer, n, does := "longer", c.Longer, "waits for that"
	if n < 0 {
		longer, n, does = "less", -n, "too"
	}
	s := fmt.Sprintf("each pod takes %s %s to go; a node drain %s", secs(n), longer, does)
	switch {
	case c.RolloutWaits == report.No:
		s += ", a rollout of a Deployment does not"
	case c.Rollout != nil:
		s += fmt.Sprintf(", and so does a rollout: up to %s %s in all, replacing one pod after another", report.Seconds(float64(max(*c.Rollout, -*c.Rollout))), longer)
	case c.RolloutWaits == report.Yes:
		s += ", and so does a rollout, for one pod after another"
	}
	if c.MorePods > 0 {
		s += fmt.Sprintf("; at most %s terminating at once", report.Plural(c.MorePods, "more pod"))
	}
	return s
}
