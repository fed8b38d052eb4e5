package consumer

import (
	"time"

	"github.com/lastcall-k8s/lastcall/ledger"
)

// watched is one removal under observation at one replica.
type watched struct {
	ledger.Removal
	known presence
	// activeAt: it was active at that time or later; valid if known is wasActive.
	activeAt time.Time
	gone     time.Time     // end of the first reading without it, while the API may yet say that the replica is another
	lag      time.Duration // of that reading
	sighted  bool          // in the reading that is under way
}

// presence is what is known of an address at a replica.
type presence int

const (
	neverLooked presence = iota
	wasActive
	wasNot // looked for, when it should have been there
)

func newWatched(r ledger.Removal, before sighting) *watched {
	return &watched{Removal: r, known: before.presence, activeAt: before.at}
}

func (w *watched) want() Want { return Want{Service: w.Path.Service, Family: w.Path.Family()} }

// observe takes a complete reading, and says how the removal ended if it did.
//
//	active before, not active now   landed in (start of the last reading that showed it, end of this one + lag bound]
//	looked for before and not there absent: this replica never sent anything to it
//	nobody had looked before        unknown: it may have been there until a moment ago
func (w *watched) observe(r *reading, of Kind, brokenAt time.Time) (ld ledger.Landing, ended bool) {
	if w.sighted {
		w.known, w.activeAt, w.gone = wasActive, r.started.Add(-r.answer.Age), time.Time{}
		return ld, false
	}
	ld = ledger.Landing{Key: w.Key, Seen: w.Seen, Interval: ledger.Interval{Hi: r.ended}}
	switch w.known {
	case wasNot:
		ld.Absent = true
		return ld, true
	case neverLooked:
		ld.Unknown = true
		return ld, true
	}
	if w.gone.IsZero() {
		w.gone, w.lag = r.ended, of.lagOf(w.Path.Endpoint, r.answer)
	}
	if brokenAt.After(w.activeAt) && r.ended.Sub(w.gone) < confirm {
		return ld, false
	}
	ld.Interval = ledger.Interval{Lo: w.activeAt, Hi: w.gone.Add(w.lag)}
	return ld, true
}
