package ledger

import (
	"slices"
	"sync"
	"time"
)

// Config holds the ledger's limits and where it writes. Zero fields take the defaults.
type Config struct {
	// Place is the place kind of every removal here, for example "kube-proxy".
	Place string
	// Replica names the place if its kind has several on this node, for example "ingress/traefik-x7k2p".
	Replica string
	// Backend is the dataplane that programs it, for example "nftables".
	Backend string
	// Families that the probe measures. A path of another family has no place here: it opens no removal.
	Families []Family
	// Horizon is how long a removal may stay routed before it ends as expired. Default 30 min.
	Horizon time.Duration
	// MaxOpen bounds the removals held at once, expired ones that are still watched included; more
	// than that end as gap at once, so that memory stays bounded. Default 50,000 (about 20 MiB).
	MaxOpen int
	Metrics *Metrics
	Events  *Ring
}

// Ledger holds the open removals of one place and settles each of them once.
// Its methods may be called from any goroutine; they do not block on I/O.
type Ledger struct {
	cfg Config

	mu     sync.Mutex
	open   map[Key]*entry
	shares map[share]*Open // while the pod has open removals there
	seen   map[Family]bool // families that had a removal
	untold untold
}

// share is what a pod has of this place: the removals of one family.
type share struct {
	uid    string
	family Family
}

func shareOf(k Key) share { return share{k.UID, k.Path.Family()} }

// entry is one open removal.
type entry struct {
	Removal
	state state
}

type state int

const (
	pending  state = iota // not expected any more, still to land
	retained              // kept on purpose while its pod leaves
	expired               // settled as expired, still watched for a late landing
)

// New returns an empty ledger.
func New(cfg Config) *Ledger {
	if cfg.Horizon == 0 {
		cfg.Horizon = 30 * time.Minute
	}
	if cfg.MaxOpen == 0 {
		cfg.MaxOpen = 50_000
	}
	l := &Ledger{cfg: cfg, open: map[Key]*entry{}, shares: map[share]*Open{}, seen: map[Family]bool{},
		untold: untold{leaving: map[string]Leaving{}, opened: map[share]*opened{}}}
	cfg.Metrics.open.watch(l)
	return l
}

// Apply takes what the watcher learnt, in its order, and returns what the probe must do about
// it: the removals to watch until they land, and the keys to stop watching.
func (l *Ledger) Apply(changes []Change) (watch []Removal, forget []Key) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.newBatch()
	for _, c := range changes {
		switch {
		case c.Departed != nil:
			l.untold.leaving[c.Departed.Pod.UID] = c.Departed.leaving()
		case c.Farewell != nil:
			l.cfg.Events.farewell(*c.Farewell, c.At)
		case c.Left != nil && !l.measured(c.Left.Path), c.Retained != nil && !l.measured(c.Retained.Path):
		case c.Left != nil:
			if l.left(b, *c.Left, c) {
				watch = append(watch, *c.Left)
			}
		case c.Retained != nil:
			l.retain(b, *c.Retained, c)
		case c.Returned != nil:
			l.end(b, *c.Returned, Restored, c.At)
			forget = append(forget, *c.Returned) // also one that has landed: it is no resurrection
		case c.Superseded != nil:
			l.end(b, *c.Superseded, Replaced, c.At)
			forget = append(forget, *c.Superseded)
		case c.Excluded:
			for k := range l.open {
				l.end(b, k, Excluded, c.At)
				forget = append(forget, k)
			}
		}
	}
	for _, c := range changes {
		if c.Departed != nil && !l.untold.names(b, c.Departed.Pod.UID) {
			delete(l.untold.leaving, c.Departed.Pod.UID)
			l.cfg.Events.departure(*c.Departed, c.At)
		}
	}
	b.publish(l)
	// A path may leave and be taken by another pod in one and the same event.
	watch = slices.DeleteFunc(watch, func(r Removal) bool { return l.open[r.Key] == nil })
	return watch, forget
}

// Dataplane says which backend programs the place from now on, and which families of it are measured: none, if it is one
// that cannot be. What is open stays open, for the place is the same; but what is of a family that is not measured any
// more ends as gap, and is returned for the probe to forget.
func (l *Ledger) Dataplane(backend string, measured []Family, at time.Time) (forget []Key) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tell() // by the old name
	b := l.newBatch()
	for k := range l.open {
		if !slices.Contains(measured, k.Path.Family()) {
			l.end(b, k, Gap, at)
			forget = append(forget, k)
		}
	}
	b.publish(l)
	if len(forget) > 0 {
		l.cfg.Metrics.Lost("dataplane", 1)
	}
	l.cfg.Backend, l.cfg.Families = backend, measured
	if len(measured) == 0 {
		l.cfg.Metrics.Unmeasured(backend)
		return forget
	}
	l.cfg.Metrics.Dataplane(backend, measured)
	for f := range l.seen {
		l.cfg.Metrics.opened(f)
	}
	return forget
}

// measured reports whether the path has a place here, and starts the series of its family.
func (l *Ledger) measured(p Path) bool {
	f := p.Family()
	if !slices.Contains(l.cfg.Families, f) {
		return false
	}
	if !l.seen[f] {
		l.seen[f] = true
		l.cfg.Metrics.opened(f)
	}
	return true
}

// left opens a pending removal, or turns a retained one into a pending one.
// It reports whether the probe must watch it.
func (l *Ledger) left(b *batch, r Removal, c Change) bool {
	e := l.open[r.Key]
	if e != nil && e.state == expired {
		l.close(e) // its outcome stands; this is another removal
		e = nil
	}
	begun := e == nil
	if begun {
		if l.full(b, r.Key, c) {
			return false
		}
		e = &entry{}
		l.open[r.Key] = e
	} else {
		l.tally(r.Key, e.state, -1)
	}
	e.Removal, e.state = r, pending
	l.tally(r.Key, pending, +1)
	l.untold.open(r.Key, c, begun)
	return true
}

