package report

import (
	"cmp"
	"strings"

	"github.com/lastcall-k8s/lastcall/ledger"
)

// nameRoom is how much of a name a sentence shows.
const nameRoom = 48

// Headline says what happened in one or two sentences that a stranger understands. Names in it are visible and
// shortened.
func (d Departure) Headline() string {
	var s string
	switch {
	case d.T0.IsZero() || d.T0Source == ledger.T0Unknown:
		s = "Nobody knows when the pod began to leave, so nothing can be timed." + d.hopeless()
	case d.Pending > 0:
		s = d.whoIsPending() + " still send new connections to this pod, " + Seconds(d.Age) + " after it began to leave." + d.whilePending()
	case d.LastCall == nil:
		s = d.nothingLanded()
	default:
		s = d.whoWasLast() + d.consequence()
	}
	if d.Refused != nil && *d.Refused > 0 {
		s += " " + Plural(*d.Refused, "connection") + " proved to be lost."
	}
	return s
}

func (d Departure) hopeless() string {
	if d.Reason == ledger.NodeShutdown || d.Reason == ledger.KubeletEvict {
		return " It was " + ReasonWords(d.Reason) + ": the API learns of that only when the containers are dead, and no preStop can help."
	}
	return ""
}

// place is what the places of this departure are called: nodes, while each is a node's kube-proxy.
func (d Departure) place() string {
	for _, k := range d.Kinds {
		if k.Consumer() {
			return "place"
		}
	}
	return "node"
}

// Name is what a place is known by: its node, or the replica's name.
func (l Landing) Name() string { return cmp.Or(l.Replica, l.Node) }

// role follows the name of a replica.
func (l Landing) role() string {
	if l.Replica == "" {
		return ""
	}
	return " (" + Shorten(l.Kind, nameRoom) + " on " + Shorten(l.Node, nameRoom) + ")"
}

// PendingPlaces is how many places are known to have something pending; more says that there may be others, since
// only the slowest are listed.
func (d Departure) PendingPlaces() (n int, more bool) {
	for _, l := range d.Slowest {
		if l.Pending > 0 {
			n++
		}
	}
	return n, d.Strip != nil && n == len(d.Slowest)
}

func (d Departure) whoIsPending() string {
	n, more := d.PendingPlaces()
	switch {
	case more:
		return "At least " + Plural(n, d.place()) + " can"
	case n == 0:
		return "Some " + d.place() + "s can"
	case n > 1:
		return Plural(n, d.place()) + " can"
	}
	for _, l := range d.Slowest {
		if l.Pending > 0 {
			return Shorten(l.Name(), nameRoom) + " can"
		}
	}
	return ""
}

func (d Departure) whilePending() string {
	switch {
	case d.Kept:
		return d.kept()
	case d.Late == Yes:
		return " It was told to stop " + d.ToldWords() + ": those connections can reach a stopping server, or none."
	}
	return ""
}

func (d Departure) nothingLanded() string {
	outcomes := map[ledger.Outcome]int{}
	total := 0
	for _, k := range d.Kinds {
		for o, n := range k.Outcomes {
			outcomes[o] += n
			total += n
		}
	}
	switch {
	case !d.Complete && total == 0:
		return "No " + d.place() + " has answered yet."
	case total == 0 || outcomes[ledger.Absent] == total:
		return "No " + d.place() + " had to let go: none was routing to this pod when it began to leave."
	case outcomes[ledger.Gap] == total:
		return "Nobody was watching when the " + d.place() + "s let go, so nothing is claimed."
	case outcomes[ledger.Restored] == total:
		return "The pod was ready again before any " + d.place() + " had let go."
	}
	return "No " + d.place() + " was seen to let go: " + OutcomesWords(outcomes) + "."
}

