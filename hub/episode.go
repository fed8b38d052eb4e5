package hub

import (
	"maps"
	"time"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// episode is a chain of departures of one workload that may still grow, or whose departures may still change.
type episode struct {
	report.Episode
	members map[string]member // by pod UID
	revs    map[string]bool   // revisions of the pods that left
	dirty   bool
	tagged  bool // nobody needs to be asked again
}

// member is what an episode needs of one departure.
type member struct {
	reason   ledger.Reason
	revision string
	t0, last time.Time // last call, or T0 while there is none
	end      time.Time // of the pod
	late     report.Late
	kept     bool
	pending  bool
	complete bool
	call     *report.Span
	refused  int  // connections proved lost
	witness  bool // somebody told
}

// workloadKey names a workload.
type workloadKey struct{ namespace, workload string }

// chainer puts departures into episodes.
type chainer struct {
	gap  time.Duration
	next func() int64 // a number that no episode has had
	open map[workloadKey]*episode
	of   map[string]*episode // by pod UID: what is told later of a departure belongs to the same episode, closed or not
}

// stuckFor is longer than any removal is pending: the horizon, and what it takes to be told. An episode waits no longer
// for what nobody will tell.
const stuckFor = 35 * time.Minute

// join puts a departure that leaves into its workload's episode, and returns it; nil if it belongs to none.
func (c *chainer) join(d report.Departure, end time.Time) *episode {
	if !leaves(d.Reason) || d.T0.IsZero() {
		return nil
	}
	k := workloadKey{d.Namespace, d.Workload}
	if d.Workload == "" {
		k.workload = "pod/" + d.Pod
	}
	e := c.of[d.UID]
	if e == nil || (workloadKey{e.Namespace, e.Workload}) != k {
		e = c.open[k]
	}
	if e == nil || d.T0.Sub(e.Ended) >= c.gap && e.members[d.UID] == (member{}) && !e.pendingAt(d.T0) {
		e = &episode{Episode: report.Episode{ID: c.next(), Namespace: k.namespace, Workload: k.workload, Tag: report.UnknownTag, Open: true},
			members: map[string]member{}, revs: map[string]bool{}}
		c.open[k] = e
	}
	if c.of == nil {
		c.of = map[string]*episode{}
	}
	c.of[d.UID] = e
	m := memberOf(d, end)
	if old, ok := e.members[d.UID]; !ok || old != m {
		if !ok {
			e.tagged = false
		}
		e.members[d.UID] = m
		if d.Revision != "" {
			e.revs[d.Revision] = true
		}
		e.sum()
	}
	return e
}

func memberOf(d report.Departure, end time.Time) member {
	m := member{reason: d.Reason, revision: d.Revision, t0: d.T0, last: d.T0, end: end, late: d.Late, kept: d.Kept,
		pending: d.Pending > 0, complete: d.Complete, call: d.LastCall}
	if d.Refused != nil {
		m.refused, m.witness = *d.Refused, true
	}
	if d.LastCall != nil {
		m.last = d.T0.Add(time.Duration(d.LastCall.Hi * float64(time.Second)))
	}
	return m
}

// with is the episode with some of its departures as they are now: it has them as they were stored, a second ago or more, and an
// answer must not say of the whole what its parts deny.
func (e *episode) with(live []report.Departure) report.Episode {
	c := &episode{Episode: e.Episode, members: maps.Clone(e.members)}
	for _, d := range live {
		if m, ok := c.members[d.UID]; ok && !d.T0.IsZero() {
			c.members[d.UID] = memberOf(d, m.end)
		}
	}
	c.sum()
	return c.Episode
}

// pendingAt: a last call that has not come yet is after any moment up to now.
func (e *episode) pendingAt(t time.Time) bool {
	for _, m := range e.members {
		if m.pending && t.Sub(m.t0) < stuckFor {
			return true
		}
	}
	return false
}

// sum counts an episode anew from its departures.
func (e *episode) sum() {
	e.dirty = true
	e.Left, e.Late, e.Unknown, e.Kept, e.Pending, e.LastCall, e.Worst = len(e.members), 0, 0, 0, 0, nil, ""
	e.Begun, e.Ended = time.Time{}, time.Time{}
	e.Refused = nil
	var worst float64 = -1
	evicted := 0
	for uid, m := range e.members {
		if e.Begun.IsZero() || m.t0.Before(e.Begun) {
			e.Begun = m.t0
		}
		if m.last.After(e.Ended) {
			e.Ended = m.last
		}
		switch {
		case m.kept:
			e.Kept++
		case m.late == report.Yes:
			e.Late++
		case m.late == report.Unknown:
			e.Unknown++
		}
		if m.witness {
			if e.Refused == nil {
				e.Refused = new(int)
			}
			*e.Refused += m.refused
		}
		call := 0.0
		if m.call != nil {
			call = m.call.Hi
		}
		if m.pending {
			e.Pending++
			call += 1e9 // longer than anything that has ended
		}
		if call > worst || call == worst && uid < e.Worst {
			worst, e.Worst, e.LastCall = call, uid, m.call
		}
		if m.reason == ledger.Evict {
			evicted++
		}
	}
	if 2*evicted > len(e.members) {
		e.Tag, e.tagged = report.Drain, true
	}
	e.Most = mostAtOnce(e.members)
}

// mostAtOnce is how many pods were between T0 and their end at the same time. One that ended at once was there, too.
func mostAtOnce(ms map[string]member) int {
	var stays []report.Stay
	for _, m := range ms {
		end := m.end
		if !end.After(m.t0) {
			end = m.t0.Add(time.Nanosecond)
		}
		stays = append(stays, report.Stay{From: m.t0, To: end})
	}
	return report.MostAtOnce(stays)
}

// close ends the episodes that nothing can join any more, and returns those that changed.
func (c *chainer) close(now time.Time) (changed []*episode) {
	all := map[*episode]bool{}
	for _, e := range c.open {
		all[e] = true
	}
	for _, e := range c.of { // one that was followed by another of its workload, or that learns how its pods ended
		all[e] = true
	}
	for e := range all {
		done := now.Sub(e.Ended) >= c.gap
		for _, m := range e.members {
			done = done && (m.complete && !m.pending || now.Sub(m.t0) > stuckFor)
		}
		if done && e.Open {
			e.Open, e.dirty = false, true
		}
		if k := (workloadKey{e.Namespace, e.Workload}); done && c.open[k] == e {
			delete(c.open, k)
		}
		if e.dirty {
			changed = append(changed, e)
			e.dirty = false
		}
	}
	return changed
}
