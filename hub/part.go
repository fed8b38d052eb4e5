package hub

import (
	"slices"
	"time"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// part is one place's share in a row: mostly a node's kube-proxy in one IP family. There may be hundreds of rows with 5,000 of them each, so
// what most places do not have is apart, and moments are the agent's in nanoseconds since 1970, 0 if unknown: 72 bytes.
type part struct {
	boot                *boot // that told it; nil: nothing was told of this place
	lo, hi              int64 // the latest of both, over the removals
	seenFirst, seenLast int64
	landed              uint32
	pending, retained   uint32
	unbounded           bool // a landing without a lower bound
	fresh               bool // something landed of which this boot saw the beginning
	rare                *rare
}

// rare is what few places have.
type rare struct {
	outcomes   outcomes // but landed
	candidates []ledger.Interval
	backend    string // if it is another than the boot said first
	was        *part  // of the boot before, if nothing was open when that ended
}

func (p *part) open() bool { return p.pending+p.retained > 0 }

func (p *part) more() *rare {
	if p.rare == nil {
		p.rare = &rare{}
	}
	return p.rare
}

// copied is one that shares with the part nothing that changes.
func (p *part) copied() part {
	c := *p
	if p.rare != nil {
		rare := *p.rare
		c.rare = &rare
	}
	return c
}

func (p *part) count(o ledger.Outcome, n uint32) {
	if o == ledger.Landed {
		p.landed += n
	} else if i := slices.Index(ledger.Outcomes, o); i >= 0 && n > 0 {
		p.more().outcomes[i] += n
	}
}

// outcomes are all of them.
func (p *part) outcomes() (o outcomes) {
	if p.rare != nil {
		o = p.rare.outcomes
	}
	o[0] = p.landed
	return o
}

func (p *part) candidates() []ledger.Interval {
	if p.rare == nil {
		return nil
	}
	return p.rare.candidates
}

// begun is the part of a boot that begins to tell of a place. It takes up what the last one left open, and says so by
// what it opens.
func (p *part) begun(b *boot) part {
	was := p
	switch {
	case p.boot == nil, p.open():
		was = nil
	case p.rare != nil && p.rare.was != nil && !p.fresh:
		was = p.rare.was // it only found gone what was gone
	}
	next := part{boot: b}
	if was != nil {
		before := *was
		next.more().was = &before
	}
	return next
}

// told is the part that counts: the boot after it may have found gone what was known to be gone.
func (p *part) told() *part {
	if p.rare != nil && p.rare.was != nil && !p.fresh && !p.open() {
		return p.rare.was
	}
	return p
}

// take applies what a line says of the place.
func (p *part) take(e *ledger.Event, s *ledger.Settled) {
	p.pending, p.retained = uint32(s.Pending), uint32(s.Retained)
	if e.Backend != p.boot.backend {
		p.more().backend = e.Backend
	}
	for o, c := range s.Outcomes {
		p.count(o, uint32(c))
	}
	if s.Outcomes[ledger.Landed] == 0 {
		return
	}
	p.fresh = p.fresh || !s.Rearmed
	if e.Lo.IsZero() && len(e.Candidates) == 0 {
		p.unbounded = true
	}
	if hi := nanos(e.Hi); hi > p.hi {
		p.hi = hi
		if len(e.Candidates) > 0 || p.rare != nil {
			p.more().candidates = e.Candidates
		}
	}
	p.lo = max(p.lo, nanos(e.Lo))
	if first := nanos(s.SeenFirst); first > 0 && (p.seenFirst == 0 || first < p.seenFirst) {
		p.seenFirst = first
	}
	p.seenLast = max(p.seenLast, nanos(s.SeenLast))
}

// nanos is a moment in nanoseconds since 1970, 0 for the zero time.
func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// outcomes counts removals by outcome, in the order of ledger.Outcomes: landed is the first.
type outcomes [7]uint32

func (o outcomes) addTo(m map[ledger.Outcome]int) {
	for i, n := range o {
		if n > 0 {
			m[ledger.Outcomes[i]] += int(n)
		}
	}
}

// families are those that parts are kept by.
var families = [2]ledger.Family{ledger.IPv4, ledger.IPv6}

// part is that of a place, which has room in the row from now on.
func (j *joiner) part(r *row, n *node, f ledger.Family, now time.Time) *part {
	i := 0
	if f == families[1] {
		i = 1
	}
	if n.number >= len(r.parts[i]) {
		more := len(j.numbered) - len(r.parts[i])
		j.room(r, more, now)
		r.parts[i] = append(r.parts[i], make([]part, more)...)
		j.held += more
	}
	return &r.parts[i][n.number]
}

// places are the parts that were told: those of every node's kube-proxy, and the others.
func (r *row) places(yield func(*part, spot) bool) {
	for i, f := range families {
		for at := range r.parts[i] {
			if p := &r.parts[i][at]; p.boot != nil && !yield(p, spot{kubeProxy, "", f}) {
				return
			}
		}
	}
	for k, p := range r.others {
		if !yield(p, spot{k.kind, k.replica, k.family}) {
			return
		}
	}
}

// maxParts bounds the parts of all rows: 180 MB.
const maxParts = 2_500_000

// room makes some for more parts: the departure that is open for longest is not waited for any longer. After a long
// pause of ours those that are open now are worth more than those of before, and what is given up says so.
func (j *joiner) room(but *row, more int, now time.Time) {
	for j.held+more > maxParts {
		var oldest *row
		for _, r := range j.rows {
			if r != but && r.frozen == nil && r.placed() && (oldest == nil || r.began().Before(oldest.began())) {
				oldest = r
			}
		}
		if oldest == nil {
			return
		}
		oldest.expected, oldest.answered = 0, 0
		for _, n := range j.nodes {
			if n.beside == "" {
				oldest.expected++
			}
		}
		for p := range oldest.places {
			if !p.open() {
				oldest.answered++
			}
		}
		oldest.missing = []report.Missing{{Place: "the others", Why: "the hub had no room to wait for them"}}
		oldest.finish(now)
		d, _ := oldest.look().build(now)
		j.freeze(oldest, d)
	}
}
