package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/lastcall-k8s/lastcall/ledger"
)

// Seconds writes a duration for people: "0.4 ms", "87 ms", "1.21 s", "12.3 s", "5 min 12 s", "1 h 5 min". A whole
// number of seconds, as people configure them, has no decimals.
func Seconds(s float64) string {
	n, unit := quantity(s)
	if unit == "" {
		return n
	}
	return n + " " + unit
}

// quantity splits a duration into number and unit, so that two with the same unit can share it. From 100 s on
// there are two units, and both are in the number.
func quantity(s float64) (number, unit string) {
	if math.IsNaN(s) || math.IsInf(s, 0) || math.Abs(s) > 1e12 {
		return "unknown", ""
	}
	if s < 0 {
		number, unit = quantity(-s)
		return "-" + number, unit
	}
	switch ms := s * 1000; {
	case s == 0:
		return "0", "ms"
	case ms < 9.95:
		return fmt.Sprintf("%.1f", ms), "ms"
	case ms < 999.5:
		return fmt.Sprintf("%.0f", ms), "ms"
	case s == math.Trunc(s) && s < 100:
		return fmt.Sprintf("%.0f", s), "s"
	case s < 9.995:
		return fmt.Sprintf("%.2f", s), "s"
	case s < 99.95:
		return fmt.Sprintf("%.1f", s), "s"
	}
	switch whole := int64(math.Round(s)); {
	case whole < 3600 && whole%60 == 0:
		return fmt.Sprintf("%d min", whole/60), ""
	case whole < 3600:
		return fmt.Sprintf("%d min %d s", whole/60, whole%60), ""
	case whole < 86400:
		return fmt.Sprintf("%d h %d min", whole/3600, whole%3600/60), ""
	default:
		return fmt.Sprintf("%d d %d h", whole/86400, whole%86400/3600), ""
	}
}

// String is the interval in words: "1.20 to 1.21 s", "at most 62 ms" if it has no lower bound after T0, and
// one number where both ends read the same.
func (s Span) String() string {
	if s.Lo <= 0 {
		return "at most " + Seconds(s.Hi)
	}
	lo, loUnit := quantity(s.Lo)
	hi, hiUnit := quantity(s.Hi)
	switch {
	case lo == hi && loUnit == hiUnit:
		return Seconds(s.Hi)
	case loUnit == hiUnit && loUnit != "":
		return lo + " to " + hi + " " + hiUnit
	}
	return Seconds(s.Lo) + " to " + Seconds(s.Hi)
}

// Slop is the width of the interval.
func (s Span) Slop() float64 { return s.Hi - s.Lo }

// Count writes a number with thousands separated: "4,997".
func Count(n int) string {
	s := strconv.Itoa(n)
	sign := ""
	if n < 0 {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}

// Plural is "1 pod", "3 pods".
func Plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return Count(n) + " " + one + "s"
}

// Words answers "was it late?".
func (l Late) Words() string {
	switch l {
	case Yes:
		return "late"
	case No:
		return "in time"
	}
	return "unknown"
}

// Coverage says how many of the expected places answered: "4,997 of 5,000 nodes".
func (d Departure) Coverage() string {
	return Count(d.Answered) + " of " + Plural(d.Expected, "node")
}

// FidelityWords says what a consumer's answers are worth, "" of kube-proxy.
func (k Kind) FidelityWords() string {
	s := ""
	switch k.Fidelity {
	case "":
		return ""
	case "dataplane":
		s = "its replicas show where the next connection goes"
	case "config":
		s = "its replicas show what their dataplane will follow"
	default:
		s = "its replicas show " + k.Fidelity
	}
	if k.LagBound > 0 {
		s += ", within " + Seconds(k.LagBound)
	}
	return s
}

// ToldWords says when the pod was told to stop: "at once", "after 10 to 11 s", "unknown".
func (d Departure) ToldWords() string {
	switch {
	case d.Told == nil:
		return "unknown"
	case d.Told.Lo <= 0 && d.Told.Hi <= 1:
		return "at once"
	case d.Told.Lo <= 0:
		return "within " + Seconds(d.Told.Hi)
	}
	return "after " + d.Told.String()
}

// LastCallWords is the last call as far as it is known: "1.20 to 1.21 s", "longer than 5 min 12 s" while a place
// still routes to the pod, "none" if no place had to let go.
func (d Departure) LastCallWords() string {
	switch {
	case d.Pending > 0:
		return "longer than " + Seconds(d.Age)
	case d.LastCall != nil:
		return d.LastCall.String()
	case d.T0.IsZero():
		return "unknown"
	}
	return "none"
}

// ReasonWords completes "the pod was ...".
func ReasonWords(r ledger.Reason) string {
	words := map[ledger.Reason]string{
		ledger.Delete:       "deleted",
		ledger.Evict:        "evicted",
		ledger.Preempt:      "preempted by a pod of higher priority",
		ledger.Force:        "deleted by force, without a grace period",
		ledger.NodeShutdown: "stopped because its node shut down",
		ledger.KubeletEvict: "evicted by its kubelet, which was short of resources",
		ledger.NodeLost:     "lost with its node",
		ledger.Completed:    "over: it had completed",
		ledger.Unready:      "not ready any more",
		ledger.Selector:     "not selected by its Service any more",
		ledger.Vanished:     "gone from the EndpointSlices",
	}[r]
	if words == "" {
		return Visible(string(r))
	}
	return words
}

// T0Words says where T0 comes from.
func T0Words(s ledger.T0Source) string {
	switch s {
	case ledger.FromPod:
		return "when the pod's own node learnt of the deletion"
	case ledger.FromSlice:
		return "when an EndpointSlice first showed the pod leaving"
	case ledger.FromDeletion:
		return "worked out from the pod's deletionTimestamp, whole seconds of the API server's clock"
	}
	return "not known"
}

// OutcomeWords says how a removal ended: what follows "this path ...".
func OutcomeWords(o ledger.Outcome) string {
	words := map[ledger.Outcome]string{
		ledger.Landed:   "let go",
		ledger.Restored: "ready again first",
		ledger.Replaced: "taken over by a live pod",
		ledger.Absent:   "never programmed here",
		ledger.Expired:  "still routed after 30 minutes",
		ledger.Excluded: "the place itself went",
		ledger.Gap:      "not watched, nothing is claimed",
	}[o]
	if words == "" {
		return Visible(string(o))
	}
	return words
}

// OutcomesWords lists the outcomes of several removals, in the documented order: "1 landed, 2 absent".
func OutcomesWords(outcomes map[ledger.Outcome]int) string {
	var parts []string
	for _, o := range ledger.Outcomes {
		if n := outcomes[o]; n > 0 {
			parts = append(parts, Count(n)+" "+string(o))
		}
	}
	return strings.Join(parts, ", ")
}

// PreStopWords describes a container's preStop handler: "no preStop", "sleeps 10 s".
func PreStopWords(p ledger.PreStop) string {
	switch p.Kind {
	case ledger.NoPreStop, "":
		return "no preStop"
	case ledger.PreStopSleep:
		if p.Seconds != nil {
			return "sleeps " + strconv.FormatInt(*p.Seconds, 10) + " s"
		}
		return "sleeps"
	case ledger.PreStopExec:
		switch {
		case p.Seconds == nil:
			return "runs a command"
		case p.Rest:
			return "runs sleep " + strconv.FormatInt(*p.Seconds, 10) + ", then more"
		}
		return "runs sleep " + strconv.FormatInt(*p.Seconds, 10)
	case ledger.PreStopHTTP:
		return "calls an HTTP hook"
	}
	return "has a preStop of another kind"
}
