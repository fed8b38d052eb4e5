package hub

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/hub/sizing"
	"github.com/lastcall-k8s/lastcall/hub/store"
)

// advisor sizes all workloads, one after the other and in the background: 100,000 rows are 16 s of reading. Nothing in
// it is done under the hub's lock.
type advisor struct {
	mu      sync.Mutex // guards what follows
	of      map[workloadKey]*advised
	pool    sizing.Pool
	pooled  int       // episodes in it
	made    time.Time // when it was
	dropped int
	closed  map[workloadKey][]int64 // episodes that ended since they were last looked at
	again   map[workloadKey]bool    // something of it was told since

	most    int           // workloads that are sized
	reading chan struct{} // held by who reads a history, so that one at a time is in memory
}

// advised is what is kept of a workload.
type advised struct {
	sizing.Advice
	account sizing.Account
	taken   []sizing.Taken
	read    time.Time // when its history was last read, zero if never
	pooled  int       // how many episodes the pool had then
	tested  []int64   // the last episodes that were held against the recommendation before them
	test    sizing.Backtest
}

const (
	// maxAdvised bounds the workloads that are sized: those that nothing has left for longest are dropped. An advice is 3 KB, and
	// it has six series.
	maxAdvised = 8000
	// maxPooled episodes of a workload, the newest, are pooled, and maxPoints drawn; fewer where all workloads together would have
	// more than maxPooledOfAll, 1 KB each, or maxPointsOfAll, 100 bytes each.
	maxPooled      = 30
	maxPooledOfAll = 60_000
	maxPoints      = 100
	maxPointsOfAll = 200_000
	// maxTested episodes are known to have been tested: what is told later of one, within minutes, does not test it again.
	maxTested = 100
	// A workload is sized by its newest episodes, and no more than so many pods.
	maxEpisodes = 1000
	maxMembers  = 10_000
	// adviceEvery is how often advise looks for what is to be done. After each workload it rests adviceRest times as long as
	// that took: a fifth of a core, and pages, which wait for the same processors, never wait for many workloads.
	adviceEvery = 10 * time.Second
	adviceRest  = 4
	// adviceAge is when an advice is worked out again though nothing of its workload has changed: the pool and the window move.
	adviceAge = 10 * time.Minute
	// poolEvery is how old a pool gets: making one of 100,000 episodes takes 0.4 s.
	poolEvery = time.Minute
	// latestPlaces of a row are enough for sizing.
	latestPlaces = 5
)

func newAdvisor() *advisor {
	return &advisor{of: map[workloadKey]*advised{}, closed: map[workloadKey][]int64{}, again: map[workloadKey]bool{}, most: maxAdvised, reading: make(chan struct{}, 1)}
}

// tell notes the episodes that ended, or that were over already and of which something changed.
func (a *advisor) tell(episodes []*episode) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, e := range episodes {
		k := workloadKey{e.Namespace, e.Workload}
		if e.Open || !sized(k) {
			continue
		}
		a.again[k] = true
		if ids := a.closed[k]; !slices.Contains(ids, e.ID) {
			a.closed[k] = append(ids[max(0, len(ids)-maxPooled):], e.ID)
		}
	}
}

// sized: a pod that nothing owns leaves once. The canary of `measure` is no workload, and in a pool its trials, one episode of 90 s
// that is the worst of 38, would stand for a rollout.
func sized(k workloadKey) bool {
	return !strings.HasPrefix(k.workload, "pod/") && !report.IsCanary(k.workload)
}

