package probes

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/lastcall-k8s/lastcall/ledger"
)

// Found is what programs Services in this network namespace.
type Found struct {
	// Backend is "nftables" or "iptables-nft"; if both are hooked, "nftables", whose table is
	// kube-proxy's own. Every hooked backend is read whatever the label says. Together with an error it is
	// what was found instead, and not measured.
	Backend string
	// Families that are measured.
	Families []ledger.Family

	backends   []foundBackend
	baseChains map[memoKey][]string
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

// errNoKubeProxy says what was looked for, and what was found instead.
var (
	errNoKubeProxy = errors.New("no kube-proxy rules in nf_tables of this network namespace (looked for a hooked table kube-proxy " +
		"and for KUBE-SERVICES in table nat): is kube-proxy running here, in nftables mode or in iptables mode on iptables-nft, " +
		"and does this agent run with hostNetwork?")
	errLegacy = errors.New("kube-proxy's rules seem to be in iptables-legacy, which this version does not measure")
)

// Detect finds the dataplane of the calling thread's network namespace.
func Detect() (Found, error) {
	sock, err := openNetfilter()
	if err != nil {
		return Found{Backend: "unknown"}, err
	}
	defer sock.close()
	return detect(sock)
}

func detect(sock *netfilterSocket) (Found, error) {
	f := Found{baseChains: map[memoKey][]string{}}
	for _, b := range backends {
		for _, family := range []ledger.Family{ledger.IPv4, ledger.IPv6} {
			t := ruleset{sock, protoFamily(family), b.table}
			hooks, err := t.natHooks()
			if err != nil {
				return Found{Backend: "unknown"}, hint(err)
			}
			f.baseChains[memoKey{t.family, t.table, ""}] = hooks
			ok, err := b.dispatches(t, newMemo(f.baseChains))
			if err != nil {
				return Found{Backend: "unknown"}, hint(err)
			}
			if !ok {
				continue
			}
			if f.Backend == "" {
				f.Backend = b.name
			}
			f.backends = append(f.backends, foundBackend{t.family, t.table, b.open})
			if !slices.Contains(f.Families, family) {
				f.Families = append(f.Families, family)
			}
		}
	}
	switch {
	case len(f.backends) > 0:
		return f, nil
	case legacyNAT():
		return Found{Backend: "iptables-legacy"}, errLegacy
	}
	return Found{Backend: "none"}, errNoKubeProxy
}

// same reports whether the same backends program the same families.
func (f Found) same(g Found) bool {
	return slices.EqualFunc(f.backends, g.backends, func(a, b foundBackend) bool { return a.family == b.family && a.table == b.table })
}

func (f Found) String() string {
	var parts []string
	for _, b := range f.backends {
		parts = append(parts, fmt.Sprintf("%s/%d", b.table, b.family))
	}
	return strings.Join(parts, "+")
}

// planes opens what was found on the probe's own socket.
func (f Found) planes(sock *netfilterSocket) (ps []familyPlane) {
	for _, b := range f.backends {
		ps = append(ps, familyPlane{b.family, b.open(ruleset{sock, b.family, b.table})})
	}
	return ps
}

// legacyNAT reports whether iptables-legacy has a nat table here. Reading the table itself would create it.
func legacyNAT() bool {
	names, _ := os.ReadFile("/proc/thread-self/net/ip_tables_names")
	return slices.Contains(strings.Fields(string(names)), "nat")
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
