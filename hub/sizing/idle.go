package sizing

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// withoutIdle drops the consumers that do not send to the workload: of an ingress controller in the cluster nobody can tell whether it sent
// to a pod that served for seconds only, but who was never seen to let go of any pod, and once was looked at in time and had nothing to let
// go of, is no place of this workload. What is not known of it makes no sample a lower bound. Episodes that change are copied.
func (in Input) withoutIdle() Input {
	idle := idleIn(in.Episodes)
	if len(idle) == 0 {
		return in
	}
	in.Idle = slices.Sorted(maps.Keys(idle))
	in.Episodes = slices.Clone(in.Episodes)
	for i := range in.Episodes {
		e := &in.Episodes[i]
		e.Departures = slices.Clone(e.Departures)
		for j := range e.Departures {
			d := &e.Departures[j]
			d.Kinds = slices.DeleteFunc(slices.Clone(d.Kinds), func(k report.Kind) bool { return idle[k.Kind] })
		}
		e.Regime.Places = without(idle, e.Regime.Places)
	}
	if in.Now != nil {
		now := *in.Now
		now.Places = without(idle, now.Places)
		in.Now = &now
	}
	return in
}

// without drops kinds from a regime's places: "envoy+kube-proxy".
func without(kinds map[string]bool, places string) string {
	return strings.Join(slices.DeleteFunc(strings.Split(places, "+"), func(p string) bool { return kinds[p] }), "+")
}

// idleIn finds them.
func idleIn(es []Episode) map[string]bool {
	gaps := map[string]time.Time{} // since when there is something that is not known
	sends := map[string]bool{}
	for _, e := range es {
		for _, d := range e.Departures {
			for _, k := range d.Kinds {
				if !k.Consumer() {
					continue
				}
				if at, ok := gaps[k.Kind]; k.Outcomes[ledger.Gap] > 0 && (!ok || d.T0.Before(at)) {
					gaps[k.Kind] = d.T0
				}
				sends[k.Kind] = sends[k.Kind] || k.Pending+k.Retained+k.Outcomes[ledger.Landed]+k.Outcomes[ledger.Expired] > 0
			}
		}
	}
	idle := map[string]bool{}
	for kind, since := range gaps {
		if sends[kind] {
			continue
		}
		for _, e := range es {
			for _, d := range e.Departures {
				known := !slices.ContainsFunc(d.Kinds, func(k report.Kind) bool { return k.Kind == kind && k.Outcomes[ledger.Gap] > 0 })
				unread := slices.ContainsFunc(d.Missing, func(m report.Missing) bool { return m.Kind == kind })
				if d.Complete && d.T0.After(since) && known && !unread {
					idle[kind] = true
				}
			}
		}
	}
	return idle
}
