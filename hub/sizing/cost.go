package sizing

import (
	"strings"
	"time"

	"github.com/lastcall-k8s/lastcall/hub/report"
)

// Cost is what a change of preStop from the present one changes beside.
type Cost struct {
	// Longer is how much longer each termination takes, in seconds; less than 0: shorter.
	Longer int64 `json:"longer_seconds"`
	// RolloutWaits: whether one waits for pods that terminate. A Deployment's does not, unless it recreates (k8s v1.36.3
	// pkg/controller/deployment/recreate.go:99); a StatefulSet has to see the old pod gone before it makes the new one
	// (statefulset/stateful_set_control.go:463), and so has a DaemonSet that does not surge (daemon/daemon_controller.go:858).
	RolloutWaits report.Late `json:"rollout_waits"`
	// Rollout is how much longer one takes, in seconds, replacing one pod after another; nil if it does not wait or nobody can
	// tell.
	Rollout *int64 `json:"rollout_longer_seconds,omitempty"`
	// MorePods is how many more would have been terminating at once, at most, in any of the episodes seen.
	MorePods int   `json:"more_pods"`
	Grace    int64 `json:"grace_longer_seconds,omitempty"`
}

// costOf is nil if there is no number, or nobody knows what there is now.
func costOf(in Input, prestop *int64, p Present, g Grace) *Cost {
	if prestop == nil || p.PreStop == nil {
		return nil
	}
	c := &Cost{Longer: *prestop - *p.PreStop, RolloutWaits: report.Unknown}
	if g.Seconds != nil && p.Grace != nil {
		c.Grace = *g.Seconds - *p.Grace
	}
	kind, _, _ := strings.Cut(in.Workload.Name, "/")
	switch {
	case kind == "deployment" && !in.Workload.Recreate:
		c.RolloutWaits = report.No
	case kind == "deployment": // all at once
		c.RolloutWaits, c.Rollout = report.Yes, &c.Longer
	case kind == "statefulset", kind == "daemonset":
		c.RolloutWaits = report.Yes
		if n := in.Workload.Replicas; n != nil {
			whole := c.Longer * int64(*n)
			c.Rollout = &whole
		}
	}
	if c.Longer > 0 {
		for _, e := range in.Episodes {
			c.MorePods = max(c.MorePods, mostAtOnce(e, c.Longer)-mostAtOnce(e, 0))
		}
	}
	return c
}

// mostAtOnce is how many pods of an episode were terminating at the same time, if each had taken so much longer.
func mostAtOnce(e Episode, longer int64) int {
	var stays []report.Stay
	for _, d := range e.Departures {
		end := -1.0
		for _, c := range d.Containers {
			if c.Finished != nil {
				end = max(end, *c.Finished)
			}
		}
		if end < 0 && d.Grace != nil {
			end = float64(*d.Grace)
		}
		if d.T0.IsZero() || end < 0 {
			continue
		}
		stays = append(stays, report.Stay{From: d.T0, To: d.T0.Add(time.Duration((end + float64(longer)) * float64(time.Second)))})
	}
	return report.MostAtOnce(stays)
}
