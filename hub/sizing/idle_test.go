package sizing

import (
	"strings"
	"testing"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// TestIdle: what is not known of a consumer counts only if it may send to the workload.
func TestIdle(t *testing.T) {
	envoy := func(outcome ledger.Outcome) func(*report.Departure) {
		return func(d *report.Departure) {
			d.Kinds = append(d.Kinds, report.Kind{Kind: "envoy", Places: 2, Fidelity: "dataplane", Outcomes: map[ledger.Outcome]int{outcome: 2}})
		}
	}
	missing := func(d *report.Departure) {
		d.Missing = []report.Missing{{Place: "envoy", Kind: "envoy", Why: "it serves this workload, and no agent reads a replica of it"}}
	}
	for name, c := range map[string]struct {
		of   map[int]func(*report.Departure)
		idle bool
	}{
		"looked at in time later": {map[int]func(*report.Departure){3: envoy(ledger.Gap), 5: envoy(ledger.Gap)}, true},
		"absent later":            {map[int]func(*report.Departure){3: envoy(ledger.Gap), 5: envoy(ledger.Absent)}, true},
		"never known since":       {map[int]func(*report.Departure){17: envoy(ledger.Gap), 18: envoy(ledger.Gap)}, false},
		"let go once":             {map[int]func(*report.Departure){3: envoy(ledger.Gap), 5: envoy(ledger.Landed)}, false},
		"not read later":          {map[int]func(*report.Departure){16: envoy(ledger.Gap), 17: missing, 18: missing}, false},
	} {
		in := Input{Workload: Workload{Namespace: "prod", Name: "deployment/shop"}}
		for i, s := range ascending(19, 12) {
			d := row(s)
			if change := c.of[i]; change != nil {
				change(&d)
			}
			in.Episodes = append(in.Episodes, episode(i, d))
		}
		a := Advise(in, Pool{}, Options{})
		says := strings.Contains(a.measuredWords(), "envoy too, and it does not send there")
		if (len(a.Idle) == 1) != c.idle || says != c.idle || c.idle && (a.AtLeast || a.Class.N != 19 || a.Regime.Places != "kube-proxy" || len(a.Missing) > 0) {
			t.Errorf("%s: idle %v, at least %t, n %d, places %q, missing %v: %s", name, a.Idle, a.AtLeast, a.Class.N, a.Regime.Places, a.Missing, a.measuredWords())
		}
		for _, e := range in.Episodes {
			for _, k := range e.Departures[0].Kinds {
				if k.Kind == "envoy" && len(k.Outcomes) == 0 {
					t.Errorf("%s: the rows that were given have changed", name)
				}
			}
		}
	}
}
