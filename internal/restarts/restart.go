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
	// after is how long clients are heeded after the last landing: a request that reaches a pod so late contradicts it. HAProxy
	// asks for its servers each second, so whoever took one of its answers for the landing too early would be found out.
	after = 2 * time.Second
	// within is how long after its deletion requests to a pod are looked for: longer than any pod lives then.
	within = 30 * time.Second
	// patience is how long anything may take on a machine that does much else.
	patience = 90 * time.Second
)

// Result is what restarts gave.
type Result struct {
	Samples []Sample
	// Without counts removals that could not be compared, by the place's kind and why.
	Without map[string]map[string]int
}

func (r *Result) without(kind, why string) {
	if r.Without == nil {
		r.Without = map[string]map[string]int{}
	}
	if r.Without[kind] == nil {
		r.Without[kind] = map[string]int{}
	}
	r.Without[kind][why]++
}

// leaving is a pod that is taken away.
type leaving struct {
	*corev1.Pod
	asked time.Time // before the API was told, on this clock
	t0    time.Time // when the agent of its node learnt of it, or asked
}

// landing is one that an agent told of.
type landing struct {
	*place
	leaving
	burst bool
	ledger.Event
}

// One restarts the pod that is there for longest, and no other. It returns when it was let go of everywhere and the next one is
// ready.
func (b *Bed) One(ctx context.Context) error {
	pods, err := b.ready(ctx)
	if err != nil {
		return err
	}
	oldest := slices.MinFunc(pods, func(x, y corev1.Pod) int {
		return x.CreationTimestamp.Compare(y.CreationTimestamp.Time)
	})
	if err := b.lookedAt(ctx, oldest); err != nil {
		return err
	}
	t0 := time.Now()
	if err := b.Client().CoreV1().Pods(oldest.Namespace).Delete(ctx, oldest.Name, metav1.DeleteOptions{}); err != nil {
		return err
	}
	return b.settle(ctx, false, leaving{&oldest, t0, t0})
}

// All restarts the Deployment: every pod, in a burst.
func (b *Bed) All(ctx context.Context) error {
	pods, err := b.ready(ctx)
	if err != nil {
		return err
	}
	if err := b.lookedAt(ctx, pods...); err != nil {
		return err
	}
	asked := time.Now()
	patch := fmt.Sprintf(`{"spec":{"template":{"metadata":{"annotations":{"restarted":%q}}}}}`, asked)
	if _, err := b.Client().AppsV1().Deployments("default").Patch(ctx, "web", types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		return err
	}
	all := make([]leaving, len(pods))
	for i := range pods {
		t0, err := b.departed(ctx, pods[i].UID)
		if err != nil {
			return err
		}
		all[i] = leaving{&pods[i], asked, t0}
	}
	return b.settle(ctx, true, all...)
}

// settle waits until pods that leave have ended everywhere, and the next ones are there.
func (b *Bed) settle(ctx context.Context, burst bool, pods ...leaving) error {
	for _, p := range b.places {
		for _, pod := range pods {
			e, outcome, err := p.settles(ctx, string(pod.UID))
			if err != nil {
				return err
			}
			if outcome != ledger.Landed {
				b.result.without(p.kind, "ended as "+string(outcome))
				continue
			}
			b.landed = append(b.landed, landing{p, pod, burst, e})
		}
	}
	_, err := b.ready(ctx)
	return err
}

// Compare holds the landings since the last time against their truth.
func (b *Bed) Compare(ctx context.Context) (Result, error) {
	var latest time.Time
	for _, l := range b.landed {
		if l.Hi.After(latest) {
			latest = l.Hi
		}
	}
	if err := sleep(ctx, time.Until(latest.Add(after))); err != nil {
		return Result{}, err
	}
	for _, l := range b.landed {
		b.compare(l)
	}
	r := b.result
	b.landed, b.result = nil, Result{}
	return r, nil
}

func (b *Bed) compare(l landing) {
	s := Sample{Place: l.kind, Replica: l.replica, Burst: l.burst, Lag: l.lag, Landed: l.LandedSince(l.asked), T0: l.t0, Bounded: l.Lo.After(l.t0)}
	name := l.Name
	if l.byAddress {
		name = l.Status.PodIP
	}
	requests := l.client.between(l.t0.Add(-time.Second), l.t0.Add(within))
	var why unclear
	if s.truth, why = observe(requests, name, l.client.sure(2*b.pods)); why != "" {
		b.result.without(l.kind, string(why))
		return
	}
	for _, q := range requests {
		if slices.Contains(q.served, name) && q.start.After(s.Landed.Hi) {
			s.After++
		}
	}
	if l.kept != nil {
		for _, q := range l.kept.between(s.Landed.Hi, l.t0.Add(within)) {
			if slices.Contains(q.served, name) {
				s.Kept = q.start.Sub(s.Landed.Hi)
			}
		}
	}
	b.result.Samples = append(b.result.Samples, s)
}

// departed is when the agent of the pod's own node learnt that it leaves.
func (b *Bed) departed(ctx context.Context, uid types.UID) (t0 time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	e, err := b.onNode.Await(ctx, func(e ledger.Event) bool { return e.Type == ledger.EventDeparture && e.Pod.UID == string(uid) })
	return e.T0, err
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
