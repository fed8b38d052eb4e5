package main

import (
	"time"
)

// trialKind is what leaves in a trial.
type trialKind string

const (
	// single: one pod by itself, as when it is evicted. kube-proxy reacts at once, unless it has just synced for something else: another
	// Service of the cluster, or a pod of a trial before that has ended.
	single trialKind = "single"
	// burst: some pods at once, just after their replacements began to serve, as in a rollout. kube-proxy has just synced for
	// those, and waits for its minSyncPeriod.
	burst trialKind = "burst"
)

var trialKinds = []trialKind{burst, single}

// restTime is the least time between the last landing of a trial and the next trial: twice kube-proxy's default minSyncPeriod, so
// that trials do not share a sync.
const restTime = 2 * time.Second

// guess is how long a trial takes, the rest before the next included, before there was one.
const guess = restTime + 300*time.Millisecond

// plan says what comes next.
type plan struct {
	enough int // trials of each kind
	done   map[trialKind]int
	took   map[trialKind]time.Duration // in all
}

func newPlan(enough int) *plan {
	return &plan{enough: enough, done: map[trialKind]int{}, took: map[trialKind]time.Duration{}}
}

func (p *plan) add(k trialKind, took time.Duration) {
	p.done[k]++
	p.took[k] += took
}

// each is what a trial of a kind takes.
func (p *plan) each(k trialKind) time.Duration {
	if n := p.done[k]; n > 0 {
		return p.took[k] / time.Duration(n)
	}
	return guess
}

func (p *plan) lacks(k trialKind) int { return max(p.enough-p.done[k], 0) }

func (p *plan) needs(k trialKind) time.Duration { return time.Duration(p.lacks(k)) * p.each(k) }

// next is the kind of the next trial; ok is false if there are enough, or if none would end in the time that is left.
//
// Both kinds take turns if there is time for both. If not, bursts go first: a bound for bursts holds for single pods, which are
// a part of what a burst does, and not the other way round. If there is no time for those either, single ones; and if there
// is none for any, both take turns again, and there will be no number.
func (p *plan) next(left time.Duration) (k trialKind, ok bool) {
	switch b, s := p.needs(burst), p.needs(single); {
	case b == 0 && s == 0:
		return "", false
	case b > 0 && s > 0 && b+s <= left:
		k = p.turn()
	case b > 0 && b <= left, s == 0:
		k = burst
	case s > 0 && s <= left, b == 0:
		k = single
	default:
		k = p.turn()
	}
	return k, p.each(k)-restTime <= left
}

// turn is the kind of which there are fewer, the burst first.
func (p *plan) turn() trialKind {
	if p.done[burst] <= p.done[single] {
		return burst
	}
	return single
}
