package sizing

import (
	"math"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// Present is how the workload is configured.
type Present struct {
	// PreStop is how long the container that serves surely sleeps in preStop, in seconds; nil if nobody can tell. Of several
	// that serve, the least.
	PreStop   *int64 `json:"prestop_seconds,omitempty"`
	Container string `json:"container,omitempty"` // which one that is
	// Unreadable: it has a hook whose length nobody can tell.
	Unreadable bool   `json:"unreadable,omitempty"`
	Grace      *int64 `json:"grace_seconds,omitempty"`
}

func presentOf(w Workload) Present {
	p := Present{Grace: w.Grace}
	for _, c := range w.Containers {
		if !c.Serves {
			continue
		}
		n, ok := sleeps(c, w.Grace)
		if !ok {
			p.PreStop, p.Container, p.Unreadable = nil, c.Name, true
			return p
		}
		if p.PreStop == nil || n < *p.PreStop {
			p.PreStop, p.Container = &n, c.Name
		}
	}
	return p
}

// sleeps is how long a container surely sleeps before it is told to stop.
func sleeps(c report.Container, grace *int64) (n int64, ok bool) {
	switch {
	case c.PreStop.Seconds != nil:
		n = *c.PreStop.Seconds // with more after it, at least
		if grace != nil {
			n = min(n, *grace)
		}
		return n, true
	case c.PreStop.Kind == ledger.PreStopExec, c.PreStop.Kind == ledger.PreStopHTTP, c.PreStop.Kind == ledger.PreStopSleep:
		return 0, false
	}
	return 0, true // none, or one that kubelets ignore
}

// Grace is how long terminationGracePeriodSeconds must be, and why.
type Grace struct {
	Seconds *int64 `json:"seconds,omitempty"` // nil: nobody can tell
	PreStop int64  `json:"prestop_seconds"`
	Drain   int64  `json:"drain_seconds"`
	Margin  int64  `json:"margin_seconds"`
	// DrainObserved: Drain is the longest that was seen. Else it is what the server has for it today, and stays.
	DrainObserved bool `json:"drain_observed"`
	// Stays: less would do, but nothing that is there is taken away.
	Stays bool `json:"stays,omitempty"`
}

// graceOf is preStop + drain + margin, and never less than there is.
func graceOf(prestop *int64, p Present, d Drain) (g Grace) {
	if prestop == nil {
		return g
	}
	g.PreStop, g.Margin = *prestop, margin
	if p.PreStop != nil {
		g.PreStop = max(g.PreStop, *p.PreStop) // lowering preStop takes no grace away
	}
	var now int64
	switch {
	case d.N > 0 && d.Cut == 0:
		g.Drain, g.DrainObserved = int64(math.Ceil(max(d.Longest, 0)-slack)), true
	case p.Grace == nil:
		return g
	case p.PreStop != nil:
		g.Drain = *p.Grace - *p.PreStop
	default:
		g.Drain = *p.Grace
	}
	if !g.DrainObserved && g.Drain > 0 {
		g.Margin = 0 // it may have one already
	}
	if p.Grace != nil {
		now = *p.Grace
	}
	n := g.PreStop + g.Drain + g.Margin
	if n < now {
		n, g.Stays = now, true
	}
	g.Seconds = &n
	return g
}
