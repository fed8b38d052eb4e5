package store

import (
	"time"

	"github.com/lastcall-k8s/lastcall/ledger"
)

// stored is what a row in the file is weighed by against a new one of the same pod.
type stored struct {
	id       int64
	at       time.Time
	reason   ledger.Reason
	complete bool
	settled  int
	lastCall *float64
	last     *straggler
	counted  bool // the landings of its places are in the histograms
}

// verdict says what a new row of a pod does to the stored one.
type verdict int

const (
	keep    verdict = iota // the stored row stays
	improve                // the new row is the same departure and knows no less
	succeed                // the new row is a later departure of the same pod
)

// weigh decides whether a new row of a pod replaces the stored one. After a kill the hub reads old lines again and
// may see of a departure only what came after its cursors; such a row must not replace one that knows more.
//
//   - A pod that leaves (delete, evict ...) beats one that was only taken out of Services (unready, selector,
//     vanished): the same pod, better understood.
//   - A pod that does not leave may go and come back often. One that goes after the stored one's last call has
//     gone again: no line about the stored departure can say so, since every T0 in its lines is before its landings.
//   - Else a complete row beats one that is not, and of two alike the one with more settled removals; of two that
//     know the same the later one, which may have learnt how the containers ended.
func weigh(old stored, r row) verdict {
	was, is := leaves(old.reason), leaves(r.Reason)
	after := old.complete && old.lastCall != nil && !r.T0.IsZero() && r.T0.Sub(old.at).Seconds() > *old.lastCall
	switch {
	case was && !is:
		return keep
	case !was && after:
		return succeed
	case !was && is:
		return improve
	case r.Complete != old.complete:
		if r.Complete {
			return improve
		}
		return keep
	case r.settled < old.settled:
		return keep
	}
	return improve
}

// leaves: the pod ends, it is not only taken out of Services.
func leaves(r ledger.Reason) bool {
	return r != ledger.Unready && r != ledger.Selector && r != ledger.Vanished
}
