package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// moment is a line of a departure's story.
type moment struct {
	at    float64 // seconds after T0
	when  string  // instead of at, where there is no number
	name  string
	text  string
	style style
}

// moments tells a departure in the order of time; what has no time comes last.
func moments(d report.Departure, v view) (ms []moment) {
	ms = append(ms, t0(d, v), toldToStop(d))
	if d.T0.IsZero() {
		return ms
	}
	if d.Seen != nil {
		ms = append(ms, moment{at: *d.Seen, name: "seen", text: "the first node learnt from the API that it should let go"})
	}
	if places := d.Answered; d.Within99 != nil && places >= 20 {
		ms = append(ms, moment{at: *d.Within99, name: "99 %", text: fmt.Sprintf("of %s places had let go", report.Count(places))})
	}
	ms = append(ms, last(d)...)
	ms = append(ms, kinds(d)...)
	for _, c := range d.Containers {
		if c.Finished != nil {
			ms = append(ms, moment{at: *c.Finished, name: "exit", text: exit(c)})
		}
	}
	slices.SortStableFunc(ms, func(a, b moment) int {
		switch {
		case (a.when == "") != (b.when == ""):
			return strings.Compare(a.when, b.when)
		case a.at < b.at:
			return -1
		case a.at > b.at:
			return 1
		}
		return 0
	})
	return ms
}

func t0(d report.Departure, v view) moment {
	m := moment{name: "T0"}
	if d.T0.IsZero() {
		m.when, m.text = "?", "when it began to leave is not known: nothing can be counted from there"
		return m
	}
	switch d.T0Source {
	case ledger.FromPod:
		m.text = "deletion reached " + either(d.Node, "the pod's node")
	case ledger.FromSlice:
		m.text = "an EndpointSlice first showed it leaving; its own node did not say when it knew"
	default:
		m.text = report.T0Words(d.T0Source)
	}
	m.text += " (" + d.T0.In(v.zone).Format(toMillis) + ")"
	return m
}

func toldToStop(d report.Departure) moment {
	m := moment{name: "told"}
	if d.Told == nil {
		m.when, m.text = "?", "to stop, when is not known"
	} else {
		m.at, m.text = max(0, d.Told.Lo), "to stop "+d.ToldWords()
	}
	if d.ToldWhy != "" {
		m.text += ": " + d.ToldWhy
	}
	return m
}

// last is the last call: who, by which stages, within which bounds; or who has not let go.
func last(d report.Departure) (ms []moment) {
	if d.LastCall != nil && d.Pending == 0 {
		m := moment{at: d.LastCall.Hi, name: "last call"}
		switch s := d.Straggler; {
		case s != nil:
			m.text = placeName(*s)
			if g := s.Stages; g != nil {
				m.text += fmt.Sprintf(": api %s + watch %s + program %s", report.Seconds(g.API), report.Seconds(g.Watch), report.Seconds(g.Program))
			}
		case d.OneOf > 1:
			m.text = fmt.Sprintf("one of %s places, their times overlap", report.Count(d.OneOf))
		default:
			m.text = "the last place let go"
		}
		m.text += " (" + bounds(*d.LastCall) + ")"
		for _, k := range d.Kinds {
			if worth := k.FidelityWords(); worth != "" && (d.Straggler != nil && d.Straggler.Kind == k.Kind || len(d.Kinds) == 1) {
				m.text += "; " + worth
			}
		}
		return []moment{m}
	}
	if d.Pending > 0 {
		var open []string
		for _, l := range d.Slowest {
			if l.Pending > 0 {
				open = append(open, l.Name())
			}
		}
		who := "a place"
		if len(open) > 0 {
			who = some(open, 3)
		}
		return []moment{{at: d.Age, when: "> " + report.Seconds(d.Age), name: "last call", style: red,
			text: "has not come: new connections can still be sent to it by " + who}}
	}
	words, unsure := outcomes(d)
	if unsure {
		return []moment{{when: "?", name: "last call", text: "not known: nobody saw a place let go of it" + words}}
	}
	return []moment{{when: "-", name: "last call", text: "none: no place had to let go of it" + words}}
}

// kinds says when the places of each kind had let go, if there are several kinds.
func kinds(d report.Departure) (ms []moment) {
	if len(d.Kinds) < 2 {
		return nil
	}
	for _, k := range d.Kinds {
		if k.LastCall == nil || k.Pending > 0 || d.Straggler != nil && d.Straggler.Kind == k.Kind {
			continue
		}
		text := "had let go"
		if k.Places > 1 {
			text = fmt.Sprintf("the last of %s had let go", report.Plural(k.Places, "place"))
		}
		if worth := k.FidelityWords(); worth != "" {
			text += ": " + worth
		}
		ms = append(ms, moment{at: k.LastCall.Hi, name: visible(k.Kind), text: text})
	}
	return ms
}

// bounds is an interval, with its width where that cannot be seen from its ends.
func bounds(s report.Span) string {
	words := s.String()
	if words == report.Seconds(s.Hi) && s.Slop() > 0 {
		words += ", known to " + report.Seconds(s.Slop())
	}
	return words
}

// outcomes says how removals ended if none landed, and whether some of them may have without anybody seeing it.
func outcomes(d report.Departure) (words string, unsure bool) {
	all := map[ledger.Outcome]int{}
	for _, k := range d.Kinds {
		for o, n := range k.Outcomes {
			all[o] += n
		}
	}
	if words = report.OutcomesWords(all); words != "" {
		words = " (" + words + ")"
	}
	return words, all[ledger.Gap]+all[ledger.Expired] > 0 || d.Answered < d.Expected || !d.Complete
}

func placeName(l report.Landing) string {
	name := l.Node + " " + l.Kind
	if l.Replica != "" {
		name = l.Replica + ", " + l.Kind + " on " + l.Node
	} else if l.Backend != "" {
		name += " " + l.Backend
	}
	if l.Family == ledger.IPv6 {
		name += " ipv6"
	}
	return name
}

func exit(c report.Container) string {
	text := c.Name + " ended"
	if c.ExitCode == nil {
		return text
	}
	text += fmt.Sprintf(", exit code %d", *c.ExitCode)
	switch *c.ExitCode {
	case 137:
		text += ": killed"
	case 143:
		text += ": ended by SIGTERM, it has no handler for it"
	}
	return text
}

// some lists at most n names, and how many more there are.
func some(names []string, n int) string {
	if len(names) <= n {
		return strings.Join(names, ", ")
	}
	return strings.Join(names[:n], ", ") + fmt.Sprintf(" and %s more", report.Count(len(names)-n))
}

// moment is one line, wrapped under its text.
func (v view) moment(m moment) string {
	when := m.when
	if when == "" {
		when = report.Seconds(m.at)
	}
	line := hang(fmt.Sprintf("%12s  %-9s  ", when, m.name), visible(m.text), v.width)
	if m.style == plain {
		return strings.Replace(line, m.name, v.paint(m.name, bold), 1)
	}
	return v.paint(line, m.style)
}
