package ledger

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// TestDataplaneChanges: what is open goes on under another backend; under none that can be measured it ends as gap, retained
// ones too, and nothing is opened until one is found.
func TestDataplaneChanges(t *testing.T) {
	l, reg := newTest(t, Config{})
	a, b, c := key("a", 1), key("b", 2), key("c", 3)
	l.Apply([]Change{left(a, 0), retain(b, 0)})
	if forget := l.Dataplane("iptables-legacy", []Family{IPv4}, ms(10)); len(forget) != 0 {
		t.Errorf("forgotten although still measured: %v", forget)
	}
	l.Land(seen(l, landing(a, 20, 30)))
	if forget := l.Dataplane("cilium", nil, ms(40)); len(forget) != 1 || forget[0] != b {
		t.Errorf("forget %v, want %v", forget, b)
	}
	l.Dataplane("cilium", nil, ms(41)) // it is looked for every 2 s
	if watch, _ := l.Apply([]Change{left(c, 50)}); len(watch) != 0 {
		t.Errorf("watched where nothing can be measured: %v", watch)
	}
	l.Dataplane("nftables", []Family{IPv4}, ms(60))
	if watch, _ := l.Apply([]Change{left(c, 70)}); len(watch) != 1 {
		t.Error("not watched although it can be measured again")
	}
	if p, r := l.Open(); p != 1 || r != 0 {
		t.Errorf("%d pending, %d retained", p, r)
	}
	var told []string
	l.Tell()
	texts, _, _ := l.cfg.Events.Since(1)
	for _, text := range texts {
		for _, backend := range []string{"nftables", "iptables-legacy", "cilium"} {
			if strings.Contains(string(text), `"backend":"`+backend+`"`) {
				told = append(told, backend)
			}
		}
	}
	if got, want := strings.Join(told, " "), "nftables iptables-legacy iptables-legacy nftables"; got != want {
		t.Errorf("lines name the backends %q, want %q", got, want)
	}
	err := testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP lastcall_agent_dataplane_info The dataplane found on this node. measured is false where this agent cannot time it.
# TYPE lastcall_agent_dataplane_info gauge
lastcall_agent_dataplane_info{backend="nftables",family="ipv4",measured="true"} 1
lastcall_agent_dataplane_info{backend="nftables",family="ipv6",measured="false"} 1
# HELP lastcall_removals_total Removals by how they ended. Every removal ends in exactly one outcome.
# TYPE lastcall_removals_total counter
lastcall_removals_total{family="ipv4",outcome="absent",place="kube-proxy"} 0
lastcall_removals_total{family="ipv4",outcome="excluded",place="kube-proxy"} 0
lastcall_removals_total{family="ipv4",outcome="expired",place="kube-proxy"} 0
lastcall_removals_total{family="ipv4",outcome="gap",place="kube-proxy"} 1
lastcall_removals_total{family="ipv4",outcome="landed",place="kube-proxy"} 1
lastcall_removals_total{family="ipv4",outcome="restored",place="kube-proxy"} 0
lastcall_removals_total{family="ipv4",outcome="superseded",place="kube-proxy"} 0
`), "lastcall_agent_dataplane_info", "lastcall_removals_total")
	if err != nil {
		t.Error(err)
	}
}