// full ends a new removal as gap if there is no room for it: memory is bounded, and what does not fit is
// said, not dropped.
func (l *Ledger) full(b *batch, k Key, c Change) bool {
	if len(l.open) < l.cfg.MaxOpen {
		return false
	}
	l.cfg.Metrics.Lost("capacity", 1)
	l.untold.open(k, c, true)
	l.count(b, k, Gap, c.At)
	return true
}

// retain opens a removal in the retained state: it is expected here although its pod leaves.
func (l *Ledger) retain(b *batch, r Removal, c Change) {
	if _, ok := l.open[r.Key]; ok || l.full(b, r.Key, c) {
		return
	}
	l.open[r.Key] = &entry{Removal: r, state: retained}
	l.tally(r.Key, retained, +1)
	l.untold.open(r.Key, c, true)
}

// end settles an open removal that no landing will settle any more.
func (l *Ledger) end(b *batch, k Key, o Outcome, at time.Time) {
	e := l.open[k]
	if e == nil {
		return
	}
	l.close(e)
	if e.state != expired {
		l.count(b, k, o, at)
	}
}

// Land takes what one verify pass of a probe found.
func (l *Ledger) Land(landings []Landing) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.newBatch()
	for _, ld := range landings {
		e := l.open[ld.Key]
		switch {
		case e == nil || e.state == retained || !e.Seen.Equal(ld.Seen):
			// The watcher ended it (restored, superseded, expected again) while the probe was reading.
		case e.state == expired:
			l.close(e)
			l.cfg.Metrics.lateLanding()
			b.late(e.Removal, ld)
		case ld.Absent:
			l.close(e)
			l.count(b, ld.Key, Absent, ld.Hi)
		case ld.Unknown:
			l.close(e)
			l.count(b, ld.Key, Gap, ld.Hi)
		default:
			l.close(e)
			l.cfg.Metrics.landed(e.Removal, ld)
			b.landed(e.Removal, ld)
		}
	}
	b.publish(l)
}

// Resurrected takes the keys of paths that landed and are routed again although nobody expects them.
func (l *Ledger) Resurrected(keys []Key, at time.Time) {
	l.cfg.Metrics.resurrected(len(keys))
	for _, k := range keys {
		l.cfg.Events.resurrection(k, at)
	}
}

// Blind ends every pending removal as gap: the probe lost what it had recorded, and can give no bound.
func (l *Ledger) Blind(source string, at time.Time) (forget []Key) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.newBatch()
	l.cfg.Metrics.Lost(source, 1)
	for k, e := range l.open {
		if e.state != retained {
			l.end(b, k, Gap, at)
			forget = append(forget, k)
		}
	}
	b.publish(l)
	return forget
}

// Expire settles what has been pending for the horizon. Such a removal stays watched, so that a
// late landing is told and the oldest-pending gauge goes on alerting.
func (l *Ledger) Expire(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.newBatch()
	for k, e := range l.open {
		if e.state != pending || now.Sub(e.Seen) < l.cfg.Horizon {
			continue
		}
		l.tally(k, pending, -1)
		e.state = expired
		l.count(b, k, Expired, now)
	}
	b.publish(l)
	l.tell()
}

// Tell writes what was opened and is not written yet. Before a reader is told which state of the API was applied, it must
// know what that state opened.
func (l *Ledger) Tell() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tell()
}

// Close takes a ledger out of the gauges: its place has ended, and with it, by Excluded, what was open.
func (l *Ledger) Close() { l.cfg.Metrics.open.forget(l) }

// Stop writes the last event: what this agent leaves open. An agent that starts again on this
// node re-arms the same removals, so they are not settled here.
func (l *Ledger) Stop(at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tell()
	l.cfg.Events.stop(l.counts(), at)
}

// Open is how many removals are pending and how many retained.
func (l *Ledger) Open() (pending, retained int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.counts() {
		pending += c.Pending
		retained += c.Retained
	}
	return pending, retained
}

func (l *Ledger) counts() map[string]Open {
	m := make(map[string]Open, len(l.shares))
	for s, c := range l.shares {
		sum := m[s.uid]
		m[s.uid] = Open{sum.Pending + c.Pending, sum.Retained + c.Retained}
	}
	return m
}

// pendingByFamily is how many removals of a family are pending, since when the oldest is still routed,
// and whether there ever was one.
func (l *Ledger) pendingByFamily(f Family) (n int, oldest time.Time, ever bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for k, e := range l.open {
		if e.state == retained || k.Path.Family() != f {
			continue
		}
		if e.state == pending {
			n++
		}
		if seen := e.Seen; oldest.IsZero() || seen.Before(oldest) {
			oldest = seen
		}
	}
	return n, oldest, l.seen[f]
}

// close takes an entry out of the books.
func (l *Ledger) close(e *entry) {
	delete(l.open, e.Key)
	if e.state != expired {
		l.tally(e.Key, e.state, -1)
	}
}

// tally keeps the count of what is open per pod and family.
func (l *Ledger) tally(k Key, s state, n int) {
	at := shareOf(k)
	c := l.shares[at]
	if c == nil {
		c = &Open{}
		l.shares[at] = c
	}
	switch s {
	case pending:
		c.Pending += n
	case retained:
		c.Retained += n
	}
	if *c == (Open{}) {
		delete(l.shares, at)
	}
}

// count gives a removal its one outcome.
func (l *Ledger) count(b *batch, k Key, o Outcome, at time.Time) {
	l.cfg.Metrics.outcome(k.Path.Family(), o)
	b.outcome(k, o, at)
}
