package main

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

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
