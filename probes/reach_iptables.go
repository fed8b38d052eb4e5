package probes

import (
	"crypto/sha256"
	"encoding/base32"
	"errors"
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
		return t.entered(m, r.Path, svc, rs)
	}
	sep := endpointChain(r.Path)
	if !slices.ContainsFunc(rs, func(r rule) bool { return slices.Contains(r.jumps, sep) }) {
		return false, nil
	}
	ends, err := m.rules(t.ruleset, sep)
	if err != nil {
		return false, err
	}
	if !slices.ContainsFunc(ends, leads) {
		return false, nil
	}
	return t.entered(m, r.Path, svc, rs)
}

// entered reports whether new connections get from a hook into the service's chain. In clusters of more
// than 1,000 endpoints kube-proxy leaves the chains of a service without endpoints where they are, with
// their jumps, for half a minute and more (k8s v1.36.3 pkg/proxy/iptables/proxier.go:1262): nothing leads
// into them. Who leads there is in KUBE-SERVICES, which has a rule for every service; the chain's
// use count saves reading it. The count already follows a transaction that has not been
// committed, so only "used" is taken from it.
func (t iptablesNFT) entered(m *memo, p ledger.Path, svc string, rs []rule) (bool, error) {
	c, err := m.chain(t.ruleset, svc)
	if errors.Is(err, errAbsent) {
		return false, errInterrupted // it had rules a moment ago
	}
	if err != nil {
		return false, err
	}
	external := "KUBE-EXT-" + serviceHash(p.Service)
	ext, err := m.rules(t.ruleset, external)
	if err != nil {
		return false, err
	}
	fromExternal := 0
	for _, r := range ext {
		if slices.Contains(r.jumps, svc) {
			fromExternal++
		}
	}
	hooked, err := t.hooked(m)
	if err != nil || !hooked {
		return false, err
	}
	if int(c.use) > len(rs)+fromExternal {
		return true, nil
	}
	return t.dispatched(m, p, svc, external, fromExternal > 0)
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

// dispatched reads the dispatching chains themselves.
func (t iptablesNFT) dispatched(m *memo, p ledger.Path, svc, external string, viaExternal bool) (bool, error) {
	firewall := "KUBE-FW-" + serviceHash(p.Service)
	entries := []string{svc}
	if viaExternal {
		entries = append(entries, external, firewall)
	}
	for _, name := range []string{"KUBE-SERVICES", "KUBE-NODEPORTS"} {
		rs, err := m.rules(t.ruleset, name)
		if err != nil {
			return false, err
		}
		for _, r := range rs {
			for _, next := range r.jumps {
				if slices.Contains(entries, next) {
					return true, nil
				}
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
