package pages

import (
	"slices"
	"strings"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// nameRoom is how much of a name a table shows; style.css lets it wrap.
const nameRoom = 40

// newRow draws one place on the scale of its departure; age is now, in seconds after T0.
func newRow(l report.Landing, s scale, age float64) row {
	r := row{Node: report.Visible(l.Name()), Short: report.Shorten(l.Name(), nameRoom)}
	if l.Seen != nil && *l.Seen >= 0 {
		at := s.at(*l.Seen)
		r.Seen = &at
	}
	switch {
	case l.Landed != nil:
		r.land(l, s)
	case l.Pending > 0:
		r.pend(l, s, age)
	default:
		r.LetGo, r.Note = "–", outcomeNote(l.Outcomes)
		r.Desc = r.Node + ": " + r.Note
		r.Seen = nil
	}
	return r
}

// land draws the stages, each a little thicker than the one before so that colour is not all that tells them
// apart, and the interval of the landing over their end.
func (r *row) land(l report.Landing, s scale) {
	r.LetGo, r.Slop = report.Seconds(l.Landed.Hi), report.Seconds(l.Landed.Slop())
	r.Desc = r.Node + " let go " + l.Landed.String() + " after T0"
	if g := l.Stages; g != nil {
		r.API, r.Watch, r.Program = report.Seconds(g.API), report.Seconds(g.Watch), report.Seconds(g.Program)
		r.Desc += ": api " + r.API + ", watch " + r.Watch + ", program " + r.Program
		r.span(s, 0, g.API, bar{Class: "api", Y: 11, H: 6, Pieces: "api " + r.API})
		r.span(s, g.API, g.API+g.Watch, bar{Class: "watch", Y: 9, H: 10, Pieces: "watch " + r.Watch})
		r.span(s, g.API+g.Watch, l.Landed.Hi, bar{Class: "program", Y: 7, H: 14, Pieces: "program " + r.Program})
	} else {
		r.API, r.Watch, r.Program = "?", "?", "?"
		r.Desc += "; its stages are not known"
		r.span(s, 0, l.Landed.Hi, bar{Class: "whole", Y: 9, H: 10, Pieces: "let go by " + r.LetGo + "; stages not known"})
	}
	lo, hi := s.at(max(l.Landed.Lo, 0)), s.at(l.Landed.Hi)
	r.Caps = []pct{hi}
	if hi-lo > 0.5 {
		r.Caps = append(r.Caps, lo)
		r.Uncertain = &bar{Class: "uncertain", X: lo, W: hi - lo, Y: 7, H: 14, Pieces: "let go somewhere in " + l.Landed.String()}
	}
}

// pend draws what has not ended: from when this place learnt of it to now, and on.
func (r *row) pend(l report.Landing, s scale, age float64) {
	r.Pending, r.LetGo = true, "not yet"
	from := 0.0
	if l.Seen != nil {
		from = max(*l.Seen, 0)
	}
	r.Open = &bar{Class: "open", X: s.at(from), W: s.at(age) - s.at(from), Y: 7, H: 14, Pieces: "still routed after " + report.Seconds(age)}
	r.Desc = r.Node + " has not let go: still routed " + report.Seconds(age) + " after T0"
	if len(l.Outcomes) > 0 {
		r.Desc += " (" + report.OutcomesWords(l.Outcomes) + ", " + report.Count(l.Pending) + " pending)"
	}
}

func (r *row) span(s scale, from, to float64, b bar) {
	if !(to > from) {
		return
	}
	b.X = s.at(from)
	b.W = s.at(to) - b.X
	r.Bars = append(r.Bars, b)
}

// outcomeNote names what became of a place that did not land.
func outcomeNote(outcomes map[ledger.Outcome]int) string {
	switch len(outcomes) {
	case 0:
		return "nothing known"
	case 1:
		for o := range outcomes {
			return report.Visible(string(o)) + ": " + report.OutcomeWords(o)
		}
	}
	return report.OutcomesWords(outcomes)
}

// commonEnd is what all names share from a dot on, such as ".eu-central-1.compute.internal": nobody needs to read
// it forty times.
func commonEnd(names []string) string {
	if len(names) < 2 {
		return ""
	}
	for i := range names[0] {
		if names[0][i] != '.' {
			continue
		}
		end := names[0][i:]
		same := func(n string) bool { return len(n) > len(end) && strings.HasSuffix(n, end) }
		if i > 0 && !slices.ContainsFunc(names, func(n string) bool { return !same(n) }) {
			return end
		}
	}
	return ""
}
