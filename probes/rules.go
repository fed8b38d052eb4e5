package probes

import (
	"bytes"
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// rule is what one rule can do with a new connection: the values that decide where it can go. Its
// conditions are left out on purpose: a path counts as reachable if some connection can take it.
type rule struct {
	// jumps are the chains an unconditional or conditional jump or goto leads to.
	jumps []string
	// verdictMaps are maps whose elements are verdicts, looked up by the connection.
	verdictMaps []string
	// dnatMaps are maps whose elements are the addresses of a DNAT.
	dnatMaps []string
	// dnat are the addresses of a DNAT written out in the rule.
	dnat []netip.AddrPort
	// opaque: it has a DNAT whose address comes from something that is not decoded.
	opaque bool
}

// decodeRule reads NFTA_RULE_* attributes (include/uapi/linux/netfilter/nf_tables.h).
func decodeRule(family uint8, b []byte) (rule, error) {
	var r rule
	d := ruleDecoder{family: family}
	err := eachAttr(b, func(typ uint16, v []byte) error {
		if typ != unix.NFTA_RULE_EXPRESSIONS {
			return nil
		}
		return eachAttr(v, func(_ uint16, expr []byte) error { return d.expr(&r, expr) })
	})
	return r, err
}

// ruleDecoder follows the registers of a rule: nft loads a DNAT's address into them first.
type ruleDecoder struct {
	family uint8
	values map[uint32][]byte // constants by register
	maps   map[uint32]string // maps looked up into a register
}

func (d *ruleDecoder) expr(r *rule, b []byte) error {
	var name string
	var data []byte
	err := eachAttr(b, func(typ uint16, v []byte) error {
		switch typ {
		case unix.NFTA_EXPR_NAME:
			name = text(v)
		case unix.NFTA_EXPR_DATA:
			data = v
		}
		return nil
	})
	if err != nil {
		return err
	}
	switch name {
	case "immediate":
		return d.immediate(r, data)
	case "lookup":
		return d.lookup(r, data)
	case "nat":
		return d.nat(r, data)
	case "target":
		return d.target(r, data)
	}
	return nil
}

func (d *ruleDecoder) immediate(r *rule, b []byte) error {
	var reg uint32
	return eachAttr(b, func(typ uint16, v []byte) error {
		switch typ {
		case unix.NFTA_IMMEDIATE_DREG:
			reg = be32(v)
		case unix.NFTA_IMMEDIATE_DATA:
			value, chain, err := decodeData(v)
			if chain != "" {
				r.jumps = append(r.jumps, chain)
			}
			if value != nil {
				if d.values == nil {
					d.values = map[uint32][]byte{}
				}
				d.values[register(reg)] = value
				delete(d.maps, register(reg))
			}
			return err
		}
		return nil
	})
}

func (d *ruleDecoder) lookup(r *rule, b []byte) error {
	var set string
	var dreg uint32
	hasDreg := false
	err := eachAttr(b, func(typ uint16, v []byte) error {
		switch typ {
		case unix.NFTA_LOOKUP_SET:
			set = text(v)
		case unix.NFTA_LOOKUP_DREG:
			dreg, hasDreg = be32(v), true
		}
		return nil
	})
	switch {
	case !hasDreg: // a membership test: a condition
	case dreg == unix.NFT_REG_VERDICT:
		r.verdictMaps = append(r.verdictMaps, set)
	default:
		if d.maps == nil {
			d.maps = map[uint32]string{}
		}
		d.maps[register(dreg)] = set
		delete(d.values, register(dreg))
	}
	return err
}

// nat decodes a "dnat to", whose address and port come from registers.
func (d *ruleDecoder) nat(r *rule, b []byte) error {
	var kind, addrReg, portReg uint32
	err := eachAttr(b, func(typ uint16, v []byte) error {
		switch typ {
		case unix.NFTA_NAT_TYPE:
			kind = be32(v)
		case unix.NFTA_NAT_REG_ADDR_MIN:
			addrReg = register(be32(v))
		case unix.NFTA_NAT_REG_PROTO_MIN:
			portReg = register(be32(v))
		}
		return nil
	})
	if kind != unix.NFT_NAT_DNAT {
		return err
	}
	if set, ok := d.maps[addrReg]; ok {
		r.dnatMaps = append(r.dnatMaps, set)
		return err
	}
	addr, ok := netip.AddrFromSlice(d.values[addrReg])
	port := d.values[portReg]
	if !ok || len(port) < 2 {
		r.opaque = true
		return err
	}
	r.dnat = append(r.dnat, netip.AddrPortFrom(addr, binary.BigEndian.Uint16(port)))
	return err
}

// register numbers in units of 4 bytes: NFT_REG_1..4 are the same memory as NFT_REG32_00..15.
func register(n uint32) uint32 {
	if n >= unix.NFT_REG_1 && n <= unix.NFT_REG_4 {
		return unix.NFT_REG32_00 + (n-1)*4
	}
	return n
}

// target reads an xtables target, which iptables-nft stores as it is (nft_compat). Only DNAT matters:
// revision 2 is struct nf_nat_range2, revision 1 struct nf_nat_range, revision 0 (IPv4) struct
// nf_nat_ipv4_multi_range_compat (include/uapi/linux/netfilter/nf_nat.h).
func (d *ruleDecoder) target(r *rule, b []byte) error {
	var name string
	var rev uint32
	var info []byte
	err := eachAttr(b, func(typ uint16, v []byte) error {
		switch typ {
		case unix.NFTA_TARGET_NAME:
			name = text(v)
		case unix.NFTA_TARGET_REV:
			rev = be32(v)
		case unix.NFTA_TARGET_INFO:
			info = v
		}
		return nil
	})
	if name != "DNAT" || err != nil {
		return err
	}
	if ap, ok := xtDNAT(d.family, rev, info); ok {
		r.dnat = append(r.dnat, ap)
	} else {
		r.opaque = true
	}
	return nil
}

// xtDNAT is the address of the target DNAT; iptables-nft and iptables-legacy store it alike.
func xtDNAT(family uint8, rev uint32, info []byte) (netip.AddrPort, bool) {
	switch {
	case rev == 0 && len(info) >= 20: // rangesize, flags, min_ip, max_ip, min, max
		addr, _ := netip.AddrFromSlice(info[8:12])
		return netip.AddrPortFrom(addr, binary.BigEndian.Uint16(info[16:])), true
	case rev >= 1 && len(info) >= 40: // flags, min_addr[16], max_addr[16], min_proto, max_proto
		size := 16
		if family == unix.NFPROTO_IPV4 {
			size = 4 // union nf_inet_addr: IPv4 uses the first word
		}
		addr, _ := netip.AddrFromSlice(info[4 : 4+size])
		return netip.AddrPortFrom(addr, binary.BigEndian.Uint16(info[36:])), true
	}
	return netip.AddrPort{}, false
}

// decodeData reads NFTA_DATA_VALUE or the chain of NFTA_DATA_VERDICT.
func decodeData(b []byte) (value []byte, chain string, err error) {
	err = eachAttr(b, func(typ uint16, v []byte) error {
		switch typ {
		case unix.NFTA_DATA_VALUE:
			value = bytes.Clone(v)
		case unix.NFTA_DATA_VERDICT:
			return eachAttr(v, func(typ uint16, v []byte) error {
				if typ == unix.NFTA_VERDICT_CHAIN {
					chain = text(v)
				}
				return nil
			})
		}
		return nil
	})
	return value, chain, err
}

// element is one element of a map: its key, and a value or the chain its verdict leads to.
type element struct {
	key, value []byte
	chain      string
}

// decodeElements reads NFTA_SET_ELEM_LIST_* attributes.
func decodeElements(b []byte, each func(element)) error {
	return eachAttr(b, func(typ uint16, v []byte) error {
		if typ != unix.NFTA_SET_ELEM_LIST_ELEMENTS {
			return nil
		}
		return eachAttr(v, func(_ uint16, v []byte) error {
			var e element
			err := eachAttr(v, func(typ uint16, v []byte) (err error) {
				switch typ {
				case unix.NFTA_SET_ELEM_KEY:
					e.key, _, err = decodeData(v)
				case unix.NFTA_SET_ELEM_DATA:
					e.value, e.chain, err = decodeData(v)
				}
				return err
			})
			each(e)
			return err
		})
	})
}

// addrPort reads the value of a DNAT map, "address . port": each field is padded to 4 bytes.
func addrPort(value []byte) (netip.AddrPort, bool) {
	n := len(value) - 4
	if n != 4 && n != 16 {
		return netip.AddrPort{}, false
	}
	addr, _ := netip.AddrFromSlice(value[:n])
	return netip.AddrPortFrom(addr, binary.BigEndian.Uint16(value[n:])), true
}

// chain is what NFT_MSG_GETCHAIN says of a chain.
type chain struct {
	name string
	kind string // "nat", "filter", "route" for a base chain
	hook uint32 // NF_INET_*, if hooked
	// hooked: it is a base chain attached to a netfilter hook.
	hooked bool
	// use counts the chain's own rules and the rules and map elements that lead to it, those of a
	// transaction that is still being prepared included: a hint, never a verdict.
	use uint32
}

func decodeChain(b []byte) (chain, error) {
	var c chain
	err := eachAttr(b, func(typ uint16, v []byte) error {
		switch typ {
		case unix.NFTA_CHAIN_NAME:
			c.name = text(v)
		case unix.NFTA_CHAIN_TYPE:
			c.kind = text(v)
		case unix.NFTA_CHAIN_USE:
			c.use = be32(v)
		case unix.NFTA_CHAIN_HOOK:
			c.hooked = true
			return eachAttr(v, func(typ uint16, v []byte) error {
				if typ == unix.NFTA_HOOK_HOOKNUM {
					c.hook = be32(v)
				}
				return nil
			})
		}
		return nil
	})
	return c, err
}

// set is what NFT_MSG_GETSET says of a set or map.
type set struct {
	keyLen    uint32
	anonymous bool
}

func decodeSet(b []byte) (s set, err error) {
	err = eachAttr(b, func(typ uint16, v []byte) error {
		switch typ {
		case unix.NFTA_SET_KEY_LEN:
			s.keyLen = be32(v)
		case unix.NFTA_SET_FLAGS:
			s.anonymous = be32(v)&unix.NFT_SET_ANONYMOUS != 0
		}
		return nil
	})
	return s, err
}

func be32(v []byte) uint32 {
	if len(v) != 4 {
		return 0
	}
	return binary.BigEndian.Uint32(v)
}

func text(v []byte) string { return string(bytes.TrimRight(v, "\x00")) }
