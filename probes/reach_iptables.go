package probes

import (
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"slices"

	"github.com/lastcall-k8s/lastcall/ledger"
)

// iptablesNFT is kube-proxy's iptables mode on iptables-nft: table "nat" of each family.
//
// The chains' names only say where to look (kube-proxy derives them from the service and the endpoint, so
// they can be computed); what counts is the rules: the endpoint's chain must DNAT to it, the service's
// chain must jump there, and something must lead from a hook to the service's chain.
type iptablesNFT struct{ ruleset }

func (t iptablesNFT) reachable(m *memo, r ledger.Removal) (bool, error) {
	svc := serviceChain(r.Path)
	rs, err := m.rules(t.ruleset, svc)
	if err != nil {
		return false, err
	}
	leads := func(to rule) bool { return slices.Contains(to.dnat, r.Path.Endpoint) }
	if slices.ContainsFunc(rs, leads) { // by somebody else: kube-proxy has a chain for each endpoint
		return t.entered(m, r.Path, svc)
	}
	sep := endpointChain(r.Path)
	if !slices.ContainsFunc(rs, func(r rule) bool { return slices.Contains(r.jumps, sep) }) {
		return false, t.understood(svc, rs)
	}
	ends, err := m.rules(t.ruleset, sep)
	if err != nil {
		return false, err
	}
	if !slices.ContainsFunc(ends, leads) {
		return false, t.understood(sep, ends)
	}
	return t.entered(m, r.Path, svc)
}

// understood refuses to call a path gone from a chain that can lead where was not looked: no iptables has written
// such rules so far.
func (t iptablesNFT) understood(name string, rs []rule) error {
	for _, r := range rs {
		if r.opaque || len(r.dnatMaps) > 0 || len(r.verdictMaps) > 0 {
			return fmt.Errorf("chain %s of table %s has a DNAT without a known address, or a map: %w", name, t.table, errLayout)
		}
	}
	return nil
}

// entered reports whether new connections get from a hook into the service's chain, KUBE-SVC or KUBE-SVL:
// straight from the dispatching chains, or through KUBE-EXT, and to that also through KUBE-FW. In clusters of
// more than 1,000 endpoints kube-proxy leaves the chains of a service without endpoints where they are, with
// their jumps, for half a minute and more (k8s v1.36.3 pkg/proxy/iptables/proxier.go:1262): nothing leads
// into them. Who leads there is in KUBE-SERVICES, which has a rule for every service; the chains'
// use counts save reading it. A count already follows a transaction that has not been
// committed, so only "used" is taken from it. Most often it is low for that reason: kube-proxy rewrites KUBE-SERVICES in
// each sync. Its 1,000 rules are 2 ms of reading, so who is hasty comes again.
func (t iptablesNFT) entered(m *memo, p ledger.Path, svc string) (bool, error) {
	hooked, err := t.hooked(m)
	if err != nil || !hooked {
		return false, err
	}
	hash := serviceHash(p.Service)
	entries := []string{svc}
	for _, before := range []string{"KUBE-EXT-" + hash, "KUBE-FW-" + hash} {
		last := entries[len(entries)-1]
		rs, err := m.rules(t.ruleset, before)
		if err != nil {
			return false, err
		}
		used, err := t.used(m, last, jumpsTo(rs, last))
		if used || err != nil {
			return used, err
		}
		if jumpsTo(rs, last) == 0 {
			return t.dispatched(m, entries)
		}
		entries = append(entries, before)
	}
	used, err := t.used(m, entries[len(entries)-1], 0)
	if used || err != nil {
		return used, err
	}
	return t.dispatched(m, entries)
}

// used reports whether more leads to a chain than its own rules and so many known jumps account for.
func (t iptablesNFT) used(m *memo, name string, known int) (bool, error) {
	rs, err := m.rules(t.ruleset, name)
	if err != nil {
		return false, err
	}
	c, err := m.chain(t.ruleset, name)
	if errors.Is(err, errAbsent) {
		return false, errInterrupted // it had rules a moment ago
	}
	return int(c.use) > len(rs)+known, err
}

func jumpsTo(rs []rule, name string) (n int) {
	for _, r := range rs {
		if slices.Contains(r.jumps, name) {
			n++
		}
	}
	return n
}

// hooked reports whether a hook leads to KUBE-SERVICES at all.
func (t iptablesNFT) hooked(m *memo) (bool, error) {
	roots, err := nftables(t).roots(m)
	if err != nil {
		return false, err
	}
	for _, root := range roots {
		rs, err := m.rules(t.ruleset, root)
		if err != nil {
			return false, err
		}
		if slices.ContainsFunc(rs, func(r rule) bool { return slices.Contains(r.jumps, "KUBE-SERVICES") }) {
			return true, nil
		}
	}
	return false, nil
}

// dispatched reads the dispatching chains themselves for a jump to one of the entries.
func (t iptablesNFT) dispatched(m *memo, entries []string) (bool, error) {
	if m.hasty {
		return false, errPreparing
	}
	for _, name := range []string{"KUBE-SERVICES", "KUBE-NODEPORTS"} {
		rs, err := m.rules(t.ruleset, name)
		if err != nil {
			return false, err
		}
		for _, entry := range entries {
			if jumpsTo(rs, entry) > 0 {
				return true, nil
			}
		}
	}
	return false, nil
}

// serviceHash is portProtoHash (k8s v1.36.3 pkg/proxy/iptables/proxier.go:546).
func serviceHash(s ledger.ServicePort) string { return hash16(s.String() + s.Protocol) }

func serviceChain(p ledger.Path) string {
	if p.Policy == ledger.Local {
		return "KUBE-SVL-" + serviceHash(p.Service)
	}
	return "KUBE-SVC-" + serviceHash(p.Service)
}

// endpointChain is servicePortEndpointChainName (:590); an IPv6 endpoint is written "[ip]:port".
func endpointChain(p ledger.Path) string {
	return "KUBE-SEP-" + hash16(p.Service.String()+p.Service.Protocol+p.Endpoint.String())
}

func hash16(s string) string {
	sum := sha256.Sum256([]byte(s))
	return base32.StdEncoding.EncodeToString(sum[:])[:16]
}
