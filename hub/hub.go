// Package hub joins what every node's agent saw of a departure to one row.
//
//	agent ──/v1/events──> pull ──> joiner (pure) ──> row ──> store ──> /v1, pages, /metrics
//	agent ──/v1/clock───> estimate ┘
//
// It reads the cluster's nodes and its own agents' pods from the API, and writes nothing there; package routes says what serves
// workloads.
package hub

import (
	"context"
	"io/fs"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/hub/serving"
	"github.com/lastcall-k8s/lastcall/hub/store"
)

// Config says whom to ask, and where rows go. All fields are required unless said otherwise.
type Config struct {
	Version string
	Now     func() time.Time // the hub's time, steady
	Store   *store.Store
	// Agents is how agents are spoken to: its transport verifies them, and adds the hub's token. Beside is that of those that run
	// beside a consumer; nil if there are none.
	Agents, Beside *http.Client
	// AgentPort is where every agent serves /v1.
	AgentPort int
	// Gap between one's last call and the next T0 that ends an episode.
	Gap time.Duration
	// Consumers are kinds of places that a configuration declares, beside those that are known (see Consumers).
	Consumers []string
	// Tag says what an episode was, and how the workload is configured; nil: nobody can.
	Tag func(ctx context.Context, namespace, workload string, revisions []string, begun time.Time) (report.Tag, *report.Template, error)
	// Serves says how a workload is reached, without waiting; soon: in a moment more may be known. nil: nobody is told.
	Serves func(namespace, workload string) (s serving.Serves, soon bool)
	// Served are all ways that lead to some Service, nil likewise.
	Served func() []serving.Served
	// Routes is why either may be old, nil likewise.
	Routes  func() string
	Metrics prometheus.Registerer
	Log     *slog.Logger
}

// Hub is the state that all parts share. Make one with New.
type Hub struct {
	cfg     Config
	metrics *metrics

	mu      sync.Mutex // guards what follows
	join    *joiner
	chain   *chainer
	readers map[string]*reader // by node
	wake    chan struct{}      // a reader must be started or stopped
	nextID  int64
	cursors map[string]store.Cursor // as stored
	flushed time.Time               // cursors
	resume  map[string]store.Cursor // of before this start
	unsaved []store.Landings        // of rows whose commit failed

	synced func() bool            // the Node list is complete
	listed map[string]func() bool // the pods of a namespace in which agents run beside consumers

	seen   atomic.Pointer[view]
	advice *advisor
}

// New reads where the last hub left off. It starts nothing.
func New(ctx context.Context, cfg Config) *Hub {
	h := &Hub{cfg: cfg, join: &joiner{nodes: map[string]*node{}, rows: map[string]*row{}, begun: cfg.Now(), kinds: cfg.Consumers, serves: cfg.Serves},
		readers: map[string]*reader{}, wake: make(chan struct{}, 1), cursors: map[string]store.Cursor{}, synced: func() bool { return false },
		listed: map[string]func() bool{}, advice: newAdvisor()}
	h.chain = &chainer{gap: cfg.Gap, next: h.number, open: map[workloadKey]*episode{}, of: map[string]*episode{}}
	h.metrics = newMetrics(cfg.Metrics, h)
	if id, err := cfg.Store.NextEpisodeID(ctx); err == nil {
		h.nextID = id
	}
	h.resume, _ = cfg.Store.Cursors(ctx) // without them everything that agents have is read
	h.restore(ctx)
	// Cursors stand before the first line of what was open: behind them are lines of what was complete, too.
	if p, err := cfg.Store.Departures(ctx, store.Filter{Since: cfg.Now().Add(-time.Hour), Limit: maxRows}); err == nil {
		h.join.done = map[string]bool{}
		for _, d := range p.Departures {
			if d.Complete && leaves(d.Reason) {
				h.join.done[d.UID] = true
			}
		}
	}
	return h
}

