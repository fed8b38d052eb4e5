//go:build linux

package restarts

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lastcall-k8s/lastcall/ledger"
)

const (
	// after is how long clients are heeded after a landing: a request that reaches the pod so late contradicts it. HAProxy asks
	// for its servers each second, so whoever took HAProxy's next answer for the landing would be found out.
	after = 2 * time.Second
	// keep is how long requests are remembered: longer than any restart takes.
	keep = 2 * time.Minute
	// patience is how long anything may take on a machine that does much else.
	patience = 90 * time.Second
)

// Result is what restarts gave.
type Result struct {
	Samples []Sample
	// Without counts removals that could not be compared, by the place's kind and why.
	Without map[string]map[string]int
}

// Add takes another result in.
func (r *Result) Add(more Result) {
	r.Samples = append(r.Samples, more.Samples...)
	for kind, why := range more.Without {
		for w, n := range why {
			r.without(kind, w, n)
		}
	}
}

func (r *Result) without(kind, why string, n int) {
	if r.Without == nil {
		r.Without = map[string]map[string]int{}
	}
	if r.Without[kind] == nil {
		r.Without[kind] = map[string]int{}
	}
	r.Without[kind][why] += n
}

// leaving is a pod that is taken away, at t0 or later.
type leaving struct {
	*corev1.Pod
	t0 time.Time
}

// One restarts the pod that is there for longest, and no other.
func (b *Bed) One(ctx context.Context) (Result, error) {
	pods, err := b.ready(ctx)
	if err != nil {
		return Result{}, err
	}
	oldest := slices.MinFunc(pods, func(x, y corev1.Pod) int {
		return x.CreationTimestamp.Compare(y.CreationTimestamp.Time)
	})
	if err := b.lookedAt(ctx, oldest); err != nil {
		return Result{}, err
	}
	t0 := time.Now()
	if err := b.Client().CoreV1().Pods(oldest.Namespace).Delete(ctx, oldest.Name, metav1.DeleteOptions{}); err != nil {
		return Result{}, err
	}
	return b.compare(ctx, false, leaving{&oldest, t0})
}

// All restarts the Deployment: every pod, in a burst.
func (b *Bed) All(ctx context.Context) (Result, error) {
	pods, err := b.ready(ctx)
	if err != nil {
		return Result{}, err
	}
	if err := b.lookedAt(ctx, pods...); err != nil {
		return Result{}, err
	}
	patch := fmt.Sprintf(`{"spec":{"template":{"metadata":{"annotations":{"restarted":%q}}}}}`, time.Now())
	if _, err := b.Client().AppsV1().Deployments("default").Patch(ctx, "web", types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		return Result{}, err
	}
	all := make([]leaving, len(pods))
	for i := range pods {
		t0, err := b.departed(ctx, pods[i].UID)
		if err != nil {
			return Result{}, err
		}
		all[i] = leaving{&pods[i], t0}
	}
	return b.compare(ctx, true, all...)
}

// departed is when the agent of the pod's own node learnt that it leaves.
func (b *Bed) departed(ctx context.Context, uid types.UID) (t0 time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	e, err := b.onNode.Await(ctx, func(e ledger.Event) bool { return e.Type == ledger.EventDeparture && e.Pod.UID == string(uid) })
	return e.T0, err
}

// compare waits until pods that leave have landed everywhere, and holds each landing against its truth.
func (b *Bed) compare(ctx context.Context, burst bool, pods ...leaving) (r Result, err error) {
	type landing struct {
		*place
		leaving
		ledger.Event
	}
	var landed []landing
	var latest time.Time
	for _, p := range b.places {
		for _, pod := range pods {
			e, outcome, err := p.settles(ctx, string(pod.UID))
			if err != nil {
				return r, err
			}
			if outcome != ledger.Landed {
				r.without(p.kind, "ended as "+string(outcome), 1)
				continue
			}
			landed = append(landed, landing{p, pod, e})
			if e.Hi.After(latest) {
				latest = e.Hi
			}
		}
	}
	if _, err := b.ready(ctx); err != nil { // the next pods are there
		return r, err
	}
	if err := sleep(ctx, time.Until(latest.Add(after))); err != nil {
		return r, err
	}
	for _, l := range landed {
		s := Sample{Place: l.kind, Replica: l.replica, Burst: burst, Lag: l.lag, Landed: l.LandedSince(l.t0), Bounded: l.Lo.After(l.t0)}
		name := l.Name
		if l.byAddress {
			name = l.Status.PodIP
		}
		requests := l.client.since(l.t0.Add(-time.Second), keep)
		var why unclear
		if s.truth, why = observe(requests, name, l.client.sure(2*b.pods)); why != "" {
			r.without(l.kind, string(why), 1)
			continue
		}
		for _, q := range requests {
			if slices.Contains(q.served, name) && q.start.After(s.Landed.Hi) {
				s.After++
			}
		}
		r.Samples = append(r.Samples, s)
	}
	return r, nil
}

// settles waits for the first end of a removal of the pod at this place. There may be one for each of the pod's Services; who
// lets go of an address lets go of it in all.
func (p *place) settles(ctx context.Context, uid string) (e ledger.Event, outcome ledger.Outcome, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	e, err = p.agent.Await(ctx, func(e ledger.Event) bool {
		if e.Type != ledger.EventRemovals || e.Place != p.kind || e.Replica != p.replica {
			return false
		}
		for _, d := range e.Departures {
			for o, n := range d.Outcomes {
				if d.UID == uid && n > 0 {
					outcome = o
					return true
				}
			}
		}
		return false
	})
	if err != nil {
		err = fmt.Errorf("removal of %s at %s %s: %w", uid, p.kind, p.replica, err)
	}
	return e, outcome, err
}

// ready waits until as many pods as there should be are ready.
func (b *Bed) ready(ctx context.Context) (pods []corev1.Pod, err error) {
	err = until(ctx, "the pods are ready", func() error {
		list, err := b.Client().CoreV1().Pods("default").List(ctx, metav1.ListOptions{LabelSelector: "app=web"})
		if err != nil {
			return err
		}
		pods = pods[:0]
		for _, p := range list.Items {
			if p.DeletionTimestamp == nil && slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
				return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
			}) {
				pods = append(pods, p)
			}
		}
		if len(pods) != b.pods {
			return fmt.Errorf("%d of %d are", len(pods), b.pods)
		}
		return nil
	})
	now := time.Now()
	for _, p := range pods {
		if _, known := b.readyAt[p.UID]; !known && err == nil {
			b.readyAt[p.UID] = now
		}
	}
	return pods, err
}

// lookedAt waits until every place was looked at since the pods were ready: who was not seen active before cannot be said to
// have landed.
func (b *Bed) lookedAt(ctx context.Context, pods ...corev1.Pod) error {
	var since time.Time
	for _, p := range pods {
		if at := b.readyAt[p.UID]; at.After(since) {
			since = at
		}
	}
	return until(ctx, "every place was looked at", func() error {
		var not []string
		for _, p := range b.places {
			if looked, why := p.looked(); !looked.After(since) {
				not = append(not, fmt.Sprintf("%s %s not since %v%s", p.kind, p.replica, looked, why))
			}
		}
		if not != nil {
			return errors.New(strings.Join(not, "; "))
		}
		return nil
	})
}

// until retries f until it succeeds.
func until(ctx context.Context, what string, f func() error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := f()
		if err == nil {
			return nil
		}
		if sleep(ctx, 100*time.Millisecond) != nil {
			return fmt.Errorf("not within %v that %s: %w", patience, what, err)
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
