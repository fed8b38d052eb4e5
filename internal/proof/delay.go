//go:build linux

package proof

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Leaving is a shop of which one pod leaves, and how long before the late kube-proxy goes on.
type Leaving struct {
	*Shop
	Delay time.Duration
}

// Round is one that was made.
type Round struct {
	Begun time.Time
	Lag   time.Duration // from when kube-proxy went on until no node routed to the pods any more, at most
}

// Round has a pod of each shop leave while the kube-proxy of a node is stopped, each so long before it goes on again: no rule of that
// node can change before, so the delay of every removal there is Delay and what kube-proxy takes to sync. It returns when that is over
// everywhere and the gap between episodes has passed, with how long after kube-proxy went on that was, as seen from outside: at most.
//
// Departures of different workloads that overlap are one episode for a pool, and one of each workload by itself.
func (b *Bed) Round(ctx context.Context, node string, leaving []Leaving) (r Round, err error) {
	leaving = slices.Clone(leaving)
	slices.SortStableFunc(leaving, func(a, b Leaving) int { return int(b.Delay - a.Delay) })
	var shops []*Shop
	for _, l := range leaving {
		shops = append(shops, l.Shop)
	}
	if err := b.Ready(ctx, shops...); err != nil {
		return r, err
	}
	var pods []corev1.Pod
	for _, s := range shops {
		ps, err := s.serving(ctx)
		if err != nil {
			return r, err
		}
		if len(ps) < replicas {
			return r, fmt.Errorf("%d pods of %s serve", len(ps), s.Namespace)
		}
		slices.SortFunc(ps, func(a, b corev1.Pod) int { return a.CreationTimestamp.Compare(b.CreationTimestamp.Time) })
		pods = append(pods, ps[0]) // the oldest, as in a rollout
	}
	kubeProxy, err := b.KubeProxy(node)
	if err != nil {
		return r, err
	}
	if err := syscall.Kill(kubeProxy.Pid, syscall.SIGSTOP); err != nil {
		return r, err
	}
	r.Begun = time.Now()
	err = b.leave(ctx, leaving, pods)
	went := time.Now()
	if err := errors.Join(err, syscall.Kill(kubeProxy.Pid, syscall.SIGCONT)); err != nil {
		return r, err
	}
	if err := b.landed(ctx, addresses(pods)); err != nil {
		return r, err
	}
	r.Lag = time.Since(went)
	return r, b.over(ctx)
}

// leave deletes the pods, and returns when the delay of each has passed since the API server had deleted it.
func (b *Bed) leave(ctx context.Context, leaving []Leaving, pods []corev1.Pod) error {
	begun := time.Now()
	end := begun
	for i, l := range leaving {
		if err := pause(ctx, time.Until(begun.Add(leaving[0].Delay-l.Delay))); err != nil {
			return err
		}
		if err := b.Client().CoreV1().Pods(l.Namespace).Delete(ctx, pods[i].Name, metav1.DeleteOptions{}); err != nil {
			return err
		}
		if at := time.Now().Add(l.Delay); at.After(end) {
			end = at
		}
	}
	return pause(ctx, time.Until(end))
}
