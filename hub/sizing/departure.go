package sizing

import (
	"math"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// Out says why a departure is no part of a sample, "" if it is.
type Out string

const (
	OutReason   Out = "reason"   // not deleted, evicted or preempted
	OutHopeless Out = "hopeless" // the API learnt of it when the containers were dead
	OutNoT0     Out = "no-t0"
	OutKept     Out = "kept"     // a place kept it on purpose
	OutNothing  Out = "nothing"  // no path to it was programmed: never ready, or in no Service
	OutCoverage Out = "coverage" // fewer than 99 % of the places answered
)

// departed is what one departure adds to its episode.
type departed struct {
	Sample
	gap     bool // not whole because something was pending or not watched
	missing bool // not whole because a place did not answer
	stuck   []Place
	isStuck bool // also if no place is named
	coarse  bool // T0 is known to a second
	// top is the place that was last beyond doubt, and next what would be without it.
	top  Place
	next float64
}

// Place names one place.
type Place struct {
	Kind    string `json:"kind"`
	Node    string `json:"node"`
	Replica string `json:"replica,omitempty"`
}

// who is what the place is known by.
func (p Place) who() string {
	if p.Replica != "" {
		return p.Replica
	}
	return p.Node
}

func placeOf(l report.Landing) Place { return Place{l.Kind, l.Node, l.Replica} }

// depart says what a row is worth. The value is the upper end of the last call over the places that are not stuck.
func depart(d report.Departure, o Options) (s departed, out Out) {
	landed, gaps, unwatched, expired, ended, pending := 0, 0, 0, 0, 0, 0
	for _, k := range d.Kinds {
		for outcome, n := range k.Outcomes {
			switch outcome {
			case ledger.Landed:
				landed += n
			case ledger.Gap:
				gaps += n
				if !k.Consumer() { // who answered is counted in nodes
					unwatched += n
				}
			case ledger.Expired:
				expired += n
			}
			ended += n
		}
		pending += k.Pending
	}
	pending = max(pending, d.Pending)
	late := d.LastCall != nil && d.LastCall.Hi > o.Stuck
	overdue := pending > 0 && d.Age > o.Stuck
	s.isStuck = expired > 0 || late || overdue
	open := !d.Complete && !overdue // something may still come
	switch {
	case d.Reason == ledger.NodeShutdown, d.Reason == ledger.KubeletEvict:
		return departed{}, OutHopeless
	case d.Reason != ledger.Delete && d.Reason != ledger.Evict && d.Reason != ledger.Preempt:
		return departed{}, OutReason
	case d.T0.IsZero(), d.T0Source == ledger.T0Unknown:
		return departed{}, OutNoT0
	case d.Kept:
		return departed{}, OutKept
	case !open && landed+expired+pending == 0 && gaps == 0:
		return departed{}, OutNothing
	case !open && covered(d, unwatched) < minCoverage*float64(d.Expected), !open && d.Expected <= 0:
		return departed{}, OutCoverage
	}
	s.gap = open || gaps > 0
	s.missing = d.Answered < d.Expected && !overdue || len(d.Missing)+d.MissingMore > 0
	s.stuck = stuckPlaces(d, o)
	switch {
	case late:
		var all bool
		if s.Seconds, all = withinLimit(d, o); !all {
			s.gap = true
		}
	case d.LastCall != nil:
		s.Seconds = d.LastCall.Hi
	case landed > 0:
		s.gap = true // it landed, and no clock could tell when
	}
	s.Seconds = max(s.Seconds, 0)
	if math.IsNaN(s.Seconds) || math.IsInf(s.Seconds, 0) {
		return departed{}, OutNoT0
	}
	s.top, s.next = last(d, o, s.Seconds)
	s.next = min(s.next, s.Seconds) // also of a row that contradicts itself
	if pending > 0 && !overdue {
		// It is at least as long as it has been pending. The age is that of now: nobody was last yet.
		if age := min(d.Age, o.Stuck); age > s.Seconds {
			s.Seconds, s.top, s.next = age, Place{}, age
		}
	}
	if s.coarse = d.T0Source == ledger.FromDeletion; s.coarse {
		// True T0 is up to a second later than that: never finer than a second (and hi has T0's error in it).
		s.Seconds, s.next = math.Ceil(s.Seconds), math.Ceil(s.next)
	}
	s.Whole = !s.gap && !s.missing
	return s, ""
}

// covered is how many nodes surely answered. A removal that nobody watched stands for a node; a place that is stuck has
// answered: it still routes.
func covered(d report.Departure, unwatched int) float64 {
	missing := d.MissingMore
	for _, m := range d.Missing {
		if m.Kind == "" { // a kind of places is named, but it is none of the expected nodes
			missing++
		}
	}
	if n, _ := d.PendingPlaces(); d.Age > 0 && n > 0 {
		return float64(d.Expected - max(d.Expected-d.Answered-n, missing) - unwatched)
	}
	return float64(d.Expected - max(d.Expected-d.Answered, missing) - unwatched)
}

// withinLimit is the latest landing that was not stuck. all is false if the row does not list it.
func withinLimit(d report.Departure, o Options) (s float64, all bool) {
	for _, l := range d.Slowest {
		if l.Landed != nil && !l.Unusable && l.Landed.Hi <= o.Stuck {
			return l.Landed.Hi, true
		}
	}
	if d.Within99 != nil && *d.Within99 <= o.Stuck {
		s = *d.Within99
	}
	return s, false
}

func stuckPlaces(d report.Departure, o Options) (ps []Place) {
	for _, l := range d.Slowest {
		if l.Pending > 0 && d.Age > o.Stuck || l.Outcomes[ledger.Expired] > 0 || l.Landed != nil && l.Landed.Hi > o.Stuck {
			ps = append(ps, placeOf(l))
		}
	}
	return ps
}

// last is who was last beyond doubt of those that are not stuck, and the latest of all others. If nobody can be named,
// next is the value itself: nobody's absence would change it.
func last(d report.Departure, o Options, value float64) (top Place, next float64) {
	var first report.Landing
	for _, l := range d.Slowest {
		switch {
		case l.Landed == nil || l.Unusable || l.Landed.Hi > o.Stuck:
		case first.Landed == nil:
			first = l
		case placeOf(l) == placeOf(first): // its other family
			if l.Landed.Lo > first.Landed.Lo {
				first.Landed = &report.Span{Lo: l.Landed.Lo, Hi: first.Landed.Hi}
			}
		case first.Landed.Lo > l.Landed.Hi:
			return placeOf(first), l.Landed.Hi
		default:
			return Place{}, value
		}
	}
	return Place{}, value // the row lists nobody else: what the others did is not known, or there are none
}
