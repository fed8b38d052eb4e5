package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/lastcall-k8s/lastcall/hub/report"
)

// trial is one deletion, or one burst.
type trial struct {
	kind  trialKind
	begun time.Time
	uids  []string                    // of the pods that were deleted
	rows  map[string]report.Departure // of those that the hub has told of
	t0    map[string]time.Time        // by our clock, no earlier than it was
	ended time.Time                   // zero: it did not, in the time there was
}

func newTrial(k trialKind, pods []corev1.Pod, begun time.Time) *trial {
	t := &trial{kind: k, begun: begun, rows: map[string]report.Departure{}, t0: map[string]time.Time{}}
	for _, p := range pods {
		t.uids = append(t.uids, string(p.UID))
	}
	return t
}

// take takes in what the hub told of departures at a moment of our clock. The hub's clock may show anything, so its T0 is placed by
// how old the row says it is, or by when it was first told.
func (t *trial) take(rows []report.Departure, heard time.Time) {
	for _, d := range rows {
		if !slices.Contains(t.uids, d.UID) {
			continue
		}
		t.rows[d.UID] = d
		at := heard.Add(-inSeconds(d.Age))
		if old, ok := t.t0[d.UID]; !ok || at.Before(old) {
			t.t0[d.UID] = at
		}
	}
}

// settled: everybody has answered for all of its pods.
func (t *trial) settled() bool {
	for _, uid := range t.uids {
		if d, ok := t.rows[uid]; !ok || !d.Complete {
			return false
		}
	}
	return true
}

// landed is when the last place had let go, by our clock, and no earlier than that was.
func (t *trial) landed() (last time.Time) {
	for uid, d := range t.rows {
		at := t.t0[uid]
		if d.LastCall != nil {
			at = at.Add(inSeconds(d.LastCall.Hi))
		}
		if at.After(last) {
			last = at
		}
	}
	return last
}

// longest is the worst last call so far.
func (t *trial) longest() (s float64) {
	for _, d := range t.rows {
		if d.LastCall != nil {
			s = max(s, d.LastCall.Hi)
		}
	}
	return s
}

func inSeconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// trialRun makes the trials.
type trialRun struct {
	*measure
	*canary
	*asker
	live *live

	serves map[string]time.Time // by pod UID, since when it serves
	made   int                  // pods
	ready  time.Time            // when the first trial could begin
	done   []*trial
	took   time.Duration
}

const (
	tick = 150 * time.Millisecond
	// startTime is how long the first pods may take to become ready: an image may have to be pulled.
	startTime = 2 * time.Minute
	// looked is how long a pod serves before it may leave, where places are read only after endpoints were added (4 s after:
	// probes/consumer, settle). Who was not seen active before cannot be said to have landed.
	looked = 6 * time.Second
	// least is how many pods go on serving while others leave: of the last one kube-proxy would not let go.
	least = 2
	// unfinished is how long the last trial may take beyond the time for trials.
	unfinished = 5 * time.Second
	// blind is how long the API server may be away.
	blind = 30 * time.Second
)

// stock is how many pods wait, ready to serve: those that a burst replaces, one for a single pod that left before it, and some that are
// still starting.
func (r *trialRun) stock() int { return r.burstSize + 2 }

// crowd is the canary's pods by what they do.
type crowd struct{ serving, waiting, starting []corev1.Pod }

func (r *trialRun) crowd(pods []corev1.Pod) (c crowd) {
	for _, p := range pods {
		_, serves := r.serves[string(p.UID)]
		switch {
		case p.DeletionTimestamp != nil, p.Status.Phase == corev1.PodFailed, p.Status.Phase == corev1.PodSucceeded:
		case serves:
			c.serving = append(c.serving, p)
		case unready(p) == "":
			c.waiting = append(c.waiting, p)
		default:
			c.starting = append(c.starting, p)
		}
	}
	slices.SortStableFunc(c.serving, func(a, b corev1.Pod) int { return r.serves[string(a.UID)].Compare(r.serves[string(b.UID)]) })
	return c
}