// maxUnsaved bounds what is held of landings while the store does not take them: 100 rows of 5,000 places are 40 MB.
const maxUnsaved = 100

// number is an episode's. While the store does not answer it is the time: no counting has come that far.
func (h *Hub) number() int64 {
	if h.nextID == 0 {
		h.nextID = h.cfg.Now().Unix()
	}
	h.nextID++
	return h.nextID - 1
}

// restore takes up the episodes that another departure may join.
func (h *Hub) restore(ctx context.Context) {
	open, err := h.cfg.Store.Episodes(ctx, store.EpisodeFilter{Open: true, Limit: 10_000})
	if err != nil {
		return
	}
	for _, o := range open {
		x, found, err := h.cfg.Store.Episode(ctx, o.ID, 0)
		if err != nil || !found {
			continue
		}
		e := &episode{Episode: x.Episode, members: map[string]member{}, revs: map[string]bool{}}
		if k := (workloadKey{o.Namespace, o.Workload}); h.chain.open[k] == nil {
			h.chain.open[k] = e // the newest comes first
		}
		for _, d := range x.Departures {
			h.chain.of[d.UID] = e
			end := d.T0
			if d.Grace != nil {
				end = end.Add(time.Duration(*d.Grace) * time.Second)
			}
			h.chain.join(d, end)
		}
	}
}

// Run follows the agents and keeps rows until ctx ends; then what is known is stored.
func (h *Hub) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return h.supervise(ctx) })
	g.Go(func() error { return h.compare(ctx) })
	g.Go(func() error { return h.advise(ctx) })
	g.Go(func() error { return h.cfg.Store.Run(ctx) })
	g.Go(func() error {
		t := time.NewTicker(time.Second)
		defer t.Stop()
		for {
			select {
			case <-ctx.Done():
				end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
				defer cancel()
				h.flush(end, true)
				return nil
			case <-t.C:
				h.flush(ctx, false)
			}
		}
	})
	return g.Wait()
}

// flush judges what is open and stores what changed.
func (h *Hub) flush(ctx context.Context, all bool) {
	batch, rows, episodes := h.collect(all)
	h.look()
	if len(batch.Departures)+len(batch.Landings)+len(batch.Episodes)+len(batch.Cursors) > 0 {
		err := h.cfg.Store.Commit(ctx, batch) // also if ctx ended: the last flush comes after it
		h.mu.Lock()
		for _, r := range rows {
			r.storing = false
			r.dirty = r.dirty || err != nil // kept as changed, so that they are stored when the store works again
		}
		if err != nil {
			for _, e := range episodes {
				e.dirty = true
				if k := (workloadKey{e.Namespace, e.Workload}); h.chain.open[k] == nil {
					h.chain.open[k] = e
				}
			}
			clear(h.cursors)
			h.unsaved = append(h.unsaved, batch.Landings...)
			if over := len(h.unsaved) - maxUnsaved; over > 0 {
				h.unsaved = h.unsaved[over:] // the places' quantiles lack these; the rows do not
			}
		}
		h.mu.Unlock()
		if err == nil {
			h.advice.tell(episodes)
		}
	}
	h.tag(ctx, episodes)
}

// interim bounds how many open rows one flush stores: what is open is stored now and then, for whoever comes after us.
const interim = 16

