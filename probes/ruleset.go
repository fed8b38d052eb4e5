package probes

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/lastcall-k8s/lastcall/ledger"
)

// ruleset reads single chains and map elements of one table, never the whole of it: under 0.4 ms each
// whatever the table's size, where nft and iptables-save take seconds on a large cluster.
type ruleset struct {
	sock   *netfilterSocket
	family uint8 // unix.NFPROTO_IPV4 or _IPV6
	table  string
}

func (t ruleset) named(chainAttr uint16, name string) []byte {
	var a attrs
	a.string(unix.NFTA_RULE_TABLE, t.table) // all objects have the table's name as attribute 1
	if name != "" {
		a.string(chainAttr, name)
	}
	return a.b
}

// rules reads a chain's rules in order; none if the chain or the table does not exist.
func (t ruleset) rules(name string) ([]rule, error) {
	var rs []rule
	err := t.sock.query(unix.NFT_MSG_GETRULE, t.family, true, t.named(unix.NFTA_RULE_CHAIN, name), func(_ uint16, b []byte) error {
		r, err := decodeRule(t.family, b)
		rs = append(rs, r)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read chain %s of table %s: %w", name, t.table, err)
	}
	return rs, nil
}

// chain reads one chain's head.
func (t ruleset) chain(name string) (c chain, err error) {
	err = t.sock.query(unix.NFT_MSG_GETCHAIN, t.family, false, t.named(unix.NFTA_CHAIN_NAME, name), func(_ uint16, b []byte) error {
		c, err = decodeChain(b)
		return err
	})
	if err != nil {
		return c, fmt.Errorf("read chain %s of table %s: %w", name, t.table, err)
	}
	return c, nil
}

// natHooks lists the base chains of the table through which new connections are DNATed: type nat, at
// prerouting (from elsewhere) or output (from this node).
func (t ruleset) natHooks() (names []string, err error) {
	err = t.sock.query(unix.NFT_MSG_GETCHAIN, t.family, true, t.named(0, ""), func(_ uint16, b []byte) error {
		c, err := decodeChain(b)
		if c.hooked && c.kind == "nat" && (c.hook == unix.NF_INET_PRE_ROUTING || c.hook == unix.NF_INET_LOCAL_OUT) {
			names = append(names, c.name)
		}
		return err
	})
	// Where somebody commits all the time no dump of this size is ever whole; hooks are looked at again in
	// every pass.
	if err != nil && !(errors.Is(err, errInterrupted) && len(names) > 0) {
		return nil, fmt.Errorf("read chains of table %s: %w", t.table, err)
	}
	return names, nil
}

func (t ruleset) set(name string) (s set, err error) {
	err = t.sock.query(unix.NFT_MSG_GETSET, t.family, false, t.named(unix.NFTA_SET_NAME, name), func(_ uint16, b []byte) error {
		s, err = decodeSet(b)
		return err
	})
	if err != nil {
		return s, fmt.Errorf("read set %s of table %s: %w", name, t.table, err)
	}
	return s, nil
}

// elements dumps a map. For the small anonymous ones of one service only.
func (t ruleset) elements(name string) (es []element, err error) {
	err = t.sock.query(unix.NFT_MSG_GETSETELEM, t.family, true, t.named(unix.NFTA_SET_ELEM_LIST_SET, name), func(_ uint16, b []byte) error {
		return decodeElements(b, func(e element) { es = append(es, e) })
	})
	if err != nil {
		return nil, fmt.Errorf("read elements of %s in table %s: %w", name, t.table, err)
	}
	return es, nil
}

// lookup reads the one element with this key; errAbsent if there is none.
func (t ruleset) lookup(name string, key []byte) (e element, err error) {
	var a attrs
	a.b = t.named(unix.NFTA_SET_ELEM_LIST_SET, name)
	a.nested(unix.NFTA_SET_ELEM_LIST_ELEMENTS, func(a *attrs) {
		a.nested(unix.NFTA_LIST_ELEM, func(a *attrs) {
			a.nested(unix.NFTA_SET_ELEM_KEY, func(a *attrs) { a.bytes(unix.NFTA_DATA_VALUE, key) })
		})
	})
	err = t.sock.query(unix.NFT_MSG_GETSETELEM, t.family, false, a.b, func(_ uint16, b []byte) error {
		return decodeElements(b, func(got element) { e = got })
	})
	if err != nil {
		return e, fmt.Errorf("look up an element of %s in table %s: %w", name, t.table, err)
	}
	return e, nil
}

func protoFamily(f ledger.Family) uint8 {
	if f == ledger.IPv6 {
		return unix.NFPROTO_IPV6
	}
	return unix.NFPROTO_IPV4
}
