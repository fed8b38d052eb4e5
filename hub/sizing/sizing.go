// Package sizing works out how long preStop must sleep, from the episodes that the hub has stored.
//
// It is pure: episodes go in, a [Recommendation] comes out, with everything that it rests on as data and, in sentences.go,
// as words. docs/sizing.md explains the statistics and has the simulated coverage.
package sizing

import (
	"time"

	"github.com/lastcall-k8s/lastcall/hub/report"
)

// Episode is an episode of one workload as the hub stores it, with what its rows do not say. Of each departure the five
// latest places are enough.
type Episode struct {
	report.Explanation
	// Regime it happened in; [RegimeOf] reads off the rows what they have.
	Regime Regime
	// Witnessed is what connections and hooks showed, by pod UID.
	Witnessed map[string]Witness
}

// Witness is what was seen of a pod that stopped. What nobody witnessed is nil.
type Witness struct {
	// Cut is how many connections the pod reset within a second of being told to stop.
	Cut *int
	// Open is how many connections were open when a container was killed at the end of its grace.
	Open *int
	// Drain is the time from the last accepted connection until the last one was closed, in seconds.
	Drain *float64
	// HookFailed: the kubelet said so (FailedPreStopHook).
	HookFailed *bool
}

// Workload is what is to be sized, as it is configured now.
type Workload struct {
	Namespace string
	Name      string // "deployment/shop"
	// Containers as they are now. Empty: those of the newest departure.
	Containers []report.Container
	// Grace is terminationGracePeriodSeconds. nil: that of the newest departure.
	Grace    *int64
	Replicas *int
	// Recreate: a Deployment with this strategy.
	Recreate bool
}

// Input is everything that a recommendation is made of.
type Input struct {
	Workload Workload
	Episodes []Episode // of this workload, in any order
	// Now is the regime that the next episode will happen in; nil: that of the newest episode.
	Now *Regime
	// Trials: the episodes are those of `measure`, made on purpose.
	Trials bool
	// NotMeasured names kinds of places that route to this workload and that nobody measures.
	NotMeasured []report.Missing
	// Idle are kinds of places that turned out not to send to this workload.
	Idle []string
}

// Options are the user's. Zero fields take the defaults.
type Options struct {
	Quantile float64 // 0.95
	// Stuck is how long a removal is pending until it counts as stuck, in seconds: 300.
	Stuck float64
	// Gap ends an episode, where those of several workloads are pooled: a minute.
	Gap time.Duration
	// Unmeasured is what the user adds for places that are not measured, in seconds.
	Unmeasured int64
	// BoundOnly recommends the bound even where more has been seen.
	BoundOnly bool
}

// Defaults. A quantile outside [0.5, 0.9999] is none that anybody means.
const (
	defaultQuantile = 0.95
	defaultStuck    = 300.0
	defaultGap      = time.Minute
	minCoverage     = 0.99
	// margin is what grace has beyond what was observed, in seconds: of a drain only the longest of a few is known.
	margin = 5
)

func (o Options) filled() Options {
	if !(o.Quantile >= 0.5 && o.Quantile <= 0.9999) {
		o.Quantile = defaultQuantile
	}
	if !(o.Stuck > 0) {
		o.Stuck = defaultStuck
	}
	if o.Gap <= 0 {
		o.Gap = defaultGap
	}
	o.Unmeasured = max(o.Unmeasured, 0)
	return o
}
