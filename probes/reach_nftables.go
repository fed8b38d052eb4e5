package probes

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/lastcall-k8s/lastcall/ledger"
)

// nftables is kube-proxy's nftables mode: table "kube-proxy" of each family
// (k8s v1.36.3 pkg/proxy/nftables/proxier.go:58).
//
// Reachability is walked on values from the hooked base chains: jumps are followed, a verdict map is asked
// for the frontends of the service, and the ends are DNAT addresses. That covers the layouts so far:
// up to 1.35 a numgen verdict map to a chain per endpoint, in 1.36 a DNAT through a numgen map (:1768),
// endpoint chains with session affinity (:1799), and a plain DNAT. The chains "firewall-", in which
// loadBalancerSourceRanges are kept out, are at filter hooks and before DNAT: whoever is let in gets here.
type nftables struct{ ruleset }

// maxChains bounds one walk; a service's own part has a handful of chains and one per endpoint.
const maxChains = 100_000

var errLayout = errors.New("rules have a layout this version does not know")

// reachable reports whether a new connection to a frontend of the removal can be sent to its endpoint.
func (n nftables) reachable(m *memo, r ledger.Removal) (bool, error) {
	roots, err := n.roots(m)
	if err != nil {
		return false, err
	}
	w := walk{nftables: n, memo: m, removal: r, visited: map[string]bool{}}
	for _, name := range roots {
		w.push(name)
	}
	for len(w.todo) > 0 {
		name := w.todo[len(w.todo)-1]
		w.todo = w.todo[:len(w.todo)-1]
		if found, err := w.chain(name); found || err != nil {
			return found, err
		}
	}
	return false, nil
}

// roots are the hooked base chains, read again in every pass: a table that lost its hooks routes nothing.
func (n nftables) roots(m *memo) ([]string, error) {
	key := memoKey{n.family, n.table, ""}
	if names, ok := m.hooks[key]; ok {
		return names, nil
	}
	var hooked []string
	for _, name := range m.baseChains[key] {
		c, err := n.ruleset.chain(name)
		if errors.Is(err, errAbsent) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if c.hooked {
			hooked = append(hooked, name)
		}
	}
	m.hooks[key] = hooked
	return hooked, nil
}

// walk is one search from the hooks to an endpoint.
type walk struct {
	nftables
	memo    *memo
	removal ledger.Removal
	todo    []string
	visited map[string]bool
}

func (w *walk) push(name string) {
	other, known := otherPolicy[w.removal.Path.Policy]
	if name != "" && !(known && strings.HasPrefix(name, other)) && !w.visited[name] {
		w.visited[name] = true
		w.todo = append(w.todo, name)
	}
}

// otherPolicy is how the chains begin that a path of the policy does not take. The same external frontend
// leads to the endpoints of both, by the client's address (k8s v1.36.3 pkg/proxy/nftables/proxier.go:1511-1559:
// "external-" to "service-" or "local-"), and each of the two empties on its own. That a chain has such a
// name proves nothing but where not to go: the walk starts at the hooks and ends at addresses.
var otherPolicy = map[ledger.Policy]string{ledger.Cluster: "local-", ledger.Local: "service-"}

func (w *walk) chain(name string) (found bool, err error) {
	if len(w.visited) > maxChains {
		return false, fmt.Errorf("walk of table %s visits more than %d chains: %w", w.table, maxChains, errLayout)
	}
	rs, err := w.memo.rules(w.ruleset, name)
	if err != nil {
		return false, err
	}
	for _, r := range rs {
		if r.opaque {
			return false, fmt.Errorf("chain %s of table %s has a DNAT without a known address: %w", name, w.table, errLayout)
		}
		for _, ap := range r.dnat {
			if ap == w.removal.Path.Endpoint {
				return true, nil
			}
		}
		for _, set := range r.dnatMaps {
			if found, err := w.dnatMap(set); found || err != nil {
				return found, err
			}
		}
		for _, set := range r.verdictMaps {
			if err := w.verdictMap(set); err != nil {
				return false, err
			}
		}
		for _, next := range r.jumps {
			w.push(next)
		}
	}
	return false, nil
}

func (w *walk) dnatMap(name string) (found bool, err error) {
	es, err := w.memo.elements(w.ruleset, name)
	if err != nil {
		return false, err
	}
	for _, e := range es {
		ap, ok := addrPort(e.value)
		if !ok {
			return false, fmt.Errorf("map %s of table %s has a value of %d bytes: %w", name, w.table, len(e.value), errLayout)
		}
		if ap == w.removal.Path.Endpoint {
			return true, nil
		}
	}
	return false, nil
}

// verdictMap follows an anonymous map whole, and a named one (all services of the cluster) for the
// frontends of this service only.
func (w *walk) verdictMap(name string) error {
	s, err := w.memo.set(w.ruleset, name)
	if err != nil {
		return err
	}
	if s.anonymous {
		es, err := w.memo.elements(w.ruleset, name)
		for _, e := range es {
			w.push(e.chain)
		}
		return err
	}
	for _, f := range w.removal.Frontends {
		key := frontendKey(f, w.removal.Path)
		if len(key) != int(s.keyLen) {
			if s.keyLen == 8 || s.keyLen == 12 || s.keyLen == 24 {
				continue // of the other kind
			}
			return fmt.Errorf("map %s of table %s has keys of %d bytes: %w", name, w.table, s.keyLen, errLayout)
		}
		e, err := w.lookup(name, key)
		if errors.Is(err, errAbsent) {
			continue
		}
		if err != nil {
			return err
		}
		w.push(e.chain)
	}
	return nil
}

// frontendKey spells a frontend as the key of service-ips (address . protocol . port: 12 or 24 bytes) or of
// service-nodeports (protocol . port: 8 bytes), each field padded to 4 bytes.
func frontendKey(f ledger.Frontend, p ledger.Path) []byte {
	key := append(f.Addr.AsSlice(), protocols[p.Service.Protocol], 0, 0, 0)
	key = binary.BigEndian.AppendUint16(key, f.Port)
	return append(key, 0, 0)
}

var protocols = map[string]byte{"tcp": unix.IPPROTO_TCP, "udp": unix.IPPROTO_UDP, "sctp": unix.IPPROTO_SCTP}
