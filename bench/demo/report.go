//go:build linux

package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/lastcall-k8s/lastcall/ledger"
)

// join puts together what the agents said: one departure per deleted pod of the shop, in the order of T0.
func join(events map[string][]ledger.Event) []*departure {
	byUID := map[string]*departure{}
	for _, es := range events {
		for _, e := range es {
			if e.Type != ledger.EventDeparture || e.Pod.Namespace != namespace || !strings.HasPrefix(e.Pod.Name, "shop-") || e.Reason != ledger.Delete {
				continue
			}
			d := byUID[e.Pod.UID]
			switch {
			case d == nil:
				byUID[e.Pod.UID] = &departure{Event: e}
			case e.T0.Before(d.T0):
				// The pod's own node knows more than the others; T0 is the earliest of all.
				if e.T0Source != ledger.FromPod {
					e.Workload, e.Grace = d.Workload, d.Grace
				}
				d.Event = e
			case e.T0Source == ledger.FromPod:
				d.Workload, d.Grace = e.Workload, e.Grace
			}
		}
	}
	for node, es := range events {
		for _, e := range es {
			if e.Type != ledger.EventRemovals {
				continue
			}
			for _, s := range e.Departures {
				if d := byUID[s.UID]; d != nil && len(s.Outcomes) > 0 {
					d.places = append(d.places, landing{node: node, backend: e.Backend, family: e.Family,
						seen: s.SeenFirst, Interval: e.LandedSince(d.T0), outcomes: s.Outcomes})
				}
			}
		}
	}
	ds := slices.Collect(maps.Values(byUID))
	slices.SortFunc(ds, func(a, b *departure) int { return a.T0.Compare(b.T0) })
	for _, d := range ds {
		slices.SortFunc(d.places, func(a, b landing) int { return strings.Compare(a.node+string(a.family), b.node+string(b.family)) })
	}
	return ds
}

// report prints what was measured.
func report(w io.Writer, ds []*departure, nodes []string, tallies map[string]tally, oneClock bool) {
	fmt.Fprintf(w, "\n%d pods left %s. Milliseconds after T0, the moment its own node learnt that a pod was deleted:\n", len(ds), "deployment/shop")
	for _, d := range ds {
		grace := "grace unknown"
		if d.Grace != nil {
			grace = fmt.Sprintf("grace %d s", *d.Grace)
		}
		fmt.Fprintf(w, "\n%s on %s: T0 %s (%s, %s, no preStop: told to stop at once)\n", d.Pod.Name, d.Pod.Node,
			d.T0.Format("15:04:05.000"), d.Reason, grace)
		first := firstSeen(d)
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprintln(t, "  node\tkube-proxy\tlet go at\tof which api\twatch\tprogram\tslop\t")
		for _, p := range d.places {
			if p.outcomes[ledger.Landed] == 0 {
				fmt.Fprintf(t, "  %s\t%s\t%s\t\t\t\t\t\n", p.node, p.backend, outcomes(p.outcomes))
				continue
			}
			program := max(0, p.Hi.Sub(p.seen))
			fmt.Fprintf(t, "  %s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", p.node, p.backend, ms(p.Hi.Sub(d.T0)),
				ms(first.Sub(d.T0)), ms(p.seen.Sub(first)), ms(program), ms(p.Hi.Sub(p.Lo)))
		}
		t.Flush()
		fmt.Fprintf(w, "  %s\n", lastCall(d))
	}
	if !oneClock {
		fmt.Fprintln(w, "\nEach node stamped by its own clock; their differences are in these numbers.")
	}
	fmt.Fprintln(w)
	started, failed := 0, map[string]int{}
	for _, n := range nodes {
		t := tallies[n]
		started += t.started
		for kind, k := range t.failed {
			failed[kind] += k
		}
		fmt.Fprintf(w, "clients on %s: %d connections during the restart, failed: %s\n", n, t.started, kinds(t.failed))
	}
	fmt.Fprintf(w, "%s of %d client connections failed while the pods left.\n", kinds(failed), started)
}

// firstSeen is when the first agent learnt from the slices that the pod should go.
func firstSeen(d *departure) (t time.Time) {
	for _, p := range d.places {
		if !p.seen.IsZero() && (t.IsZero() || p.seen.Before(t)) {
			t = p.seen
		}
	}
	return t
}

// lastCall names the latest place: the straggler only if its lower end is later than every other upper end.
func lastCall(d *departure) string {
	var lo, hi time.Time
	var last, open []string
	var landed []landing
	for _, p := range d.places {
		if p.outcomes[ledger.Landed] > 0 {
			landed = append(landed, p)
			if p.Hi.After(hi) {
				hi = p.Hi
			}
			if p.Lo.After(lo) {
				lo = p.Lo
			}
		}
		if p.outcomes[ledger.Expired]+p.outcomes[ledger.Gap] > 0 {
			open = append(open, p.node)
		}
	}
	switch {
	case len(landed) == 0:
		return "last call: unknown, no removal landed"
	case len(open) > 0:
		return fmt.Sprintf("last call: unknown, at least %s: %s has not let go", ms(hi.Sub(d.T0)), strings.Join(open, ", "))
	}
	for _, p := range landed {
		if !p.Hi.Before(lo) {
			last = append(last, p.node)
		}
	}
	who := last[0] + " was last"
	if len(last) > 1 {
		who = fmt.Sprintf("one of %d was last: %s", len(last), strings.Join(last, ", "))
	}
	return fmt.Sprintf("last call: %s (%s to %s): %s", ms(hi.Sub(d.T0)), ms(lo.Sub(d.T0)), ms(hi.Sub(d.T0)), who)
}

func ms(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}

func outcomes(m map[ledger.Outcome]int) string {
	var parts []string
	for _, o := range ledger.Outcomes {
		if m[o] > 0 {
			parts = append(parts, string(o))
		}
	}
	return strings.Join(parts, ", ")
}

func kinds(m map[string]int) string {
	total := 0
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		total += m[k]
		parts = append(parts, fmt.Sprintf("%d %s", m[k], k))
	}
	if total == 0 {
		return "0"
	}
	return fmt.Sprintf("%d (%s)", total, strings.Join(parts, ", "))
}