// collect makes a batch of what changed since the last.
func (h *Hub) collect(all bool) (b store.Batch, rows []*row, episodes []*episode) {
	rows, over := h.due(all)
	for _, s := range over {
		d, _ := s.build(h.cfg.Now())
		h.metrics.workloads.over(d)
	}
	for _, r := range rows {
		h.include(&b, r)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.cfg.Now()
	b.Landings = append(b.Landings, h.unsaved...)
	h.unsaved = nil
	episodes = h.chain.close(now)
	for _, e := range episodes {
		b.Episodes = append(b.Episodes, e.Episode)
	}
	// Cursors move slowly: reading a line twice changes nothing.
	if all || now.Sub(h.flushed) > 10*time.Second {
		h.flushed = now
		b.Cursors = h.moved()
	}
	return b, rows, episodes
}

// due judges all rows, forgets those that are over, of which it returns what they were, and returns those to store: every complete
// one that changed, and of the open ones those that were stored longest ago, the older the more seldom.
func (h *Hub) due(all bool) (rows []*row, over []*sight) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.cfg.Now()
	c := h.join.census(now, now.Add(joinSlack))
	var open []*row
	for uid, r := range h.join.rows {
		h.join.judge(r, c, now)
		switch {
		case r.dirty && (all || r.complete):
			rows = append(rows, r)
		case r.dirty && now.Sub(r.born) > time.Second && now.Sub(r.stored) > max(5*time.Second, now.Sub(r.born)/4):
			open = append(open, r)
		case r.over(now) && !r.dirty: // not with the change just taken: its commit may fail
			over = append(over, r.look())
			delete(h.join.rows, uid)
			delete(h.chain.of, uid)
		}
	}
	if len(open) > interim {
		slices.SortFunc(open, func(a, b *row) int { return a.stored.Compare(b.stored) })
		open = open[:interim]
	}
	h.join.forget()
	return append(rows, open...), over
}

// include puts a row into a batch.
func (h *Hub) include(b *store.Batch, r *row) {
	h.mu.Lock()
	now := h.cfg.Now()
	s := r.look()
	r.stored, r.dirty, r.storing = now, false, true
	h.mu.Unlock()
	d, places := s.build(now)
	h.mu.Lock()
	defer h.mu.Unlock()
	// Whose workload it is says the pod's own node; without it, wait as long as its agent may be slow.
	if s.own || s.complete || now.Sub(s.born) > 10*time.Second {
		if e := h.chain.join(d, s.end(s.origin())); e != nil {
			r.episode, d.Episode = e.ID, e.ID
		}
	}
	b.Departures = append(b.Departures, d)
	switch {
	case s.complete && s.frozen == nil && r.complete && r.frozen == nil: // else it began to leave for good meanwhile
		b.Landings = append(b.Landings, samples(r.pod.UID, places))
		h.join.freeze(r, d)
	case r.frozen == nil:
		r.latest = &d
	}
	if r.frozen != nil && !r.counted {
		r.counted = true
		h.metrics.departed(d)
	}
}

// moved are the cursors that changed: up to the first line of a row that is not complete.
func (h *Hub) moved() (cs []store.Cursor) {
	at := map[*node]uint64{}
	for _, n := range h.join.nodes {
		if n.boot != nil {
			at[n] = n.next
		}
	}
	for _, r := range h.join.rows {
		if r.complete {
			continue
		}
		for number, seq := range r.since {
			if n := h.join.numbered[number]; seq != 0 && seq < at[n] {
				at[n] = seq
			}
		}
	}
	for n, next := range at {
		c := store.Cursor{Node: n.key, Boot: n.boot.id, Next: next}
		if h.cursors[n.key] != c {
			h.cursors[n.key] = c
			cs = append(cs, c)
		}
	}
	return cs
}

func samples(uid string, places []placed) store.Landings {
	s := store.Landings{UID: uid}
	for _, p := range places {
		if p.known && !p.unusable {
			s.Places = append(s.Places, store.PlaceSample{Node: p.boot.node.name, Kind: p.kind, Family: p.family, Seconds: p.to})
		}
	}
	return s
}