// refill makes as many pods as are wanted and are not there. A pod that fails is replaced, but not for ever.
func (r *trialRun) refill(ctx context.Context, c crowd, want int) error {
	for n := len(c.serving) + len(c.waiting) + len(c.starting); n < want; n++ {
		if most := r.pods + r.stock() + r.trials*(r.burstSize+1) + 50; r.made >= most {
			return fmt.Errorf("%d pods were made and they do not last: %s", r.made, whyNot(c))
		}
		r.made++
		if err := r.add(ctx); err != nil {
			return err
		}
	}
	return nil
}

// whyNot is what the first of the pods that start waits for.
func whyNot(c crowd) string {
	for _, p := range c.starting {
		return p.Name + ": " + unready(p)
	}
	return "they end at once"
}

// prepare makes the canary and waits until it serves.
func (r *trialRun) prepare(ctx context.Context) error {
	r.live.say("Making %d pods of image %s in namespace %s.", r.pods+r.stock(), r.canary.image, r.canary.namespace)
	if err := r.canary.make(ctx); err != nil {
		return err
	}
	late := time.Now().Add(startTime)
	for {
		pods, err := r.canary.list(ctx)
		if err != nil {
			return err
		}
		c := r.crowd(pods)
		if err := r.refill(ctx, c, r.pods+r.stock()); err != nil {
			return err
		}
		if len(c.waiting) >= r.pods+r.burstSize {
			return r.begin(ctx, c.waiting[:r.pods])
		}
		if time.Now().After(late) {
			return fmt.Errorf("after %v %d of %d pods of the canary are ready: %s\nIts image (%s) must be one that has `lastcall canary`; --image chooses another",
				startTime, len(c.waiting), r.pods+r.stock(), whyNot(c), r.canary.image)
		}
		r.live.now("%d of %d pods are ready", len(c.waiting), r.pods+r.stock())
		if err := pause(ctx, tick); err != nil {
			return err
		}
	}
}

// begin lets the first pods serve.
func (r *trialRun) begin(ctx context.Context, pods []corev1.Pod) error {
	if err := r.serve(ctx, pods); err != nil {
		return err
	}
	r.ready = time.Now()
	return nil
}

// serve lets pods serve and notes since when.
func (r *trialRun) serve(ctx context.Context, pods []corev1.Pod) error {
	if err := r.canary.serve(ctx, pods); err != nil {
		return err
	}
	for _, p := range pods {
		r.serves[string(p.UID)] = time.Now()
	}
	return nil
}

// trial makes one trial after the other until there are enough, or the time is over.
func (r *trialRun) trial(ctx context.Context) error {
	r.live.say("Deleting them, for %v: one by one, and %d at once just after others began to serve.", r.lasts, r.burstSize)
	var (
		p       = newPlan(r.trials)
		begun   = time.Now()
		end     = begun.Add(r.lasts)
		quiet   = r.ready // since when nothing of ours has happened
		current *trial
		sight   = begun // when the API server answered last
	)
	defer func() {
		r.took = time.Since(begun)
		if current != nil {
			r.done = append(r.done, current)
		}
	}()
	for {
		wait := tick
		if left := time.Until(quiet.Add(restTime)); current == nil && left > 0 {
			wait = min(wait, left)
		}
		if err := pause(ctx, wait); err != nil {
			return err
		}
		if current != nil {
			r.listen(ctx, current)
			switch {
			case current.settled():
				current.ended = time.Now()
				if at := current.landed(); at.After(quiet) {
					quiet = at
				}
				p.add(current.kind, max(quiet.Add(restTime).Sub(current.begun), current.ended.Sub(current.begun)))
				r.done = append(r.done, current)
				current = nil
			case time.Now().After(end.Add(unfinished)):
				return nil
			}
		}
		pods, err := r.canary.list(ctx)
		if err != nil {
			if ctx.Err() == nil && time.Since(sight) < blind {
				continue
			}
			return err
		}
		sight = time.Now()
		c := r.crowd(pods)
		if err := r.refill(ctx, c, r.pods+r.stock()); err != nil {
			return err
		}
		r.tell(p, current, c, time.Since(begun))
		if current != nil || time.Since(quiet) < restTime {
			continue
		}
		k, ok := p.next(time.Until(end))
		if !ok {
			return nil
		}
		if current, err = r.start(ctx, k, c); err != nil {
			return err
		}
		if current == nil {
			quiet = r.newest(quiet) // others may have begun to serve
		}
	}
}