// advise works until ctx ends.
func (h *Hub) advise(ctx context.Context) error {
	t := time.NewTicker(adviceEvery)
	defer t.Stop()
	for {
		if err := h.adviseFor(ctx, adviceEvery); err != nil && ctx.Err() == nil {
			h.cfg.Log.Debug("cannot size workloads", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

// adviseFor works on what waits longest, for so long or until all is done, and rests in between.
func (h *Hub) adviseFor(ctx context.Context, work time.Duration) error {
	begun := h.cfg.Now()
	todo, err := h.toAdvise(ctx, begun)
	if err != nil {
		return err
	}
	for _, k := range todo {
		if h.cfg.Now().Sub(begun) > work || ctx.Err() != nil {
			break
		}
		started := h.cfg.Now()
		if e := h.adviseOne(ctx, k); e != nil {
			err = e // one that cannot be read is tried again; it does not hold up the others
		}
		select {
		case <-ctx.Done():
		case <-time.After(adviceRest * h.cfg.Now().Sub(started)):
		}
	}
	if begun.Sub(h.advice.made) >= poolEvery { // only this goroutine makes one
		h.advice.repool(begun)
	}
	return err
}

// toAdvise are the workloads to be read: what changed first, then what was never read, then what was read longest ago.
func (h *Hub) toAdvise(ctx context.Context, now time.Time) (todo []workloadKey, err error) {
	list, err := h.cfg.Store.Workloads(ctx)
	if err != nil {
		return nil, err
	}
	list = slices.DeleteFunc(list, func(w store.Workload) bool { return !sized(workloadKey{w.Namespace, w.Workload}) })
	slices.SortFunc(list, func(a, b store.Workload) int {
		return cmp.Or(b.Newest.Compare(a.Newest), strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Workload, b.Workload))
	})
	a := h.advice
	a.mu.Lock()
	defer a.mu.Unlock()
	a.dropped = max(0, len(list)-a.most)
	list = list[:len(list)-a.dropped]
	kept := map[workloadKey]*advised{}
	for _, w := range list {
		k := workloadKey{w.Namespace, w.Workload}
		is := a.of[k]
		if is == nil {
			is = &advised{}
		}
		kept[k] = is
		// One that rests on others, or might, is looked at again when there are half as many more of them.
		lent := is.Basis == sizing.BasisNone || is.Basis == sizing.BasisPool
		if a.again[k] || now.Sub(is.read) >= adviceAge || lent && a.pooled > is.pooled+is.pooled/2 {
			todo = append(todo, k)
		}
	}
	a.of = kept
	for k := range a.again {
		if kept[k] == nil {
			delete(a.again, k)
			delete(a.closed, k)
		}
	}
	slices.SortStableFunc(todo, func(x, y workloadKey) int {
		rank := func(k workloadKey) int {
			if a.again[k] {
				return 0
			}
			return 1
		}
		return cmp.Or(rank(x)-rank(y), kept[x].read.Compare(kept[y].read))
	})
	return todo, nil
}

// adviseOne sizes a workload by its episodes that have ended.
func (h *Hub) adviseOne(ctx context.Context, k workloadKey) error {
	a := h.advice
	a.mu.Lock()
	closed := a.closed[k]
	delete(a.again, k)
	delete(a.closed, k)
	pool, pooled, was := a.pool, a.pooled, a.of[k]
	lent, drawn := min(maxPooled, maxPooledOfAll/len(a.of)), min(maxPoints, maxPointsOfAll/len(a.of))
	a.mu.Unlock()
	undo := func() { // so that nothing is forgotten
		a.mu.Lock()
		defer a.mu.Unlock()
		a.again[k] = true
		a.closed[k] = append(closed, a.closed[k]...)
	}
	if err := a.begin(ctx); err != nil {
		undo()
		return err
	}
	defer a.end()
	in, of, err := h.history(ctx, k, time.Time{}, false)
	if err != nil {
		undo()
		return err
	}
	now := *was // only this goroutine changes it
	now.pooled = pooled
	now.taken = now.taken[:0:0]
	for _, e := range in.Episodes {
		// Not by number: one with a stuck place ends after those that follow it.
		if id := e.Episode.ID; slices.Contains(closed, id) && !slices.Contains(now.tested, id) {
			now.test.Test(in, pool, sizing.Options{}, e)
			now.tested = append(slices.Clone(now.tested[max(0, len(now.tested)-maxTested):]), id)
		}
	}
	for _, e := range in.Episodes[max(0, len(in.Episodes)-lent):] {
		if t, ok := sizing.Take(e, sizing.Options{}); ok {
			now.taken = append(now.taken, t)
		}
	}
	now.Advice = sizing.Advise(in, pool, sizing.Options{})
	now.account = sizing.AccountOf(in, pool, sizing.Options{}, now.Recommendation, drawn)
	now.AsOf, now.Template, now.read = of.at, of.template, h.cfg.Now()
	if now.test.Tested+now.test.Without+now.test.Outside+now.test.Unknown > 0 {
		test := now.test
		test.Worst = slices.Clone(test.Worst)
		now.Backtest = &test
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	*was = now
	return nil
}

// begin waits for the turn to hold a history in memory.
func (a *advisor) begin(ctx context.Context) error {
	select {
	case a.reading <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (a *advisor) end() { <-a.reading }

// repool makes the pool of what was taken.
func (a *advisor) repool(now time.Time) {
	a.mu.Lock()
	all := a.takenSince(time.Time{})
	a.mu.Unlock()
	pool := sizing.PoolOfTaken(all, sizing.Options{})
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pool, a.pooled, a.made = pool, len(all), now
}

func (a *advisor) takenSince(since time.Time) (all []sizing.Taken) {
	for _, w := range a.of {
		for _, t := range w.taken {
			if !t.Begun().Before(since) {
				all = append(all, t)
			}
		}
	}
	return all
}

// Advices are what all workloads should sleep, as of when each was last worked out.
func (h *Hub) Advices() sizing.Advices {
	a := h.advice
	a.mu.Lock()
	defer a.mu.Unlock()
	var read []*advised
	for _, w := range a.of {
		if !w.read.IsZero() {
			read = append(read, w)
		}
	}
	slices.SortFunc(read, func(x, y *advised) int { // not the advices: each is a kilobyte
		return cmp.Or(strings.Compare(x.Namespace, y.Namespace), strings.Compare(x.Workload, y.Workload))
	})
	all := sizing.Advices{Items: make([]sizing.Advice, 0, len(read)), Read: len(read), Of: len(a.of), Dropped: a.dropped}
	for _, w := range read {
		all.Items = append(all.Items, w.Advice)
	}
	return all
}

// Ask is what somebody wants to know of one workload.
type Ask struct {
	Namespace, Workload string
	Since               time.Time // of the episodes, and of the pool
	Live                *sizing.Live
	sizing.Options
}

// Advice sizes one workload now, with the episode that may still go on.
func (h *Hub) Advice(ctx context.Context, q Ask) (sizing.Advice, error) {
	k := workloadKey{q.Namespace, q.Workload}
	a := h.advice
	if err := a.begin(ctx); err != nil {
		return sizing.Advice{}, err
	}
	defer a.end()
	in, of, err := h.history(ctx, k, q.Since, true)
	switch {
	case err != nil:
		return sizing.Advice{}, err
	case len(in.Episodes) == 0:
		return sizing.Advice{}, missingError("no pod of " + q.Workload + " in namespace " + q.Namespace + " has left while lastcall watched")
	}
	if q.Live != nil {
		in.Workload = q.Live.Workload(q.Namespace, q.Workload, last(in))
	}
	a.mu.Lock()
	pool := a.pool
	if !q.Since.IsZero() {
		pool = sizing.PoolOfTaken(a.takenSince(q.Since), q.Options)
	}
	var test *sizing.Backtest
	if w := a.of[k]; w != nil {
		test = w.Backtest
	}
	a.mu.Unlock()
	v := sizing.Advise(in, pool, q.Options)
	v.AsOf, v.Template, v.Live, v.Backtest = of.at, of.template && q.Live == nil, q.Live != nil, test
	return v, nil
}

// last are the containers of the newest pod that left.
func last(in sizing.Input) (cs []report.Container) {
	var at time.Time
	for _, e := range in.Episodes {
		for _, d := range e.Departures {
			if len(d.Containers) > 0 && !d.T0.Before(at) {
				cs, at = d.Containers, d.T0
			}
		}
	}
	return cs
}