func (d Departure) whoWasLast() string {
	s, the := "", "The"
	if !d.Complete {
		s, the = "So far, ", "the"
	}
	after := Seconds(d.LastCall.Hi) + " after the pod began to leave"
	switch {
	case d.Straggler != nil:
		return s + Shorten(d.Straggler.Name(), nameRoom) + d.Straggler.role() + " let go last, " + after
	case d.OneOf > 1:
		return s + the + " last " + d.place() + " let go " + after + " (one of " + Count(d.OneOf) + ", too close together to name it)"
	}
	return s + the + " last " + d.place() + " let go " + after
}

func (d Departure) consequence() string {
	switch {
	case d.Kept:
		return "." + d.kept()
	case d.Late == Yes && d.Exposure != nil:
		return "; the pod had been told to stop " + d.ToldWords() + ", so for " + d.Exposure.rough() + " new connections could reach a stopping server."
	case d.Late == Yes:
		return "; the pod had been told to stop before, so new connections could reach a stopping server."
	case d.Late == No && d.Told != nil:
		return "; the pod was told to stop " + d.ToldWords() + ", with " + Seconds(d.Told.Lo-d.LastCall.Hi) + " to spare: no new connection could reach a stopping server."
	case d.Late == No:
		return "; that was before the pod was told to stop: no new connection could reach a stopping server."
	case d.Told == nil && d.ToldWhy != "":
		return ". Whether the pod had been told to stop by then is unknown: " + Visible(d.ToldWhy) + "."
	case d.Told == nil:
		return ". Whether the pod had been told to stop by then is unknown."
	case d.LastCall.Hi <= d.Told.Lo && d.Answered < d.Expected:
		return "; in time, as far as the places that answered can tell. Others did not answer, so nobody can call it safe."
	case d.LastCall.Hi <= d.Told.Lo:
		return "; in time by these figures, which are not certain enough to call it safe."
	}
	within := d.ToldWords()
	if d.Told.Lo <= 0 {
		within = "within " + Seconds(d.Told.Hi)
	}
	return ". It was told to stop " + within + "; whether that was before or after is too close to tell."
}

func (d Departure) kept() string {
	return " It was kept on purpose for a while, because no other endpoint was usable or its Service asks for that:" +
		" it got traffic until it stopped serving, and no preStop changes that."
}

// rough leaves out the lower end of an interval that is wide for its length, as that of an exposure is when the
// kubelet may take a second: it is no news that it might have been less.
func (s Span) rough() string {
	if s.Slop() > 0.25*s.Hi {
		return "up to " + Seconds(s.Hi)
	}
	return s.String()
}

// Summary is an episode in one sentence: "3 pods of deployment/shop left in a rollout; 2 late; at most 2
// terminating at once". Names in it are visible and shortened.
func (e Episode) Summary() string {
	parts := []string{Plural(e.Left, "pod") + e.of() + " left" + tagWords(e.Tag)}
	add := func(n int, words string) {
		if n > 0 {
			parts = append(parts, Count(n)+" "+words)
		}
	}
	add(e.Late, "late")
	add(e.Unknown, "unknown")
	add(e.Kept, "kept on purpose")
	add(e.Pending, "with something pending")
	if e.Left > 0 && e.Late+e.Unknown+e.Pending+e.Kept == 0 {
		parts = append(parts, "none late")
	}
	if e.Refused != nil && *e.Refused > 0 {
		parts = append(parts, Plural(*e.Refused, "connection")+" lost")
	}
	if e.Most > 1 {
		parts = append(parts, "at most "+Count(e.Most)+" terminating at once")
	}
	return strings.Join(parts, "; ")
}

func (e Episode) of() string {
	if e.Workload == "" {
		return ""
	}
	return " of " + Shorten(e.Workload, nameRoom)
}

// tagWords completes "3 pods left ...".
func tagWords(t Tag) string {
	switch t {
	case Rollout:
		return " in a rollout"
	case Drain:
		return " in a drain"
	case ScaleDown:
		return " in a scale-down"
	case Deleted:
		return " because they were deleted"
	}
	return ""
}
