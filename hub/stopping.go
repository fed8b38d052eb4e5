package hub

import (
	"fmt"
	"slices"
	"time"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// stopping says of each container how it was configured and how it ended, and when the one that serves was told to stop.
func (r *row) stopping(o origin, d *report.Departure) {
	serving := r.serving()
	for _, c := range r.containers {
		rc := report.Container{Name: c.Name, Sidecar: c.Sidecar, PreStop: c.PreStop, Serves: slices.Contains(serving, c.Name)}
		for _, e := range r.exits {
			if e.Name == c.Name {
				code := e.Code
				rc.ExitCode = &code
				if s, ok := o.seconds(r.exitsFrom.boot, nanos(endedBy(e))); ok {
					rc.Finished = &s
				}
			}
		}
		d.Containers = append(d.Containers, rc)
	}
	switch {
	case !leaves(r.reason):
		d.ToldWhy = "the pod does not end"
		return
	case r.reason == ledger.NodeShutdown, r.reason == ledger.KubeletEvict:
		d.ToldWhy = "the API learns of it only when the containers are dead" // whatever a slice showed by then is no T0
		return
	case !o.known:
		d.ToldWhy = "when it began to leave is not known"
		return
	case len(r.containers) == 0:
		d.ToldWhy = "no agent ran on the pod's own node"
		return
	}
	// Several containers may serve, each its own port: the first that stops breaks the pod.
	for _, c := range d.Containers {
		if !c.Serves {
			continue
		}
		told, why := toldToStop(c, r.grace)
		if told == nil {
			d.Told, d.ToldWhy = nil, why
			return
		}
		switch {
		case d.Told == nil:
			d.Told, d.ToldWhy = told, why
		case told.Lo < d.Told.Lo:
			told.Hi = min(told.Hi, d.Told.Hi)
			d.Told, d.ToldWhy = told, why
		default:
			d.Told.Hi = min(d.Told.Hi, told.Hi)
		}
	}
	if d.Told == nil && d.ToldWhy == "" {
		d.ToldWhy = "which container serves is not known"
	}
}

// endedBy is when a container had ended at the latest, on its agent's timeline.
func endedBy(e ledger.Exit) time.Time {
	if e.By.IsZero() || e.By.After(e.Told) { // an agent of before it was told
		return e.Told
	}
	return e.By
}

// serving are the names of the containers that have the Service's target ports. If none declares them: the earliest
// that is no sidecar.
func (r *row) serving() (names []string) {
	for _, c := range r.containers {
		if slices.ContainsFunc(c.Ports, func(p uint16) bool { return r.ports[p] }) {
			names = append(names, c.Name)
		}
	}
	if len(names) > 0 {
		return names
	}
	earliest, at := "", 0.0
	for _, c := range r.containers {
		if c.Sidecar {
			continue
		}
		told, _ := toldToStop(report.Container{Name: c.Name, PreStop: c.PreStop}, r.grace)
		lo := 0.0 // a hook that nobody can read may be over at once
		if told != nil {
			lo = told.Lo
		}
		if earliest == "" || lo < at {
			earliest, at = c.Name, lo
		}
	}
	if earliest == "" {
		return nil
	}
	return []string{earliest}
}

// toldToStop is when a container's preStop was over and SIGTERM came, in seconds after T0: the kubelet starts the hook up to
// a second later (pod_workers.go:1280-1288, k8s v1.36.3), and cuts it at the end of the grace period.
func toldToStop(c report.Container, grace *int64) (*report.Span, string) {
	const start = 1.0
	limit := func(s float64) float64 {
		if grace != nil {
			return min(s, float64(*grace))
		}
		return s
	}
	// A container that has ended was told before: also if it was to sleep for longer, as when the hook fails
	// (FailedPreStopHook: SIGTERM comes at once).
	span := func(lo float64) *report.Span {
		if c.Finished != nil && *c.Finished < lo {
			return &report.Span{Hi: *c.Finished}
		}
		s := &report.Span{Lo: lo, Hi: lo + start}
		if c.Finished != nil && *c.Finished >= s.Lo {
			s.Hi = min(s.Hi, *c.Finished)
		}
		return s
	}
	p := c.PreStop
	switch {
	case grace != nil && *grace == 0:
		return span(0), "killed at once, with grace 0"
	case p.Kind == ledger.NoPreStop, p.Kind == ledger.PreStopOther:
		return span(0), fmt.Sprintf("%s has no preStop", c.Name)
	case p.Seconds != nil && !p.Rest:
		n := limit(float64(*p.Seconds))
		why := fmt.Sprintf("%s sleeps %d s in preStop", c.Name, *p.Seconds)
		if n < float64(*p.Seconds) {
			why += fmt.Sprintf(", cut at the grace period of %d s", *grace)
		}
		if c.Finished != nil && *c.Finished < n {
			why = fmt.Sprintf("%s was to sleep %d s in preStop, but ended before: the hook failed, or it ended by itself", c.Name, *p.Seconds)
		}
		return span(n), why
	}
	lo := 0.0
	if p.Seconds != nil {
		lo = limit(float64(*p.Seconds))
	}
	hi := -1.0
	if grace != nil {
		hi = float64(*grace) + start
	}
	if c.Finished != nil && (hi < 0 || *c.Finished < hi) {
		hi = *c.Finished
	}
	if hi < 0 {
		return nil, fmt.Sprintf("%s runs a preStop hook (%s) whose length nobody can tell", c.Name, p.Kind)
	}
	if hi < lo {
		lo = 0 // it ended while it was to sleep
	}
	return &report.Span{Lo: lo, Hi: hi}, fmt.Sprintf("%s runs a preStop hook (%s); it was over before the container ended", c.Name, p.Kind)
}

// lateness compares the last call with when the pod was told to stop. What is not known is unknown.
func (r *row) lateness(d *report.Departure) {
	if d.Told == nil || !leaves(r.reason) {
		return
	}
	last := report.Span{}
	known := d.LastCall != nil
	if known {
		last = *d.LastCall
	}
	gap, expired := ended(d, ledger.Gap), ended(d, ledger.Expired)
	whole := r.complete && d.Pending == 0 && d.Answered == d.Expected && len(d.Missing) == 0 && gap+expired == 0
	if d.Pending > 0 && d.Age > last.Lo {
		last = report.Span{Lo: d.Age, Hi: d.Age} // at least
		known = true
	}
	none := r.complete && !r.placed() && !r.routed
	switch {
	case none && whole:
		d.Late = report.No // no place routed to it
	case known && last.Lo > d.Told.Hi, expired > 0: // the horizon is longer than any preStop
		d.Late = report.Yes
	case known && whole && last.Hi <= d.Told.Lo:
		d.Late = report.No
	}
	if known && whole {
		d.Exposure = &report.Span{Lo: max(last.Lo-d.Told.Hi, 0), Hi: max(last.Hi-d.Told.Lo, 0)}
	}
}

// ended counts the removals of all places with an outcome.
func ended(d *report.Departure, o ledger.Outcome) (n int) {
	for _, k := range d.Kinds {
		n += k.Outcomes[o]
	}
	return n
}

// end is when the pod was gone, or will be at the latest, ours; the zero time if nobody knows.
func (r *row) end(o origin) time.Time {
	if at, _, ok := r.gone.ours(); ok {
		return at
	}
	if o.known && r.grace != nil {
		return o.at.Add(time.Duration(*r.grace) * time.Second)
	}
	return o.at
}
