package probes

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/lastcall-k8s/lastcall/ledger"
)

// turn decides what time decides: connections that were never answered, suspects, and windows that are over.
func (ls *leavings) turn(now time.Time) {
	for len(ls.waiting) > 0 {
		f := ls.waiting[0]
		open := ls.flows[f.key] == f && !f.answered
		if open && now.Sub(f.at) < unanswered {
			break
		}
		ls.waiting[0], ls.waiting = nil, ls.waiting[1:]
		if open {
			f.way().Silent++
			f.refused()
			ls.forget(f)
		}
	}
	for len(ls.suspects) > 0 && now.Sub(ls.suspects[0].at) >= secondThoughts {
		s := ls.suspects[0]
		ls.suspects = ls.suspects[1:]
		if p := s.paths[s.path]; ls.byUID[s.uid] == s.leaving && p != nil && p.sure {
			s.w.AfterLanding++
			ls.afterLanding(ledger.NewConnection)
		}
	}
	if now.Sub(ls.looked) < lookGap {
		return
	}
	ls.looked = now
	for _, l := range ls.byUID {
		switch {
		case !l.calm.IsZero() && now.Sub(l.calm) >= lingers:
			ls.finish(l, now)
		case now.Sub(l.w.Since) >= longestWindow:
			l.missed(ledger.MissedAge)
			ls.finish(l, now)
		}
	}
}

// missed marks every pod that leaves now.
func (ls *leavings) missed(why ledger.Missed) {
	for _, l := range ls.byUID {
		l.missed(why)
	}
}

func (l *leaving) missed(why ledger.Missed) {
	if !slices.Contains(l.w.Incomplete, why) {
		l.w.Incomplete = append(l.w.Incomplete, why)
	}
}

// stop ends all windows.
func (ls *leavings) stop(now time.Time) {
	for _, l := range ls.byUID {
		if l.calm.IsZero() || now.Sub(l.calm) < unanswered {
			l.missed(ledger.MissedStopped)
		}
		ls.finish(l, now)
	}
}

// finish sums a pod up. A node that saw nothing and missed nothing says nothing, but for the pod's own.
func (ls *leavings) finish(l *leaving, now time.Time) {
	delete(ls.byUID, l.uid)
	for _, a := range l.addrs {
		if left := slices.DeleteFunc(ls.byAddr[a], func(o *leaving) bool { return o == l }); len(left) > 0 {
			ls.byAddr[a] = left
		} else {
			delete(ls.byAddr, a)
			ls.moved = true
		}
	}
	if l.tracked > 0 {
		maps.DeleteFunc(ls.flows, func(_ flowTuple, f *flow) bool {
			if f.leaving != l {
				return false
			}
			switch {
			case f.path != nil:
				f.path.datagrams.open++
			case l.w.Own && f.established && !f.closed:
				l.drain.Open++
			}
			return true
		})
	}
	w := l.w
	w.Until, w.Older = now, ls.older
	if l.drain.Closed+l.drain.Cut+l.drain.Open > 0 {
		w.Drain = &l.drain
	}
	w.Datagrams = l.datagrams()
	if w.Own || w.Drain != nil || w.Datagrams != nil || len(w.Incomplete) > 0 || w.AfterLanding+w.Reused+w.DNAT.New+w.Direct.New > 0 {
		ls.report(l.uid, w)
	}
}

// addresses are those whose connections are wanted.
func (ls *leavings) addresses() []netip.Addr {
	return slices.SortedFunc(maps.Keys(ls.byAddr), netip.Addr.Compare)
}
