package hub

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/hub/serving"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// TestConsumersOfTheStatus: what the hub says of consumers is as long as there are kinds, however many replicas have a reason of their own.
func TestConsumersOfTheStatus(t *testing.T) {
	w := newWorld(t, "a", "b")
	var many []ledger.Consumer
	for i := range 30 {
		many = append(many, ledger.Consumer{Place: "haproxy", Replica: fmt.Sprintf("edge/h-%02d", i), Fidelity: "dataplane", Unread: fmt.Sprintf("reason %02d", i/2)})
	}
	w.reads("a", append(many, ledger.Consumer{Place: "moon", Replica: "edge/m"}, ledger.Consumer{Place: "traefik", Replica: "edge/t", Fidelity: "dataplane"})...)
	w.reads("b", ledger.Consumer{Place: "traefik", Replica: "edge/u", Fidelity: "dataplane", Lag: 2}, ledger.Consumer{Place: "envoy", Replica: "edge/envoy-x", Unread: "on localhost"})
	w.beside("edge/envoy-x", "b", envoy)
	h := &Hub{join: w.j, cfg: Config{Now: func() time.Time { return w.now }, Served: func() []serving.Served {
		return []serving.Served{{Way: serving.Way{Place: "ingress-nginx", Controller: "k8s.io/ingress-nginx"}, Services: 2, Example: serving.Name{Namespace: "shop", Name: "web"}}}
	}, Serves: NoRoutes}, listed: map[string]func() bool{"edge": func() bool { return true }, "other": func() bool { return false }}}
	var s report.Status
	h.consumers(&s)
	var reasons []report.Unread
	for i := range mostReasons {
		reasons = append(reasons, report.Unread{Why: fmt.Sprintf("reason %02d", i), Replicas: 2, Replica: fmt.Sprintf("edge/h-%02d", 2*i), Node: "a"})
	}
	want := report.Status{
		Consumers: []report.ConsumerKind{
			{Kind: "envoy", Replicas: 1, Read: 1, Fidelity: "dataplane", LagBound: 1},
			{Kind: "haproxy", Replicas: 30, Fidelity: "dataplane", Unread: reasons, UnreadMore: 10},
			{Kind: "moon", Replicas: 1, Unread: []report.Unread{{Why: kindUnknown, Replicas: 1, Replica: "edge/m", Node: "a"}}},
			{Kind: "traefik", Replicas: 2, Read: 2, Fidelity: "dataplane", LagBound: 2},
		},
		Unserved: []report.Missing{{Place: "ingress-nginx", Kind: "ingress-nginx", Why: "it serves 2 Services, such as shop/web, and no agent reads a replica of it"}},
		Routes:   "the hub was told not to look at routes (--routes=false)",
		Unlisted: []string{"other"},
	}
	if d := cmp.Diff(want, s); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}
