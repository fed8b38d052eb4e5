package hub

import (
	"slices"
	"time"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// witnessed is what the nodes' connection tracking showed of one row. It never changes: another line makes another one, so
// that rows can be built from it without a lock.
type witnessed struct {
	own []ownWitness // of the pod's own node, one of each boot of its agent
	// others are the connections that other nodes sent to the pod by their own rules.
	others            ledger.Flows
	datagrams         ledger.Datagrams // of all nodes; each sees those that its own rules sent
	cleared           moment
	last, lastRefused moment
	after, reused     int
	missed            []ledger.Missed
}

type ownWitness struct {
	boot *boot
	ledger.Witness
}

const (
	// maxOwn bounds how many windows of the pod's own node a row holds: an agent that restarts begins another.
	maxOwn = 4
	// witnessWait is how long after a pod's end, and after its last landing, the witnesses are waited for: their windows end
	// 12 s after it (probes, lingers).
	witnessWait = 20 * time.Second
)

// witness takes in what one node's witness summed up.
func (j *joiner) witness(n *node, e *ledger.Event) {
	r := j.rows[e.UID]
	if r == nil {
		if !j.done[e.UID] {
			j.unknown++
		}
		return
	}
	j.first(r, n, e.Seq)
	r.dirty = true
	w := witnessed{}
	if r.witness != nil {
		w = *r.witness
	}
	add := e.Witness
	if add.Own && n.name == r.pod.Node && len(w.own) < maxOwn {
		w.own = append(slices.Clone(w.own), ownWitness{n.boot, *add})
	} else {
		w.others.New += add.DNAT.New
		w.others.Reset += add.DNAT.Reset
		w.others.Silent += add.DNAT.Silent
	}
	w.last = w.last.orLater(moment{n.boot, add.Last})
	w.lastRefused = w.lastRefused.orLater(moment{n.boot, add.LastRefused})
	if d := add.Datagrams; d != nil {
		w.datagrams.New += d.New
		w.datagrams.Open += d.Open
		w.cleared = w.cleared.orLater(moment{n.boot, d.Cleared})
	}
	w.after += add.AfterLanding
	w.reused += add.Reused
	for _, m := range add.Incomplete {
		if !slices.Contains(w.missed, m) {
			w.missed = append(slices.Clone(w.missed), m)
		}
	}
	r.witness = &w
}

// orLater is the later of two moments, by what their clocks show if they cannot be compared.
func (m moment) orLater(o moment) moment {
	a, _, ok1 := m.ours()
	b, _, ok2 := o.ours()
	if !ok1 || !ok2 {
		a, b = m.at, o.at
	}
	if b.After(a) {
		return o
	}
	return m
}

// connections says what the witnesses showed, once d says when the pod was told to stop.
func (r *row) connections(o origin, d *report.Departure) {
	w := r.witness
	if w == nil {
		return
	}
	c := &report.Connections{Own: len(w.own) > 0, AfterLanding: w.after, Reused: w.reused, Unwitnessed: r.unwitnessed}
	var dnat, direct ledger.Flows
	for _, own := range w.own {
		dnat = plus(dnat, own.DNAT)
		direct = plus(direct, own.Direct)
		c.Older = c.Older || own.Older
	}
	// What another node translated comes to the pod's node with the pod's address: each of the two is a part of the same
	// whole, and the larger is a lower bound of it.
	c.New = dnat.New + max(direct.New, w.others.New)
	c.DNAT = dnat.New + w.others.New
	c.Direct = c.New - c.DNAT
	c.Reset = dnat.Reset + max(direct.Reset, w.others.Reset)
	c.Silent = dnat.Silent + max(direct.Silent, w.others.Silent)
	c.Last = o.since(w.last)
	c.LastRefused = o.since(w.lastRefused)
	if w.datagrams.New > 0 {
		c.Datagrams = &report.Datagrams{New: w.datagrams.New, Cleared: o.since(w.cleared), Open: w.datagrams.Open}
	}
	for _, m := range w.missed {
		c.Incomplete = append(c.Incomplete, string(m))
	}
	slices.Sort(c.Incomplete)
	r.toldToStop(o, d, c)
	d.Connections = c
	if refused := c.Reset + c.Silent; c.Own || refused > 0 {
		d.Refused = &refused
	}
}

// toldToStop counts on the pod's own node what began, and what ended, after the pod was told to stop.
func (r *row) toldToStop(o origin, d *report.Departure, c *report.Connections) {
	count := func(own ownWitness, s *ledger.Series) (least, most int) {
		if s == nil || d.Told == nil {
			return 0, 0
		}
		start, err, ok := o.offset(moment{own.boot, s.Start})
		if !ok {
			return 0, total(s)
		}
		at := func(told float64) time.Time { return s.Start.Add(time.Duration((told - start) * float64(time.Second))) }
		return s.After(at(d.Told.Lo-err), at(d.Told.Hi+err))
	}
	later := func(is *float64, own ownWitness, at time.Time) *float64 {
		if s := o.since(moment{own.boot, at}); s != nil && (is == nil || *s > *is) {
			return s
		}
		return is
	}
	var began, ended, cut report.Bounds
	for _, own := range r.witness.own {
		least, most := count(own, own.Began)
		began.Least, began.Most = began.Least+least, began.Most+most
		if own.Drain == nil {
			continue
		}
		if c.Drain == nil {
			c.Drain = &report.Draining{}
		}
		c.Drain.Closed += own.Drain.Closed
		c.Drain.Cut += own.Drain.Cut
		c.Drain.Unended += own.Drain.Open
		c.Drain.Last = later(c.Drain.Last, own, own.Drain.Last)
		c.Drain.LastAccepted = later(c.Drain.LastAccepted, own, own.Drain.Accepted)
		least, most = count(own, own.Drain.Resets)
		cut.Least, cut.Most = cut.Least+least, cut.Most+most
		least, most = count(own, own.Drain.Ended)
		ended.Least, ended.Most = ended.Least+least, ended.Most+most+own.Drain.Open
	}
	if d.Told != nil && c.Own {
		c.AfterTold = &began
		if c.Drain != nil {
			c.Drain.OpenAtTold, c.Drain.CutAfterTold = &ended, &cut
		}
	}
}

func plus(a, b ledger.Flows) ledger.Flows {
	return ledger.Flows{New: a.New + b.New, Reset: a.Reset + b.Reset, Silent: a.Silent + b.Silent}
}

func total(s *ledger.Series) (n int) {
	for _, c := range s.Counts {
		n += c
	}
	return n
}

// offset is a moment in seconds after T0, negative before it, and the error of that.
func (o origin) offset(m moment) (seconds, err float64, ok bool) {
	if !o.known || m.boot == nil || m.at.IsZero() {
		return 0, 0, false
	}
	if m.boot == o.boot {
		return m.at.Sub(o.moment.at).Seconds(), 0, true
	}
	at, e, ok := m.ours()
	return at.Sub(o.at).Seconds(), (e + o.err).Seconds(), ok
}

// since is a moment in seconds after T0, nil if it is not known.
func (o origin) since(m moment) *float64 {
	s, _, ok := o.offset(m)
	if !ok {
		return nil
	}
	s = max(s, 0)
	return &s
}

var missedWords = []ledger.Missed{ledger.MissedRate, ledger.MissedOverrun, ledger.MissedCapacity, ledger.MissedAge, ledger.MissedStopped, ledger.MissedError}

// implausibleWitness says what is wrong with a witness line: what it holds is kept with the row.
func implausibleWitness(e *ledger.Event, ahead func(time.Time) bool) string {
	w := e.Witness
	if w == nil || e.UID == "" || len(e.UID) > 512 {
		return "a witness of nothing"
	}
	ds := ledger.Drain{}
	if w.Drain != nil {
		ds = *w.Drain
	}
	udp := ledger.Datagrams{}
	if w.Datagrams != nil {
		udp = *w.Datagrams
	}
	for _, n := range []int{udp.New, udp.Open, w.DNAT.New, w.DNAT.Reset, w.DNAT.Silent, w.Direct.New, w.Direct.Reset, w.Direct.Silent,
		w.AfterLanding, w.Reused, ds.Closed, ds.Cut, ds.Open} {
		if n < 0 || n > 1e9 {
			return "a count that is none"
		}
	}
	for _, s := range []*ledger.Series{w.Began, ds.Ended, ds.Resets} {
		if s == nil {
			continue
		}
		if len(s.Counts) > ledger.SeriesCells || !(s.Width > 0 && s.Width < 1e6) || ahead(s.Start) || slices.ContainsFunc(s.Counts, func(n int) bool { return n < 0 || n > 1e9 }) {
			return "a series that is none"
		}
	}
	if ahead(udp.Cleared) || ahead(w.Last) || ahead(w.LastRefused) || ahead(ds.Last) || ahead(ds.Accepted) {
		return "a moment to come"
	}
	if slices.ContainsFunc(w.Incomplete, func(m ledger.Missed) bool { return !slices.Contains(missedWords, m) }) || len(w.Incomplete) > len(missedWords) {
		return "a reason that this hub does not know"
	}
	return ""
}
