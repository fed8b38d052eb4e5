package main

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
)

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
			// The canary is still there and waits to be removed.
			short, cancel := context.WithTimeout(context.WithoutCancel(ctx), unfinished)
			defer cancel()
			r.whole(short, current.rows)
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
				r.whole(ctx, current.rows)
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
	if err := r.leave(ctx, c.serving[:n]); err != nil {
		return t, fmt.Errorf("delete pods of the canary: %w", err)
	}
	return t, nil
}

// more lets as many serve as should, if fewer do.
func (r *trialRun) more(ctx context.Context, c crowd) error {
	add := c.waiting[:max(0, min(len(c.waiting), r.pods-len(c.serving)))]
	if len(add) == 0 {
		return nil
	}
	return r.serve(ctx, add)
}

// listen asks the hub for the trial's rows.
func (r *trialRun) listen(ctx context.Context, t *trial) {
	if rows, ok := r.departures(ctx, r.canary.namespace, time.Since(t.begun)); ok {
		t.take(rows, time.Now())
	}
}

// pause waits, or returns the reason why it did not.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
