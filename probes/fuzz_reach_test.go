package probes

import (
	"fmt"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lastcall-k8s/lastcall/ledger"
)

// FuzzReachable builds rule sets, writes them as the kernel does, and compares the walk with a search of its own over
// what was built. A path that somebody can take is never called gone, and one that nobody can take never routed.
func FuzzReachable(f *testing.F) {
	f.Add([]byte{1, 0, 0, 0, 1, 1, 0, 2, 0, 3, 0, 4})
	f.Add([]byte("\x02\x03\x00\x01\x00\x02\x03\x02\x04\x01\x03\x01\x02\x03\x04\x05\x06\x07\x08\x09"))
	f.Fuzz(func(t *testing.T, choices []byte) {
		in := &chooser{choices}
		m := buildModel(in)
		target := in.endpoint(unix.NFPROTO_IPV4)
		r := ledger.Removal{Key: ledger.Key{UID: "u", Path: ledger.Path{Policy: ledger.Cluster, Endpoint: target,
			Service: ledger.ServicePort{Namespace: "shop", Name: "web", Protocol: "tcp"}}}}

		want, opaque := m.reaches(target.String())
		got, err := nftables{m.ruleset}.reachable(m.memo, r)
		switch {
		case err == nil && got != want:
			t.Errorf("nftables: reachable %v, want %v: %v", got, want, m.chains)
		case err != nil && !opaque:
			t.Errorf("nftables: %v, and nothing is strange: %v", err, m.chains)
		}

		// The same endpoint and service chain names as kube-proxy's, in table nat.
		routed, strange := m.rename(r.Path)
		got, err = iptablesNFT{m.ruleset}.reachable(m.memo, r)
		switch {
		case err == nil && !got && routed:
			t.Errorf("iptables: not reachable, but KUBE-SERVICES leads to it: %v", m.chains)
		case err == nil && strange:
			t.Errorf("iptables: reachable %v by rules that nobody can read: %v", got, m.chains)
		}
	})
}

// model is a rule set of a few chains: the last of them is hooked.
type model struct {
	ruleset
	memo   *memo
	chains map[string][]rule
	sets   map[string][]element
}

const hookedChain = "hook"

func buildModel(in *chooser) *model {
	m := &model{ruleset: ruleset{sock: &netfilterSocket{fd: -1}, family: unix.NFPROTO_IPV4, table: "t"},
		chains: map[string][]rule{}, sets: map[string][]element{}}
	m.memo = newMemo(map[memoKey][]string{{m.family, m.table, ""}: {hookedChain}})
	for _, name := range []string{"a", "b", "c", "d", "e", hookedChain} {
		for range in.n(4) {
			var exprs, whole attrs
			var want rule
			in.expression(&exprs, &want, m.family)
			whole.bytes(unix.NFTA_RULE_EXPRESSIONS|unix.NLA_F_NESTED, exprs.b)
			got, err := decodeRule(m.family, whole.b)
			if err != nil || !sameRule(got, want) {
				panic(fmt.Sprint("FuzzRule should have found this: ", got, want, err))
			}
			m.chains[name] = append(m.chains[name], got)
		}
		m.memo.ruleLists[m.key(name)] = m.chains[name]
		m.memo.chains[m.key(name)] = chain{name: name, hooked: name == hookedChain}
		// Anonymous maps of the names that expression uses.
		var verdicts, addresses []element
		for range in.n(3) {
			verdicts = append(verdicts, element{chain: string(rune('a' + in.n(5)))})
			addresses = append(addresses, m.address(in))
		}
		for name, es := range map[string][]element{"vmap-" + name: verdicts, "map-" + name: addresses} {
			m.sets[name] = es
			m.memo.elems[m.key(name)] = es
			m.memo.sets[m.key(name)] = set{keyLen: 4, anonymous: true}
		}
	}
	m.memo.hooks[m.key("")] = []string{hookedChain}
	return m
}

func (m *model) key(name string) memoKey { return memoKey{m.family, m.table, name} }

