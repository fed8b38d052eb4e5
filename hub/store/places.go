package store

import (
	"cmp"
	"context"
	"database/sql"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// Places says how every place that landed something did, sorted by name: Node, Kind, Family, P50, P99, Samples,
// Last and LastBy. The rest of a report.Place is for who knows the present.
//
// It is answered from memory, 10,000 places in 20 ms, also while the file cannot be used. It covers the time of
// retention and up to a quarter more. A quantile is at most 9.1 % too large and never too small.
func (s *Store) Places() []report.Place { return s.places.list() }

// placeKey is one place. It is comparable, and holds no more than a sample says.
type placeKey struct {
	node, kind string
	family     ledger.Family
}

// places sums up what each place did. Memory is the truth and the file a copy that may be flushAfter old: at 5,000
// places and 10 departures/s every one of them changes all the time, and writing 5,000 rows with each commit would
// write 1 MB/s of log for numbers that are read once a minute.
//
// Who writes holds the store's lock; mu is for readers.
type places struct {
	width time.Duration // of a span; 0 is for ever

	mu      sync.Mutex
	of      map[placeKey]*place
	changed []*span // since they were last written, in the order in which they changed
}

type place struct {
	placeKey
	id    int64   // in the file, 0 if it is not there yet
	spans []*span // oldest first
}

// span is what a place did in a stretch of time. Spans are dropped whole.
type span struct {
	place        *place
	since, until int64 // s since 1970
	landed       histogram
	last         int            // how often it was the straggler
	lastBy       map[string]int // nil until there is something
	changed      time.Time      // zero: the file has it
}

const (
	spansPerRetention = 4
	flushAfter        = 10 * time.Second
	flushAtOnce       = 2000 // spans in one commit, 20 ms
)

func newPlaces(retention time.Duration) *places {
	p := &places{of: map[placeKey]*place{}}
	if retention > 0 {
		p.width = max(retention/spansPerRetention, time.Hour)
	}
	return p
}

// landed counts a place's landing.
func (p *places) landed(k placeKey, seconds float64, now time.Time) {
	sp := p.at(k, now)
	sp.landed.observe(seconds)
}

// straggled counts n times that a place was last. n is negative if a row named another one before; that one may
// have been counted in an earlier span, so a span's counts may be negative.
func (p *places) straggled(s straggler, n int, now time.Time) {
	sp := p.at(s.placeKey, now)
	sp.last += n
	if s.stage != "" {
		if sp.lastBy == nil {
			sp.lastBy = map[string]int{}
		}
		sp.lastBy[s.stage] += n
	}
}

// at returns the place's present span and notes that it changes.
func (p *places) at(k placeKey, now time.Time) *span {
	pl := p.of[k]
	if pl == nil {
		pl = &place{placeKey: k}
		p.of[k] = pl
	}
	var sp *span
	if n := len(pl.spans); n > 0 && pl.spans[n-1].until > now.Unix() {
		sp = pl.spans[n-1]
	} else {
		sp = &span{place: pl, until: math.MaxInt64}
		if w := int64(p.width / time.Second); w > 0 {
			sp.since = now.Unix() - now.Unix()%w
			sp.until = sp.since + w
		}
		pl.spans = append(pl.spans, sp)
	}
	if sp.changed.IsZero() {
		sp.changed = now
		p.changed = append(p.changed, sp)
	}
	return sp
}

// overdue are the spans that should be written now.
func (p *places) overdue(now time.Time) []*span {
	n := 0
	for n < len(p.changed) && n < flushAtOnce && now.Sub(p.changed[n].changed) >= flushAfter {
		n++
	}
	return p.changed[:n]
}

// flush writes spans, which are the first of changed.
func (p *places) flush(t *transaction, spans []*span) error {
	ids := map[*place]int64{}
	for _, sp := range spans {
		if err := t.ended(); err != nil {
			return err
		}
		id := cmp.Or(sp.place.id, ids[sp.place])
		if id == 0 {
			k := sp.place.placeKey
			if err := t.queryRow(t.put.place, k.node, k.kind, string(k.family)).Scan(&id); err != nil {
				return err
			}
			ids[sp.place] = id
		}
		if _, err := t.exec(t.put.span, id, sp.since, sp.until, sp.landed.bytes(), sp.landed.max, sp.last,
			sp.lastBy["api"], sp.lastBy["watch"], sp.lastBy["program"]); err != nil {
			return err
		}
	}
	t.onCommit(func() {
		for pl, id := range ids {
			pl.id = id
		}
		for _, sp := range spans {
			sp.changed = time.Time{}
		}
		p.changed = slices.Delete(p.changed, 0, len(spans))
	})
	return nil
}

// load replaces what is in memory by what the file has.
func (p *places) load(ctx context.Context, db *sql.DB) error {
	rows, err := db.QueryContext(ctx, `SELECT id, node, kind, family, since, until, landed, max, last, api, watch, program
		FROM places JOIN place_spans ON place = id ORDER BY since`)
	if err != nil {
		return err
	}
	defer rows.Close()
	of := map[placeKey]*place{}
	for rows.Next() {
		var k placeKey
		var id int64
		var counts []byte
		var largest float64
		var api, watch, program int
		sp := &span{}
		if err := rows.Scan(&id, &k.node, &k.kind, &k.family, &sp.since, &sp.until, &counts, &largest,
			&sp.last, &api, &watch, &program); err != nil {
			return err
		}
		if sp.landed, err = parseHistogram(counts, largest); err != nil {
			return err
		}
		if api != 0 || watch != 0 || program != 0 {
			sp.lastBy = map[string]int{"api": api, "watch": watch, "program": program}
		}
		if of[k] == nil {
			of[k] = &place{placeKey: k, id: id}
		}
		sp.place = of[k]
		of[k].spans = append(of[k].spans, sp)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.of, p.changed = of, nil
	return nil
}

// forget deletes up to limit spans that ended before the cutoff, and places that have no other.
func (p *places) forget(t *transaction, cutoff time.Time, limit int) (more bool, err error) {
	old := func(sp *span) bool { return sp.until <= cutoff.Unix() }
	var touched []*place
	n := 0
	for _, pl := range p.of {
		if n >= limit {
			break
		}
		ended := 0
		for ended < len(pl.spans) && old(pl.spans[ended]) {
			ended++
		}
		if ended == 0 {
			continue
		}
		n += ended
		touched = append(touched, pl)
		q, args := "DELETE FROM place_spans WHERE place = ? AND until <= ?", []any{pl.id, cutoff.Unix()}
		if ended == len(pl.spans) {
			q, args = "DELETE FROM places WHERE id = ?", args[:1] // with its spans
		}
		if _, err := t.tx.ExecContext(t.never, q, args...); err != nil {
			return false, err
		}
	}
	t.onCommit(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, pl := range touched {
			if pl.spans = slices.DeleteFunc(pl.spans, old); len(pl.spans) == 0 {
				delete(p.of, pl.placeKey)
			}
		}
		if len(touched) > 0 {
			p.changed = slices.DeleteFunc(p.changed, old)
		}
	})
	return n >= limit, nil
}

func (p *places) list() []report.Place {
	p.mu.Lock()
	list := make([]report.Place, 0, len(p.of))
	for k, pl := range p.of {
		var h histogram
		out := report.Place{Node: k.node, Kind: k.kind, Family: k.family}
		by := map[string]int{}
		for _, sp := range pl.spans {
			h.merge(sp.landed)
			out.Last += sp.last
			for stage, n := range sp.lastBy {
				by[stage] += n
			}
		}
		if out.Samples = h.count(); out.Samples > 0 {
			p50, p99 := h.quantile(.5), h.quantile(.99)
			out.P50, out.P99 = &p50, &p99
		}
		out.Last = max(out.Last, 0)
		for stage, n := range by {
			if n > 0 {
				if out.LastBy == nil {
					out.LastBy = map[string]int{}
				}
				out.LastBy[stage] = n
			}
		}
		list = append(list, out)
	}
	p.mu.Unlock()
	slices.SortFunc(list, func(a, b report.Place) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Family, b.Family))
	})
	return list
}
