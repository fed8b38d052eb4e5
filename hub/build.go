package hub

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// What a row says of places one by one.
const (
	allPlaces  = 64 // up to so many are all listed
	fewPlaces  = 32 // of more, the latest
	stripCells = 64
	maxMissing = 20
)

// kubeProxy is the one kind of place so far.
const kubeProxy = "kube-proxy"

// freeze keeps of a complete row what its places did, and drops the places: while its pod ends, which may take
// minutes, 5,000 of them would be held for nothing.
func (r *row) freeze(d report.Departure) {
	d.Containers, d.Told, d.ToldWhy, d.Late, d.Exposure = nil, nil, "", report.Unknown, nil
	r.frozen, r.parts, r.since, r.routed = &d, nil, nil, len(r.parts) > 0
}

// origin is T0 in our time.
type origin struct {
	moment
	at    time.Time
	err   time.Duration
	known bool
}

func (r *row) origin() origin {
	if at, err, ok := r.t0.ours(); ok {
		return origin{r.t0, at, err, true}
	}
	if !r.fixed.IsZero() {
		// True T0 is in [x, x+1 s), by a clock that nobody compared with ours.
		return origin{at: r.fixed, err: time.Second, known: true}
	}
	return origin{}
}

// after is the span from T0 to (lo, hi] of a part, in seconds, errors of both clocks inside. On T0's own clock there is
// no error. What was gone before T0 counts 0.
func (o origin) after(n *node, boot string, lo, hi time.Time) (s report.Span, err time.Duration, ok bool) {
	if !o.known {
		return s, 0, false
	}
	if n == o.node && boot == o.boot {
		s = report.Span{Lo: lo.Sub(o.moment.at).Seconds(), Hi: hi.Sub(o.moment.at).Seconds()}
	} else {
		at, e, ok := moment{n, boot, hi}.ours()
		if !ok {
			return s, 0, false
		}
		err = e
		both := (e + o.err).Seconds()
		s.Hi = at.Sub(o.at).Seconds() + both
		s.Lo = at.Sub(o.at).Seconds() - hi.Sub(lo).Seconds() - both
	}
	if lo.IsZero() {
		s.Lo = 0
	}
	s.Lo, s.Hi = max(s.Lo, 0), max(s.Hi, 0)
	return s, err, true
}

// build says what is known of a row.
func (r *row) build(now time.Time) (report.Departure, []report.Landing) {
	o := r.origin()
	if r.frozen != nil {
		d := *r.frozen
		d.Episode = r.episode
		r.stopping(o, &d)
		r.lateness(&d)
		return d, nil
	}
	d := report.Departure{UID: r.pod.UID, Namespace: r.pod.Namespace, Pod: r.pod.Name, Node: r.pod.Node, Workload: r.workload,
		Revision: r.revision, Reason: r.reason, Episode: r.episode, T0: o.at, T0Source: cmp.Or(r.source, ledger.T0Unknown), T0Error: o.err.Seconds(),
		Complete: r.complete, Kept: r.kept, Grace: r.grace, Expected: r.expected, Answered: r.answered, Late: report.Unknown}
	if !o.known {
		d.T0Source = ledger.T0Unknown
	}
	landings := r.landings(o, &d)
	d.Missing = slices.Clone(r.missing)
	for _, l := range landings {
		if l.Unusable {
			d.Missing = append(d.Missing, report.Missing{Place: l.Node, Why: "clock unusable"})
		}
	}
	if n := len(d.Missing); n > maxMissing {
		d.Missing, d.MissingMore = d.Missing[:maxMissing], n-maxMissing
	}
	if o.known && (!r.complete || d.Pending > 0) {
		d.Age = max(now.Sub(o.at).Seconds(), 0)
	}
	r.lastCall(&d, landings)
	r.stopping(o, &d)
	r.lateness(&d)
	d.Slowest = landings
	if len(landings) > allPlaces {
		d.Slowest, d.Strip = slices.Clone(landings[:fewPlaces]), strip(landings) // the row is kept, 5,000 places are not
	}
	return d, landings
}