// address writes an element of a DNAT map and reads it back.
func (m *model) address(in *chooser) element {
	ap := in.endpoint(m.family)
	value := append(ap.Addr().AsSlice(), byte(ap.Port()>>8), byte(ap.Port()), 0, 0)
	var b attrs
	b.nested(unix.NFTA_SET_ELEM_LIST_ELEMENTS, func(a *attrs) {
		a.nested(unix.NFTA_LIST_ELEM, func(a *attrs) {
			a.nested(unix.NFTA_SET_ELEM_KEY, func(a *attrs) { a.bytes(unix.NFTA_DATA_VALUE, be(uint32(in.n(4)))) })
			a.nested(unix.NFTA_SET_ELEM_DATA, func(a *attrs) { a.bytes(unix.NFTA_DATA_VALUE, value) })
		})
	})
	var got []element
	if err := decodeElements(b.b, func(e element) { got = append(got, e) }); err != nil || len(got) != 1 {
		panic(fmt.Sprint("one element written, read: ", got, err))
	}
	if back, ok := addrPort(got[0].value); !ok || back != ap {
		panic(fmt.Sprintf("address %v written, %v read", ap, back))
	}
	return got[0]
}

// reaches is the plainest search there is: sets of names, until nothing is added. opaque is true if something that
// nobody can read is on the way.
func (m *model) reaches(endpoint string) (found, opaque bool) {
	seen := map[string]bool{hookedChain: true}
	for grown := true; grown; {
		grown = false
		for name := range seen {
			for _, r := range m.chains[name] {
				opaque = opaque || r.opaque
				for _, ap := range r.dnat {
					found = found || ap.String() == endpoint
				}
				for _, set := range r.dnatMaps {
					for _, e := range m.sets[set] {
						ap, _ := addrPort(e.value)
						found = found || ap.String() == endpoint
					}
				}
				next := slices.Clone(r.jumps)
				for _, set := range r.verdictMaps {
					for _, e := range m.sets[set] {
						next = append(next, e.chain)
					}
				}
				for _, n := range next {
					grown = grown || !seen[n]
					seen[n] = true
				}
			}
		}
	}
	return found, opaque
}

// rename spreads the model's chains over the names that iptables mode computes: a is the service's chain, b the
// endpoint's, c KUBE-SERVICES, d the external one, e KUBE-NODEPORTS. It says whether the ways that kube-proxy makes
// lead from the hook to the endpoint; and whether that cannot be said, because the chain where they end has rules that can lead
// anywhere.
func (m *model) rename(p ledger.Path) (routed, strange bool) {
	names := map[string]string{"a": serviceChain(p), "b": endpointChain(p), "c": "KUBE-SERVICES",
		"d": "KUBE-EXT-" + serviceHash(p.Service), "e": "KUBE-NODEPORTS", hookedChain: hookedChain}
	leads := map[string]bool{}
	for short, long := range names {
		var rs []rule
		for _, r := range m.chains[short] {
			r.jumps = slices.Clone(r.jumps)
			for i, j := range r.jumps {
				leads[short+j] = true
				r.jumps[i] = names[j]
			}
			rs = append(rs, r)
		}
		m.memo.ruleLists[m.key(long)] = rs
		m.memo.chains[m.key(long)] = chain{name: long, hooked: short == hookedChain, use: uint32(len(rs))}
	}
	leadsThere := func(r rule) bool { return slices.Contains(r.dnat, p.Endpoint) }
	// Somebody else's DNAT may be in the service's chain itself.
	direct, ends := slices.ContainsFunc(m.chains["a"], leadsThere), slices.ContainsFunc(m.chains["b"], leadsThere)
	entered := leads["ca"] || leads["cd"] && leads["da"] || leads["ce"] && (leads["ea"] || leads["ed"] && leads["da"])
	last := "b"
	if !leads["ab"] {
		last = "a"
	}
	strange = !direct && !(leads["ab"] && ends) && slices.ContainsFunc(m.chains[last], func(r rule) bool {
		return r.opaque || len(r.dnatMaps) > 0 || len(r.verdictMaps) > 0
	})
	return leads[hookedChain+"c"] && entered && (direct || leads["ab"] && ends), strange
}