// tag asks what the episodes were that nobody knows of yet. At most one request for each change.
func (h *Hub) tag(ctx context.Context, episodes []*episode) {
	if h.cfg.Tag == nil {
		return
	}
	for _, e := range episodes {
		h.mu.Lock()
		ask := !e.tagged
		revs := make([]string, 0, len(e.revs))
		for r := range e.revs {
			revs = append(revs, r)
		}
		e.tagged = true
		begun := e.Begun
		h.mu.Unlock()
		if !ask {
			continue
		}
		asking, cancel := context.WithTimeout(ctx, 5*time.Second) // rows must be stored, whatever the API server does
		tag, template, err := h.cfg.Tag(asking, e.Namespace, e.Workload, revs, begun)
		cancel()
		if err != nil {
			h.cfg.Log.Debug("cannot say what an episode was", "namespace", e.Namespace, "workload", e.Workload, "err", err)
			tag = e.Tag
		}
		h.mu.Lock()
		if e.Tag != tag || template != nil {
			e.Tag = tag
			if template != nil {
				template.At = h.cfg.Now()
				e.Template = template
			}
			if k := (workloadKey{e.Namespace, e.Workload}); h.chain.open[k] == e {
				e.dirty = true
			} else if h.chain.open[k] == nil {
				h.chain.open[k], e.dirty = e, true // closed meanwhile: close writes it once more
			}
		}
		h.mu.Unlock()
	}
}

// Departure is a row: as it is now if it may still change, else as it was stored.
func (h *Hub) Departure(ctx context.Context, uid string) (report.Departure, error) {
	if r := h.view().rows[uid]; r != nil {
		return h.current(r, 0), nil
	}
	d, found, err := h.cfg.Store.Departure(ctx, uid)
	if !found {
		h.mu.Lock()
		r := h.join.rows[uid] // it may have begun since
		h.mu.Unlock()
		if r != nil {
			return h.current(r, 0), nil
		}
	}
	if err == nil && !found {
		err = missingError("no departure of a pod with UID " + uid + " is kept here")
	}
	return d, err
}

// current is a row as it was within a time before now.
func (h *Hub) current(r *row, within time.Duration) report.Departure {
	h.mu.Lock()
	now := h.cfg.Now()
	if r.latest != nil && now.Sub(r.stored) < within {
		defer h.mu.Unlock()
		return *r.latest
	}
	s := r.look()
	h.mu.Unlock()
	d, _ := s.build(now)
	return d
}

// missingError is for what does not exist.
type missingError string

func (m missingError) Error() string        { return string(m) }
func (m missingError) Is(target error) bool { return target == fs.ErrNotExist }

// Explanation is an episode with its departures, worst first.
func (h *Hub) Explanation(ctx context.Context, id int64) (report.Explanation, error) {
	x, found, err := h.cfg.Store.Episode(ctx, id, 20)
	live := h.live(func(r *row) bool { return r.episode == id })
	if err != nil && len(live) == 0 {
		return x, err
	}
	h.mu.Lock()
	for _, e := range h.chain.open {
		if e.ID == id {
			x.Episode, found = e.with(live), true
		}
	}
	h.mu.Unlock()
	if !found {
		return x, missingError("no such episode is kept here")
	}
	x.Departures = merge(x.Departures, live)
	slices.SortStableFunc(x.Departures, report.Worse)
	return x, nil
}

// live are those rows in memory that match and are not stored as they are.
func (h *Hub) live(match func(*row) bool) (ds []report.Departure) {
	h.mu.Lock()
	var rows []*row
	for _, r := range h.join.rows {
		if (r.dirty || r.storing || r.frozen == nil) && match(r) {
			rows = append(rows, r)
		}
	}
	h.mu.Unlock()
	for _, r := range rows {
		ds = append(ds, h.current(r, 2*time.Second))
	}
	slices.SortFunc(ds, func(a, b report.Departure) int { return b.T0.Compare(a.T0) })
	return ds
}

// merge puts live rows over stored ones.
func merge(stored, live []report.Departure) []report.Departure {
	at := map[string]int{}
	for i, d := range stored {
		at[d.UID] = i
	}
	for _, d := range live {
		if i, ok := at[d.UID]; ok {
			stored[i] = d
		} else {
			stored = append(stored, d)
		}
	}
	return stored
}