// landings are the places' shares, the latest first; those still pending before all.
func (r *row) landings(o origin, d *report.Departure) []report.Landing {
	kind := report.Kind{Kind: kubeProxy, Outcomes: map[ledger.Outcome]int{}}
	var first *float64
	type placed struct {
		report.Landing
		part *part
	}
	ls := make([]placed, 0, len(r.parts))
	for k, p := range r.parts {
		if p.was != nil && !p.fresh && p.open == (ledger.Open{}) {
			p = p.was // the boot after it found gone what was known to be gone
		}
		kind.Places++
		kind.Pending += p.open.Pending
		kind.Retained += p.open.Retained
		d.Pending += p.open.Pending + p.open.Retained
		p.outcomes.addTo(kind.Outcomes)
		l := report.Landing{Node: k.node.name, Kind: kubeProxy, Backend: p.backend, Family: k.family, Pending: p.open.Pending}
		if !p.hi.IsZero() && p.open == (ledger.Open{}) {
			lo := p.lo
			if p.unbounded {
				lo = time.Time{}
			} else if len(p.candidates) > 0 {
				lo = sinceT0(p, o, k.node)
			}
			if s, err, ok := o.after(k.node, p.boot, lo, p.hi); ok {
				l.Landed = &s
				l.ClockError, l.Unusable = err.Seconds(), err > unusable
			} else {
				l.Unusable = true
			}
		}
		if s, ok := r.seconds(o, k.node, p.boot, p.seenLast); ok {
			l.Seen = &s
		}
		if s, ok := r.seconds(o, k.node, p.boot, p.seenFirst); ok && (first == nil || s < *first) {
			first = &s
		}
		ls = append(ls, placed{l, p})
	}
	d.Seen = first
	for i := range ls {
		if l := &ls[i]; l.Landed != nil && l.Seen != nil && first != nil {
			api := *first
			watch := max(*l.Seen-*first, 0)
			// The value is the upper end, with the clocks' error in it: it belongs to nobody's work.
			l.Stages = &report.Stages{API: min(api, l.Landed.Hi), Watch: min(watch, max(l.Landed.Hi-api, 0)), Program: max(l.Landed.Hi-api-watch, 0)}
		}
	}
	slices.SortFunc(ls, func(a, b placed) int {
		return cmp.Or(cmp.Compare(later(b.Landing), later(a.Landing)), cmp.Compare(a.Node, b.Node), cmp.Compare(a.Family, b.Family))
	})
	named := len(ls) // of these the row says more
	if named > allPlaces {
		named = fewPlaces
	}
	sorted := make([]report.Landing, len(ls))
	for i, l := range ls {
		sorted[i] = l.Landing
		if i < named {
			sorted[i].Outcomes = map[ledger.Outcome]int{}
			l.part.outcomes.addTo(sorted[i].Outcomes)
		}
	}
	d.Kinds = []report.Kind{}
	if kind.Places > 0 {
		d.Kinds = append(d.Kinds, kind)
	}
	return sorted
}

// sinceT0 is the lower bound of a landing that was learnt late: by one of the candidates, but not by one before T0.
func sinceT0(p *part, o origin, n *node) time.Time {
	for _, c := range p.candidates {
		if s, _, ok := o.after(n, p.boot, c.Hi, c.Hi); ok && s.Hi > 0 {
			return c.Lo
		}
	}
	return p.lo
}

func later(l report.Landing) float64 {
	switch {
	case l.Pending > 0:
		return math.Inf(1)
	case l.Landed != nil:
		return l.Landed.Hi
	}
	return -1
}

// seconds is a moment of an agent in seconds after T0, the best guess.
func (r *row) seconds(o origin, n *node, boot string, t time.Time) (float64, bool) {
	if t.IsZero() || !o.known {
		return 0, false
	}
	if n == o.node && boot == o.boot {
		return max(t.Sub(o.moment.at).Seconds(), 0), true
	}
	at, _, ok := moment{n, boot, t}.ours()
	return max(at.Sub(o.at).Seconds(), 0), ok
}

// lastCall is [max lo, max hi] over the places whose clocks can be used, and who was last.
func (r *row) lastCall(d *report.Departure, ls []report.Landing) {
	var his []float64
	for _, l := range ls {
		if l.Landed == nil || l.Unusable {
			continue
		}
		if d.LastCall == nil {
			d.LastCall = &report.Span{}
		}
		d.LastCall.Lo, d.LastCall.Hi = max(d.LastCall.Lo, l.Landed.Lo), max(d.LastCall.Hi, l.Landed.Hi)
		his = append(his, l.Landed.Hi)
	}
	if len(his) == 0 {
		return
	}
	slices.Sort(his)
	within := his[int(math.Ceil(.99*float64(len(his))))-1]
	d.Within99 = &within
	if d.Pending > 0 || ended(d, ledger.Expired)+ended(d, ledger.Gap) > 0 {
		return // the last has not let go yet, or nobody saw when
	}
	var last report.Landing
	for _, l := range ls {
		if l.Landed != nil && !l.Unusable && l.Landed.Hi >= d.LastCall.Lo {
			d.OneOf++
			last = l
		}
	}
	if d.OneOf == 1 {
		d.Straggler = &last
	}
}

func strip(ls []report.Landing) *report.Strip {
	longest := 0.0
	for _, l := range ls {
		if l.Landed != nil {
			longest = max(longest, l.Landed.Hi)
		}
	}
	s := &report.Strip{Width: max(longest, 1e-3) / stripCells, Counts: make([]int, stripCells)}
	for _, l := range ls {
		if l.Landed != nil {
			i := int(math.Ceil(l.Landed.Hi/s.Width)) - 1
			s.Counts[min(max(i, 0), stripCells-1)]++
		}
	}
	return s
}
