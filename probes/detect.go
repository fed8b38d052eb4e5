package probes

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/lastcall-k8s/lastcall/ledger"
)

// Found is what programs Services in this network namespace.
type Found struct {
	// Backend is "nftables", "iptables-nft" or "iptables-legacy". Every hooked backend is read, whatever the label
	// says; if several are, it is the one that kube-proxy is known to program, by its own word or because removals
	// landed there, and else the first in this order. Together with an error it is what was found instead, and not
	// measured.
	Backend string
	// Families that are measured.
	Families []ledger.Family

	nftBackend string // the label of what is in nf_tables
	backends   []foundBackend
	baseChains map[memoKey][]string
	legacy     []uint8 // families of iptables-legacy
	mover      string  // what Hints said
}

// iptablesLegacy is the backend without generations.
const iptablesLegacy = "iptables-legacy"

// Hints help to tell the backend that kube-proxy programs from leftovers of another. They never decide what is read.
type Hints struct {
	// KubeProxy is where kube-proxy serves its metrics, and with them its mode: 127.0.0.1:10249; "" is nowhere.
	KubeProxy string
	// Mover is the backend that was seen to change, see KubeProxy.Mover.
	Mover string
}

type foundBackend struct {
	family uint8
	table  string
	open   func(ruleset) plane
}

type familyPlane struct {
	family uint8
	plane
}

// backends are kube-proxy's nf_tables dataplanes: a table, and how to read it.
var backends = []struct {
	name, table string
	open        func(ruleset) plane
	// dispatches reports whether the hooks lead to kube-proxy's Services.
	dispatches func(ruleset, *memo) (bool, error)
}{
	{"nftables", "kube-proxy",
		func(t ruleset) plane { return nftables{t} },
		func(t ruleset, m *memo) (bool, error) { roots, err := nftables{t}.roots(m); return len(roots) > 0, err }},
	{"iptables-nft", "nat",
		func(t ruleset) plane { return iptablesNFT{t} },
		func(t ruleset, m *memo) (bool, error) { return iptablesNFT{t}.hooked(m) }},
}

// errNoKubeProxy says what was looked for.
var errNoKubeProxy = errors.New("no kube-proxy rules in this network namespace (looked for a hooked table kube-proxy " +
	"and for KUBE-SERVICES in table nat, of nf_tables and of iptables-legacy): is kube-proxy running here, in nftables or iptables mode, " +
	"and does this agent run with hostNetwork?")

// Detect finds the dataplane of the calling thread's network namespace.
func Detect(h Hints) (Found, error) {
	sock, err := openNFTables()
	if err != nil {
		return Found{Backend: "unknown"}, err
	}
	if sock != nil {
		defer sock.close()
	}
	f, err := detect(sock, Found{})
	mode := proxyMode(h.KubeProxy)
	switch {
	case errors.Is(err, errNoKubeProxy) && mode == ipvs:
		return Found{Backend: ipvs}, fmt.Errorf("kube-proxy says that it runs in mode ipvs: %w", errReplaced)
	case err == nil:
		f.choose(mode, h.Mover)
	}
	return f, err
}

// openNFTables opens a socket to nf_tables, and none if this kernel has no nf_tables.
func openNFTables() (*netfilterSocket, error) {
	sock, err := openNetfilter()
	if err != nil {
		return nil, err
	}
	if _, err = sock.generation(); err == nil {
		return sock, nil
	}
	sock.close()
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL) {
		return nil, nil
	}
	return nil, hint(err)
}

// detect looks for hooked dataplanes. Of what was found before, iptables-legacy is not read again: it can only be read
// whole.
func detect(sock *netfilterSocket, before Found) (Found, error) {
	f := Found{baseChains: map[memoKey][]string{}}
	replaced := replacement(linkNames())
	for _, b := range backends {
		for _, family := range []ledger.Family{ledger.IPv4, ledger.IPv6} {
			if sock == nil {
				continue
			}
			t := ruleset{sock, protoFamily(family), b.table}
			hooks, err := t.natHooks()
			if err != nil {
				return Found{Backend: "unknown"}, hint(err)
			}
			f.baseChains[memoKey{t.family, t.table, ""}] = hooks
			ok, err := b.dispatches(t, newMemo(f.baseChains))
			if err == nil && ok && replaced == ipvs {
				ok, err = leadsToServices(t, newMemo(f.baseChains))
			}
			if err != nil {
				return Found{Backend: "unknown"}, hint(err)
			}
			if !ok {
				continue
			}
			if f.Backend == "" {
				f.Backend, f.nftBackend = b.name, b.name
			}
			f.backends = append(f.backends, foundBackend{t.family, t.table, b.open})
			f.measures(family)
		}
	}
	for _, family := range []ledger.Family{ledger.IPv4, ledger.IPv6} {
		ok, err := slices.Contains(before.legacy, protoFamily(family)), error(nil)
		if !ok {
			ok, err = legacyServes(protoFamily(family), replaced == ipvs)
		}
		if err != nil {
			return Found{Backend: "unknown"}, hint(err)
		}
		if !ok {
			continue
		}
		if f.Backend == "" {
			f.Backend = iptablesLegacy
		}
		f.legacy = append(f.legacy, protoFamily(family))
		f.measures(family)
	}
	switch {
	case f.Backend != "":
		return f, nil
	case replaced != "":
		return Found{Backend: replaced}, fmt.Errorf("%s: %w", replaced, errReplaced)
	}
	return Found{Backend: "none"}, errNoKubeProxy
}

