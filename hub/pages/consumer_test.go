package pages

import (
	"strings"
	"testing"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// TestConsumers: a replica is called by its name, with its node beside it, and its kind says what its word is worth.
func TestConsumers(t *testing.T) {
	late := let("node-2", "config", 0.012, 3.2, 1)
	late.Kind, late.Replica = "ingress-nginx", "edge/nginx-x7k2p"
	d := closeRow(pod("mixed", "shop-1"), let("node-1", "nftables", 0.0118, 0.3, 0.001), late)
	d.Straggler = &late
	d.Kinds = []report.Kind{
		{Kind: "kube-proxy", Places: 1, Outcomes: map[ledger.Outcome]int{ledger.Landed: 1}, LastCall: &report.Span{Lo: 0.29, Hi: 0.3}},
		{Kind: "ingress-nginx", Places: 1, Outcomes: map[ledger.Outcome]int{ledger.Landed: 1}, LastCall: &report.Span{Lo: 2.2, Hi: 3.2}, Fidelity: "config", LagBound: 1},
	}
	d.Missing = []report.Missing{{Place: "envoy", Kind: "envoy", Why: "2 of 2 replicas cannot be read"}}
	f := &fixture{departures: map[string]report.Departure{"mixed": d}, places: []report.Place{
		{Node: "node-2", Kind: "ingress-nginx", Replica: "edge/nginx-x7k2p", Backend: "config", State: report.PlaceNotMeasured, Why: "its status is on localhost"}}}
	for path, says := range map[string][]string{
		"/departures/mixed": {"edge/nginx-x7k2p (ingress-nginx on node-2) let go last, 3.20 s after", "ingress-nginx, on node-2", "1 place; last call 2.20 to 3.20 s",
			"its replicas show what their dataplane will follow, within 1 s", "envoy", "2 of 2 replicas cannot be read"},
		"/places": {"ingress-nginx, edge/nginx-x7k2p, config", "its status is on localhost"},
	} {
		said := text(parse(t, get(t, f, path).Body.String()))
		for _, s := range says {
			if !strings.Contains(said, s) {
				t.Errorf("%s does not say %q:\n%s", path, s, said)
			}
		}
	}
}
