package main

import (
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

// inSeconds of what a hub says: more than a day is nonsense that a Duration may not hold.
func inSeconds(s float64) time.Duration {
	return time.Duration(min(max(s, 0), 86400) * float64(time.Second))
}
