//go:build linux

package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/lastcall-k8s/lastcall/internal/testbed"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// run runs a tool in a node's network namespace and returns what it prints.
func (w *world) run(t *testing.T, node, stdin, name string, args ...string) string {
	t.Helper()
	cmd := w.Command(node, name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s on %s: %v\n%s", name, node, err, out)
	}
	return string(out)
}

// edit adds a rule to a Service's chain that sends connections to an address, as somebody might who is not kube-proxy.
func (w *world) edit(t *testing.T, n testbed.Node, b *byHand, to netip.AddrPort) {
	t.Helper()
	find := func(text, pattern string) string {
		m := regexp.MustCompile(pattern).FindStringSubmatch(text)
		if m == nil {
			t.Fatalf("no chain of %s on %s in\n%s", b.name, n.Name, text)
		}
		return m[1]
	}
	if n.Mode == testbed.NFTables {
		chain := find(w.run(t, n.Name, "", "nft", "list", "chains", "ip"), `chain (service-\w+-`+b.namespace+"/"+b.name+`/\S+) `)
		w.run(t, n.Name, fmt.Sprintf("add rule ip kube-proxy %s meta l4proto tcp dnat to %s\n", chain, to), "nft", "-f", "-")
		return
	}
	chain := find(w.run(t, n.Name, "", "iptables-save", "-t", "nat"), `-A KUBE-SERVICES -d `+b.vip.Addr().String()+`/32 .* -j (KUBE-SVC-\w+)`)
	w.run(t, n.Name, "", "iptables", "-w", "-t", "nat", "-A", chain, "-p", "tcp", "-j", "DNAT", "--to-destination", to.String())
}

// leftovers: kube-proxy was started in another mode, and the tables of the old one are still there and hooked. They route as
// well, so nothing has landed before they are gone too. kube-proxy cleans up when it starts; what puts them back here is an
// operator's restore.
func leftovers(t *testing.T, w *world, node string) {
	w.take(t, node)
	ns := w.namespace(t, "leftovers")
	w.service(t, ns, "shop")
	stays, goes := w.pod(t, ns, "stays"), w.pod(t, ns, "goes")
	w.served(t, stays, goes)
	at := netip.MustParseAddrPort(goes.Status.PodIP + ":8080")
	table := w.run(t, node, "", "nft", "list", "table", "ip", "kube-proxy")
	restart := func(settings ...string) {
		t.Helper()
		if err := w.StopKubeProxy(context.Background(), node); err != nil {
			t.Error(err)
		}
		if err := w.StartKubeProxy(context.Background(), node, settings...); err != nil {
			t.Error(err)
		}
	}
	restart("mode=iptables")
	t.Cleanup(func() { restart() })
	inIPTables := func() bool { return mentions([]byte(w.run(t, node, "", "iptables-save", "-t", "nat")), at) }
	within(t, soon, func() error {
		if !inIPTables() {
			return fmt.Errorf("%s does not route to %s in iptables mode", node, at)
		}
		return nil
	})
	w.run(t, node, table, "nft", "-f", "-")
	a := w.agent(t, node)
	w.delete(t, *goes)
	settledOf(t, a, "pending", string(goes.UID), isPending)
	within(t, soon, func() error {
		if inIPTables() {
			return fmt.Errorf("kube-proxy still routes to %s", at)
		}
		return nil
	})
	before := time.Now()
	w.run(t, node, "", "nft", "delete", "table", "ip", "kube-proxy")
	e, settled := outcome(t, a, string(goes.UID))
	if settled.Outcomes[ledger.Landed] != 1 || e.Hi.Before(before) {
		t.Errorf("landed by %v, the leftovers were there until %v: %+v", e.Hi, before, settled)
	}
}