// newest is when a pod began to serve last, if that is after a moment.
func (r *trialRun) newest(since time.Time) time.Time {
	for _, at := range r.serves {
		if at.After(since) {
			since = at
		}
	}
	return since
}

// start begins a trial, or does what it takes for one and returns nil.
func (r *trialRun) start(ctx context.Context, k trialKind, c crowd) (*trial, error) {
	n := 1
	if k == burst {
		n = r.burstSize
	}
	// Who leaves has served longest.
	if len(c.serving) < n || r.others() && time.Since(r.serves[string(c.serving[n-1].UID)]) < looked {
		return nil, r.more(ctx, c)
	}
	switch {
	case k == burst && len(c.waiting) < n:
		return nil, nil // until they are ready
	case k == burst:
		if err := r.serve(ctx, c.waiting[:min(len(c.waiting), max(r.pods+n-len(c.serving), 0))]); err != nil {
			return nil, err
		}
	case len(c.serving)-n < least:
		return nil, r.more(ctx, c)
	}
	t := newTrial(k, c.serving[:n], time.Now())
	for _, uid := range t.uids {
		delete(r.serves, uid)
	}
	return t, answeredDelete(r.leave(ctx, c.serving[:n]))
}

// more lets as many serve as should, if fewer do.
func (r *trialRun) more(ctx context.Context, c crowd) error {
	add := c.waiting[:max(0, min(len(c.waiting), r.pods-len(c.serving)))]
	if len(add) == 0 {
		return nil
	}
	return r.serve(ctx, add)
}

func answeredDelete(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("delete pods of the canary: %w", err)
}

// listen asks the hub for the trial's rows.
func (r *trialRun) listen(ctx context.Context, t *trial) {
	if rows, ok := r.departures(ctx, r.canary.namespace, time.Since(t.begun)); ok {
		t.take(rows, time.Now())
	}
}

// tell shows how far it is.
func (r *trialRun) tell(p *plan, current *trial, c crowd, since time.Duration) {
	what := ""
	if n := len(r.done); n > 0 {
		last := r.done[n-1]
		longest := 0.0
		for _, t := range r.done {
			longest = max(longest, t.longest())
		}
		what = fmt.Sprintf(", last %s, longest %s", report.Seconds(last.longest()), report.Seconds(longest))
	}
	switch {
	case current != nil && time.Since(current.begun) > 3*time.Second:
		what += ", waiting for " + pendingAt(current)
	case current == nil && len(c.waiting) == 0 && len(c.starting) > 0:
		what += ", waiting for pods to become ready"
	}
	r.live.now("%d of %d s: %d bursts, %d single%s", int(since.Seconds()), int(r.lasts.Seconds()), p.done[burst], p.done[single], what)
}

// pendingAt is who has not let go, or that nobody says so.
func pendingAt(t *trial) string {
	for _, d := range t.rows {
		for _, l := range d.Slowest {
			if l.Pending > 0 {
				return report.Shorten(either(l.Replica, l.Node), 40)
			}
		}
		if !d.Complete && d.Answered < d.Expected {
			return "all nodes to answer"
		}
	}
	return "the hub"
}

// pause waits, or returns the reason why it did not.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return errors.Join(ctx.Err())
	case <-time.After(d):
		return nil
	}
}
