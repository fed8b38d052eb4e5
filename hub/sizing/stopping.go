package sizing

import (
	"slices"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// Stopping is how the workload's newest pods stopped, in k of n: n are the departures of which it is known.
type Stopping struct {
	Ended int `json:"ended"` // departures whose serving container's end is known
	// Exits are their exit codes, and how often; of several containers that serve, the largest.
	Exits  map[int32]int `json:"exits,omitempty"`
	Killed int           `json:"killed"` // of these, by SIGKILL after the whole grace period
	// Of the killed: preStop had taken the whole grace period, so there was no time to stop; nothing was connected any more, so
	// it did not listen to SIGTERM; or there were connections. Of the others nobody knows.
	NoTime   int `json:"no_time"`
	Ignored  int `json:"ignored"`
	Draining int `json:"draining"`
	// Cut connections at stop, of those witnessed.
	Cut       int `json:"cut"`
	Witnessed int `json:"witnessed"`
	// HookFailed: the container ended before its sleep was over, or the kubelet said so.
	HookFailed    int    `json:"hook_failed"`
	Hooks         int    `json:"hooks"`
	HookContainer string `json:"hook_container,omitempty"`
	// LeftFirst: another container had ended before the last call, while the one that serves was still waiting in preStop.
	LeftFirst     int    `json:"left_first"`
	Beside        int    `json:"beside"` // departures in which that could be seen
	LeftContainer string `json:"left_container,omitempty"`
}

// Drain is how long pods needed from being told to stop until they had ended, or until their last connection was closed.
type Drain struct {
	N       int     `json:"n"`
	Longest float64 `json:"longest_seconds"`
	// Cut is how many were killed before: theirs was longer than that, or would never have ended.
	Cut int `json:"cut"`
}

const exitKilled = 137 // 128 + SIGKILL

// recentPods is how many of the newest departures say how pods stop: what was mended since is not held against them. The longest
// drain is looked for in all.
const recentPods = 20

// stoppingOf takes episodes in time.
func stoppingOf(es []Episode) (s Stopping, drain Drain) {
	recent := 0
	for _, e := range slices.Backward(es) {
		for _, d := range slices.Backward(e.Departures) {
			if d.Reason != ledger.Delete && d.Reason != ledger.Evict && d.Reason != ledger.Preempt {
				continue
			}
			if recent++; recent <= recentPods {
				s.add(d, e.Witnessed[d.UID], &drain)
				continue
			}
			var older Drain
			new(Stopping).add(d, e.Witnessed[d.UID], &older)
			drain.N += older.N
			drain.Longest = max(drain.Longest, older.Longest)
		}
	}
	return s, drain
}

func (s *Stopping) add(d report.Departure, w Witness, drain *Drain) {
	killed, known := false, false
	code, drained := int32(0), 0.0
	for _, c := range d.Containers {
		s.hook(c, d.Grace, w)
		if !c.Serves || c.Finished == nil || c.ExitCode == nil {
			continue
		}
		known, code = true, max(code, *c.ExitCode)
		// Finished is at the latest, so never before it happened; the kubelet counts from up to 2 s after T0.
		if *c.ExitCode == exitKilled && d.Grace != nil && *d.Grace > 0 && *c.Finished >= float64(*d.Grace) {
			killed = true
		}
		if d.Told != nil {
			drained = max(drained, *c.Finished-d.Told.Lo)
		}
	}
	s.beside(d)
	if w.Cut != nil {
		s.Witnessed++
		if *w.Cut > 0 {
			s.Cut++
		}
	}
	if known {
		s.Ended++
		if s.Exits == nil {
			s.Exits = map[int32]int{}
		}
		s.Exits[code]++
	}
	switch {
	case killed:
		s.Killed++
		drain.Cut++
		switch {
		case d.Told != nil && d.Told.Hi >= float64(*d.Grace):
			s.NoTime++
		case w.Open != nil && *w.Open > 0:
			s.Draining++
		case w.Open != nil:
			s.Ignored++
		}
	case w.Drain != nil:
		drain.N++
		drain.Longest = max(drain.Longest, *w.Drain)
	case known && d.Told != nil:
		drain.N++
		drain.Longest = max(drain.Longest, drained)
	}
}

// hook counts sleeps that were over too soon. A container whose hook fails gets SIGTERM at once (FailedPreStopHook).
func (s *Stopping) hook(c report.Container, grace *int64, w Witness) {
	if c.PreStop.Kind == ledger.NoPreStop || c.PreStop.Kind == "" || !c.Serves {
		return
	}
	failed, known := false, false
	if n := c.PreStop.Seconds; n != nil && c.Finished != nil {
		sleep := float64(*n)
		if grace != nil {
			sleep = min(sleep, float64(*grace))
		}
		known, failed = true, *c.Finished < sleep
	}
	if w.HookFailed != nil {
		known, failed = true, failed || *w.HookFailed
	}
	if known {
		s.Hooks++
	}
	if failed {
		s.HookFailed++
		s.HookContainer = c.Name
	}
}

// beside looks for a container that was gone while connections still came: a proxy in front of the server that has no preStop
// of its own breaks the server's. Whether it is one, only people can tell.
func (s *Stopping) beside(d report.Departure) {
	if d.Told == nil || d.LastCall == nil || !slices.ContainsFunc(d.Containers, func(c report.Container) bool { return c.Serves }) {
		return
	}
	left, seen := "", false
	for _, c := range d.Containers {
		if c.Serves || c.Finished == nil || *c.Finished <= 0 { // one that had ended before the pod left was in nobody's way
			continue
		}
		seen = true
		if *c.Finished < d.LastCall.Lo && *c.Finished < d.Told.Lo {
			left = c.Name
		}
	}
	if seen {
		s.Beside++
	}
	if left != "" {
		s.LeftFirst++
		s.LeftContainer = left
	}
}
