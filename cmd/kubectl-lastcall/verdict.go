package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/lastcall-k8s/lastcall/hub/report"
)

// verdict says whether the pod was told to stop before everyone had let go. What is not known is never made to
// look well.
func verdict(d report.Departure) (string, style) {
	lost := ""
	if d.Refused != nil {
		lost = " Connections lost: " + refused(d.Refused) + "."
	}
	switch {
	case d.Kept:
		return "Kept on purpose: for a while no other endpoint was usable, or its Service wants endpoints that are not ready, so it " +
			"was sent new connections until it stopped serving. No preStop changes that." + lost, plain
	case d.Late == report.Yes && d.Pending > 0:
		return "Late: it has been told to stop, and new connections can still be sent to it." + lost, red
	case d.Late == report.Yes && d.Exposure != nil:
		return fmt.Sprintf("Late by %s: new connections could still be sent to it that long after it was told to stop.", d.Exposure) + lost, red
	case d.Late == report.Yes:
		return "Late: new connections could still be sent to it after it was told to stop." + lost, red
	case d.Late == report.No:
		text, st := "In time: every place had let go", green
		if d.Answered < d.Expected {
			text, st = "In time as far as is known: the places of "+d.Coverage()+" had let go", plain
		}
		if d.Told != nil && d.LastCall != nil && d.Told.Lo > d.LastCall.Hi {
			text += " at least " + report.Seconds(d.Told.Lo-d.LastCall.Hi)
		}
		return text + " before it was told to stop." + lost, st
	}
	return "Unknown whether it was late" + whyUnknown(d) + "." + lost, yellow
}

// whyUnknown completes "unknown whether it was late" with the first reason that explains it.
func whyUnknown(d report.Departure) string {
	switch {
	case d.T0.IsZero():
		return ": nobody saw when it began to leave"
	case d.Told == nil:
		return ": when it was told to stop is not known"
	case d.Pending > 0:
		return ": new connections can still be sent to it, and when it is told to stop is not certain yet"
	case d.LastCall == nil:
		return ": no place let go while somebody watched"
	case d.LastCall.Hi > d.Told.Lo && d.LastCall.Lo <= d.Told.Hi:
		return fmt.Sprintf(": the last place let go at %s, and it was told to stop somewhere in %s; nobody can tell which came first",
			report.Seconds(d.LastCall.Hi), fromZero(*d.Told))
	case d.Answered < d.Expected:
		return ": only " + d.Coverage() + " answered"
	case slices.ContainsFunc(d.Missing, func(m report.Missing) bool { return m.Kind != "" }):
		return ": not all that may send to it could be read, see below"
	case !d.Complete:
		return ": not every agent has answered yet"
	}
	return ""
}

// fromZero is for intervals that may begin at T0 itself.
func fromZero(s report.Span) string {
	if s.Lo <= 0 {
		return "0 to " + report.Seconds(s.Hi)
	}
	return s.String()
}

// caveats are what the numbers do not hold.
func caveats(d report.Departure) (lines []string) {
	if d.Answered < d.Expected {
		line := "Coverage: " + d.Coverage() + "."
		if d.LastCall != nil {
			line += " The last call is theirs; another place may have been later."
		}
		lines = append(lines, line)
	}
	for _, g := range missing(d.Missing) {
		lines = append(lines, fmt.Sprintf("Not in these numbers: %s (%s).", some(g.places, 5), g.why))
	}
	if d.MissingMore > 0 {
		lines = append(lines, fmt.Sprintf("Not in these numbers: %s.", report.Plural(d.MissingMore, "more place")))
	}
	if !d.Complete && d.Pending == 0 {
		lines = append(lines, "Not every agent has answered yet: this may still change.")
	}
	if d.LastCall != nil && matters(d.T0Error, *d.LastCall) {
		lines = append(lines, "Clocks: T0 itself is known to "+report.Seconds(d.T0Error)+"; that is in the intervals.")
	}
	for _, l := range d.Slowest {
		switch {
		case l.Unusable:
			lines = append(lines, fmt.Sprintf("Clocks: %s's is off by up to %s, so it is not named as last.", l.Node, report.Seconds(l.ClockError)))
		case l.Landed != nil && d.LastCall != nil && l.Landed.Hi >= d.LastCall.Hi && matters(l.ClockError, *l.Landed):
			lines = append(lines, fmt.Sprintf("Clocks: %s's is known to %s; that is in the intervals.", l.Node, report.Seconds(l.ClockError)))
		}
	}
	if len(lines) > mostCaveats {
		lines = append(lines[:mostCaveats], fmt.Sprintf("And %s like these (-o json has all).", report.Plural(len(lines)-mostCaveats, "more note")))
	}
	return lines
}

const mostCaveats = 6

// matters: an error of a clock is worth a line from a millisecond and a twentieth of what is told on.
func matters(clock float64, s report.Span) bool { return clock >= .001 && clock >= s.Hi/20 }

type gone struct {
	why    string
	places []string
}

// missing groups places by why they are missing, largest group first.
func missing(ms []report.Missing) (groups []gone) {
	by := map[string][]string{}
	for _, m := range ms {
		by[m.Why] = append(by[m.Why], m.Place)
	}
	for _, why := range slices.Sorted(maps.Keys(by)) {
		groups = append(groups, gone{why, by[why]})
	}
	slices.SortStableFunc(groups, func(a, b gone) int { return len(b.places) - len(a.places) })
	for i := range groups {
		groups[i].why = strings.TrimSpace(either(groups[i].why, "nobody knows why"))
	}
	return groups
}