func (f *Found) measures(family ledger.Family) {
	if !slices.Contains(f.Families, family) {
		f.Families = append(f.Families, family)
	}
}

// choose sets the label where several backends are hooked.
func (f *Found) choose(mode, mover string) {
	f.mover = mover
	var hooked []string
	for _, b := range backends {
		if slices.ContainsFunc(f.backends, func(h foundBackend) bool { return h.table == b.table }) {
			hooked = append(hooked, b.name)
		}
	}
	if len(f.legacy) > 0 {
		hooked = append(hooked, iptablesLegacy)
	}
	of := func(name string) bool { return slices.Contains(hooked, name) }
	switch {
	case mode == "nftables" && of("nftables"):
		f.Backend = "nftables"
	case of(mover):
		f.Backend = mover
	case mode == "iptables":
		hooked = slices.DeleteFunc(hooked, func(name string) bool { return name == "nftables" })
		if len(hooked) > 0 {
			f.Backend = hooked[0]
		}
	}
	if f.nftBackend != "" && f.Backend != iptablesLegacy {
		f.nftBackend = f.Backend
	}
}

// legacyServes reports whether iptables-legacy leads from a hook to kube-proxy's Services.
func legacyServes(family uint8, strict bool) (bool, error) {
	t, err := openLegacy(family)
	if errors.Is(err, errNoTable) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer t.close()
	r, err := t.read()
	if err != nil {
		return false, err
	}
	ok, err := t.hooked(r.memo)
	if err == nil && ok && strict {
		ok, err = leadsToServices(t.ruleset, r.memo)
	}
	return ok, err
}

// leadsToServices reports whether KUBE-SERVICES or KUBE-NODEPORTS jumps to the chain of some Service. In mode ipvs
// kube-proxy hooks them too, for masquerading (k8s v1.36.3 pkg/proxy/ipvs/proxier.go), and they jump to none.
func leadsToServices(t ruleset, m *memo) (bool, error) {
	if t.table != nat {
		return true, nil
	}
	for _, name := range []string{"KUBE-SERVICES", "KUBE-NODEPORTS"} {
		rs, err := m.rules(t, name)
		if err != nil {
			return false, err
		}
		for _, r := range rs {
			for _, next := range r.jumps {
				for _, prefix := range []string{"KUBE-SVC-", "KUBE-SVL-", "KUBE-EXT-", "KUBE-FW-"} {
					if strings.HasPrefix(next, prefix) {
						return true, nil
					}
				}
			}
		}
	}
	return false, nil
}

// legacyState is what can be learnt cheaply of tables of iptables-legacy in which kube-proxy was not found.
type legacyState struct {
	v4, v6 tableInfo // zero: there is none, or it is read anyway
}

func (f Found) legacyState() (s legacyState) {
	for family, info := range map[uint8]*tableInfo{unix.NFPROTO_IPV4: &s.v4, unix.NFPROTO_IPV6: &s.v6} {
		if slices.Contains(f.legacy, family) {
			continue
		}
		sock, err := openXtables(family)
		if err != nil {
			continue // no tables; what else is wrong shows when it is looked for
		}
		*info, _ = sock.info()
		sock.close()
	}
	return s
}

// same reports whether the same backends program the same families.
func (f Found) same(g Found) bool {
	return slices.Equal(f.legacy, g.legacy) &&
		slices.EqualFunc(f.backends, g.backends, func(a, b foundBackend) bool { return a.family == b.family && a.table == b.table })
}

func (f Found) String() string {
	var parts []string
	for _, b := range f.backends {
		parts = append(parts, fmt.Sprintf("%s/%d", b.table, b.family))
	}
	for _, family := range f.legacy {
		parts = append(parts, fmt.Sprintf("%s/%d", iptablesLegacy, family))
	}
	return strings.Join(parts, "+")
}

// planes opens what was found in nf_tables on the probe's own socket.
func (f Found) planes(sock *netfilterSocket) (ps []familyPlane) {
	for _, b := range f.backends {
		ps = append(ps, familyPlane{b.family, b.open(ruleset{sock, b.family, b.table})})
	}
	return ps
}

// hint says what to do about an error of the kernel.
func hint(err error) error {
	switch {
	case errors.Is(err, unix.EPERM):
		return errors.Join(err, errors.New("the kernel refuses to show its rules: run as root with CAP_NET_ADMIN"))
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EINVAL):
		return errors.Join(err, errors.New("this kernel seems to have no nf_tables"))
	}
	return err
}
