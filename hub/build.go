package hub

import (
	"cmp"
	"maps"
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

// kubeProxy is the kind of place that every node has. See Consumers for the others.
const kubeProxy = "kube-proxy"

// freeze keeps of a complete row what its places did, and drops the places: while its pod ends, which may take
// minutes, 5,000 of them would be held for nothing.
func (j *joiner) freeze(r *row, d report.Departure) {
	d.Containers, d.Told, d.ToldWhy, d.Late, d.Exposure = nil, nil, "", report.Unknown, nil
	d.Connections, d.Refused = nil, nil
	j.held -= len(r.parts[0]) + len(r.parts[1]) + othersWeigh*len(r.others)
	r.routed = r.placed()
	r.frozen, r.latest, r.parts, r.since, r.missing, r.unread = &d, nil, [2][]part{}, nil, nil, nil
	r.others, r.told, r.facts = nil, nil, nil
}

// sight is a row at one moment. A row of 5,000 places takes milliseconds to build, and every line waits for the hub's lock:
// whoever holds it takes a sight and builds it later.
type sight struct {
	row
	places []placed
}

// placed is one place's part in a row, with what was worked out of it.
type placed struct {
	*part
	spot

	known, seen      bool    // whether the following are
	from, to, seenAt float64 // seconds after T0
	err              time.Duration
	unusable         bool
}

// look takes a sight.
func (r *row) look() *sight {
	s := &sight{row: *r}
	s.since, s.ports, s.told = nil, maps.Clone(r.ports), nil
	s.others, s.facts = r.lookOthers(), maps.Clone(r.facts)
	for i := range s.parts {
		s.parts[i] = slices.Clone(r.parts[i])
		for at := range s.parts[i] {
			if s.parts[i][at].rare != nil {
				s.parts[i][at] = s.parts[i][at].copied()
			}
		}
	}
	return s
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

// after is the span from T0 to (lo, hi] of an agent's timeline, in seconds, errors of both clocks inside. On T0's own clock
// there is no error. What was gone before T0 counts 0. A lo of 0 is no bound.
func (o origin) after(b *boot, lo, hi int64) (from, to float64, err time.Duration, ok bool) {
	if !o.known {
		return 0, 0, 0, false
	}
	if b == o.boot {
		t0 := nanos(o.moment.at)
		from, to = time.Duration(lo-t0).Seconds(), time.Duration(hi-t0).Seconds()
	} else {
		at, e, ok := b.clock.Load().ours(time.Unix(0, hi))
		if !ok {
			return 0, 0, 0, false
		}
		err = e
		both := (e + o.err).Seconds()
		to = at.Sub(o.at).Seconds() + both
		from = at.Sub(o.at).Seconds() - time.Duration(hi-lo).Seconds() - both
	}
	if lo == 0 {
		from = 0
	}
	return max(from, 0), max(to, 0), err, true
}

// seconds is a moment of an agent in seconds after T0, the best guess.
func (o origin) seconds(b *boot, at int64) (float64, bool) {
	if at == 0 || !o.known || b == nil {
		return 0, false
	}
	if b == o.boot {
		return max(time.Duration(at-nanos(o.moment.at)).Seconds(), 0), true
	}
	ours, _, ok := b.clock.Load().ours(time.Unix(0, at))
	return max(ours.Sub(o.at).Seconds(), 0), ok
}

// build says what is known of a row, and of its places, the latest first.
func (s *sight) build(now time.Time) (report.Departure, []placed) {
	o := s.origin()
	if s.frozen != nil {
		d := *s.frozen
		d.Episode = s.episode
		s.stopping(o, &d)
		s.lateness(&d)
		s.connections(o, &d)
		return d, nil
	}
	d := report.Departure{UID: s.pod.UID, Namespace: s.pod.Namespace, Pod: s.pod.Name, Node: s.pod.Node, Workload: s.workload,
		Revision: s.revision, Reason: s.reason, Episode: s.episode, T0: o.at, T0Source: cmp.Or(s.source, ledger.T0Unknown), T0Error: o.err.Seconds(),
		Complete: s.complete, Kept: s.kept, Local: s.local, Proxies: s.proxies, Grace: s.grace, Expected: s.expected, Answered: s.answered, Late: report.Unknown}
	if !o.known {
		d.T0Source = ledger.T0Unknown
	}
	s.place(o, &d)
	unread := s.unread[:min(len(s.unread), maxMissing)]
	d.Missing = slices.Concat(unread, s.missing[:min(len(s.missing), maxMissing-len(unread))])
	d.MissingMore = len(s.unread) + len(s.missing) - len(d.Missing)
	for i := range s.places {
		switch p := &s.places[i]; {
		case !p.unusable:
		case len(d.Missing) < maxMissing:
			d.Missing = append(d.Missing, report.Missing{Place: p.boot.node.name, Why: "clock unusable"})
		default:
			d.MissingMore++
		}
	}
	if o.known && (!s.complete || d.Pending > 0) {
		d.Age = max(now.Sub(o.at).Seconds(), 0)
	}
	s.lastCall(&d)
	s.stopping(o, &d)
	s.lateness(&d)
	s.connections(o, &d)
	named := s.places
	if len(named) > allPlaces {
		named, d.Strip = named[:fewPlaces], s.strip() // the row is kept, 5,000 places are not
	}
	d.Slowest = make([]report.Landing, len(named))
	for i := range named {
		d.Slowest[i] = named[i].landing(d.Seen)
		d.Slowest[i].Outcomes = map[ledger.Outcome]int{}
		named[i].outcomes().addTo(d.Slowest[i].Outcomes)
	}
	return d, s.places
}

// place works out when each place let go and sorts them: those still pending first, then the latest. It sums them up in d.
func (s *sight) place(o origin, d *report.Departure) {
	kinds := map[string]*kindSum{}
	s.places = make([]placed, 0, len(s.parts[0])+len(s.parts[1])+len(s.others))
	for part, at := range s.row.places {
		p := placed{part: part.told(), spot: at}
		if p.hi != 0 && !p.open() {
			p.settle(o)
		}
		p.seenAt, p.seen = o.seconds(p.boot, p.seenLast)
		if first, ok := o.seconds(p.boot, p.seenFirst); ok && (d.Seen == nil || first < *d.Seen) {
			d.Seen = &first
		}
		if kinds[at.kind] == nil {
			kinds[at.kind] = &kindSum{}
		}
		kinds[at.kind].add(&p)
		s.places = append(s.places, p)
	}
	slices.SortFunc(s.places, func(a, b placed) int {
		return cmp.Or(cmp.Compare(b.later(), a.later()), cmp.Compare(a.boot.node.name, b.boot.node.name), a.spot.compare(b.spot))
	})
	d.Kinds = []report.Kind{}
	for _, name := range kindsInOrder(kinds) {
		k := kinds[name].report(name, s.facts[name])
		d.Pending += k.Pending + k.Retained
		d.Kinds = append(d.Kinds, k)
	}
}

// kindsInOrder: kube-proxy is first, for it is everywhere.
func kindsInOrder(kinds map[string]*kindSum) []string {
	return slices.SortedFunc(maps.Keys(kinds), func(a, b string) int {
		switch {
		case a == b:
			return 0
		case a == kubeProxy:
			return -1
		case b == kubeProxy:
			return 1
		}
		return cmp.Compare(a, b)
	})
}

// kindSum is what the places of a kind did.
type kindSum struct {
	places, pending, retained int
	outcomes                  outcomes
	lastCall                  *report.Span
}

func (k *kindSum) add(p *placed) {
	k.places++
	k.pending += int(p.pending)
	k.retained += int(p.retained)
	for i, n := range p.outcomes() {
		k.outcomes[i] += n
	}
	if p.known && !p.unusable {
		k.lastCall = latest(k.lastCall, p)
	}
}

func (k *kindSum) report(name string, f fact) report.Kind {
	out := report.Kind{Kind: name, Places: k.places, Outcomes: map[ledger.Outcome]int{}, Pending: k.pending, Retained: k.retained,
		LastCall: k.lastCall, Fidelity: f.fidelity, LagBound: f.lag}
	k.outcomes.addTo(out.Outcomes)
	return out
}

// settle works out when the place let go.
func (p *placed) settle(o origin) {
	lo := p.lo
	if p.unbounded {
		lo = 0
	} else if len(p.candidates()) > 0 {
		lo = p.sinceT0(o)
	}
	p.from, p.to, p.err, p.known = o.after(p.boot, lo, p.hi)
	p.unusable = !p.known || p.err > unusable
}

// sinceT0 is the lower bound of a landing that was learnt late: by one of the candidates, but not by one before T0.
func (p *placed) sinceT0(o origin) int64 {
	for _, c := range p.candidates() {
		if _, to, _, ok := o.after(p.boot, nanos(c.Hi), nanos(c.Hi)); ok && to > 0 {
			return nanos(c.Lo)
		}
	}
	return p.lo
}

func (p *placed) later() float64 {
	switch {
	case p.pending > 0:
		return math.Inf(1)
	case p.known:
		return p.to
	}
	return -1
}

// landing says it in the words of a report. first is when the change was first seen anywhere.
func (p *placed) landing(first *float64) report.Landing {
	l := report.Landing{Node: p.boot.node.name, Kind: p.kind, Replica: p.replica, Backend: p.boot.backend, Family: p.family, Pending: int(p.pending), Unusable: p.unusable}
	if p.rare != nil && p.rare.backend != "" {
		l.Backend = p.rare.backend
	}
	if p.known {
		l.Landed, l.ClockError = &report.Span{Lo: p.from, Hi: p.to}, p.err.Seconds()
	}
	if p.seen {
		seen := p.seenAt
		l.Seen = &seen
	}
	if p.known && p.seen && first != nil {
		api := *first
		watch := max(p.seenAt-api, 0)
		// The value is the upper end, with the clocks' error in it: it belongs to nobody's work.
		l.Stages = &report.Stages{API: min(api, p.to), Watch: min(watch, max(p.to-api, 0)), Program: max(p.to-api-watch, 0)}
	}
	return l
}

// lastCall is [max lo, max hi] over the places whose clocks can be used, and who was last.
func (s *sight) lastCall(d *report.Departure) {
	landed := 0 // those that can be used: s.places has the latest first
	for _, p := range s.places {
		if p.known && !p.unusable {
			d.LastCall = latest(d.LastCall, &p)
			landed++
		}
	}
	if landed == 0 {
		return
	}
	later := landed - int(math.Ceil(.99*float64(landed))) // than 99 %
	var last *placed
	for i := range s.places {
		p := &s.places[i]
		if !p.known || p.unusable {
			continue
		}
		if later == 0 {
			within := p.to
			d.Within99 = &within
		}
		later--
		if p.to >= d.LastCall.Lo {
			d.OneOf++
			last = p
		}
	}
	if d.Pending > 0 || ended(d, ledger.Expired)+ended(d, ledger.Gap) > 0 {
		d.OneOf = 0 // the last has not let go yet, or nobody saw when
	}
	if d.OneOf == 1 {
		straggler := last.landing(d.Seen)
		d.Straggler = &straggler
	}
}

// latest is [max lo, max hi] with another place.
func latest(s *report.Span, p *placed) *report.Span {
	if s == nil {
		return &report.Span{Lo: p.from, Hi: p.to}
	}
	s.Lo, s.Hi = max(s.Lo, p.from), max(s.Hi, p.to)
	return s
}

// strip is the distribution over time.
func (s *sight) strip() *report.Strip {
	longest := 0.0
	for _, p := range s.places {
		if p.known {
			longest = max(longest, p.to)
		}
	}
	x := &report.Strip{Width: max(longest, 1e-3) / stripCells, Counts: make([]int, stripCells)}
	for _, p := range s.places {
		if p.known {
			i := int(math.Ceil(p.to/x.Width)) - 1
			x.Counts[min(max(i, 0), stripCells-1)]++
		}
	}
	return x
}
