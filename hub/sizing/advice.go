package sizing

import (
	"time"

	"github.com/lastcall-k8s/lastcall/hub/report"
)

// Advice is a recommendation as the hub gives it: with the configuration that it is about, and what became of the ones before.
type Advice struct {
	Recommendation
	// Containers are those of the configuration, with the ones that serve: of the workload as it is now if Live, as the hub read it at
	// AsOf while its pods left if Template, else of the last pod that left, at AsOf.
	Containers []report.Container `json:"containers,omitempty"`
	Live       bool               `json:"live,omitempty"`
	Template   bool               `json:"template,omitempty"`
	AsOf       time.Time          `json:"as_of,omitzero"`
	// Backtest is nil if there is nothing to tell yet.
	Backtest *Backtest `json:"backtest,omitempty"`
}

// Advices is what the hub recommends for all workloads. Read is how many of Of workloads it has read since it started; a workload
// that no pod has left for longest is Dropped first.
type Advices struct {
	Items   []Advice `json:"items"`
	Read    int      `json:"read"`
	Of      int      `json:"of"`
	Dropped int      `json:"dropped,omitempty"`
}

// Live is a workload's configuration as somebody reads it: who asks, now, or the hub when pods left.
type Live struct {
	Containers []report.Container `json:"containers"`
	Grace      *int64             `json:"grace_seconds,omitempty"`
	Replicas   *int               `json:"replicas,omitempty"`
	Recreate   bool               `json:"recreate,omitempty"`
}

// Workload is the live one. Which containers serve says the last pod that left, by their names; of one container there is no question.
func (l Live) Workload(namespace, name string, last []report.Container) Workload {
	w := Workload{Namespace: namespace, Name: name, Grace: l.Grace, Replicas: l.Replicas, Recreate: l.Recreate}
	for _, c := range l.Containers {
		c.Serves = len(l.Containers) == 1
		for _, was := range last {
			c.Serves = c.Serves || was.Serves && was.Name == c.Name
		}
		w.Containers = append(w.Containers, c)
	}
	return w
}

// Advise sizes one workload.
func Advise(in Input, pool Pool, o Options) Advice {
	in = in.prepared()
	return Advice{Recommendation: Recommend(in, pool, o), Containers: in.Workload.Containers}
}

// Sound reports whether all is there that its sentences need. What another version of a hub says may lack it.
func (r Recommendation) Sound() bool {
	for _, v := range r.Verdicts {
		has, needs := false, false
		switch v.Code {
		case Fits, LongerThanNeeded, NotAllMeasured:
			has, needs = true, true
		case Unreadable:
			needs = true
		case TooShort:
			needs = v.Place != nil
		}
		if has && v.Has == nil || needs && v.Needs == nil {
			return false
		}
	}
	return len(r.Verdicts) > 0 && (r.Basis == BasisNone || r.Seconds != nil)
}
