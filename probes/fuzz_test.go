package probes

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// FuzzAnswers reads datagrams as a kernel sends them (testdata/fuzz/FuzzAnswers holds recordings, see TestRecordings) and
// as none does.
func FuzzAnswers(f *testing.F) {
	f.Fuzz(func(t *testing.T, datagram []byte, dump bool) { checkAnswers(t, datagram, dump, 1) })
}

// checkAnswers decodes a datagram whole, holds it to what every answer promises, and says how many things it names.
func checkAnswers(t *testing.T, datagram []byte, dump bool, seq uint32) (named int) {
	t.Helper()
	s := netfilterSocket{seq: seq}
	given := 0
	done, err := s.answers(datagram, dump, func(_ uint16, b []byte) error {
		given += len(b)
		header := datagram[cap(datagram)-cap(b)-nfHeaderLen-unix.NLMSG_HDRLEN:] // b is a part of it
		named += checkAttrs(t, binary.NativeEndian.Uint16(header[4:])&0xff, header[unix.NLMSG_HDRLEN], b)
		return nil
	})
	if given > len(datagram) {
		t.Errorf("%d bytes of attributes in a datagram of %d", given, len(datagram))
	}
	if dump && done && err == nil && !holdsDone(datagram, seq) {
		t.Error("a dump is complete without the kernel's word that it is: what is missing would be taken for gone")
	}
	return named
}

// holdsDone walks the messages on its own.
func holdsDone(b []byte, seq uint32) bool {
	ne := binary.NativeEndian
	for len(b) >= unix.NLMSG_HDRLEN {
		size := ne.Uint32(b)
		if ne.Uint16(b[4:]) == unix.NLMSG_DONE && ne.Uint32(b[8:]) == seq {
			return true
		}
		if size < unix.NLMSG_HDRLEN || int(size) > len(b) {
			return false
		}
		b = b[min(len(b), int(size+3)&^3):]
	}
	return false
}

// checkAttrs decodes the attributes of one message. What is kept of them is bounded by what came, and decoding has no memory.
func checkAttrs(t *testing.T, msg uint16, family uint8, b []byte) (named int) {
	t.Helper()
	kept := 0
	text := func(ss ...string) {
		named += len(ss)
		for _, s := range ss {
			kept += len(s)
		}
	}
	switch msg {
	case unix.NFT_MSG_NEWRULE:
		r, err := decodeRule(family, b)
		if err != nil {
			return 0
		}
		text(r.jumps...)
		text(r.verdictMaps...)
		text(r.dnatMaps...)
		named += len(r.dnat)
		kept += 4 * len(r.dnat)
		for _, a := range r.dnat {
			if !a.Addr().IsValid() {
				t.Error("a DNAT to no address that is not marked as opaque")
			}
		}
	case unix.NFT_MSG_NEWCHAIN:
		c, err := decodeChain(b)
		if err != nil {
			return 0
		}
		text(c.name, c.kind)
	case unix.NFT_MSG_NEWSET:
		if s, err := decodeSet(b); err == nil && s.keyLen > 0 {
			named++
		}
	case unix.NFT_MSG_NEWSETELEM:
		err := decodeElements(b, func(e element) {
			text(e.chain)
			kept += len(e.key) + len(e.value)
			if ap, ok := addrPort(e.value); ok && !ap.IsValid() {
				t.Errorf("the value % x is said to be an address: %v", e.value, ap)
			}
		})
		if err != nil {
			return 0
		}
	case unix.NFT_MSG_NEWGEN:
		if _, err := decodeGeneration(b); err == nil {
			named++
		}
	}
	if kept > len(b) {
		t.Errorf("%d bytes kept of %d", kept, len(b))
	}
	return named
}

// FuzzRule builds rules as nft and iptables-nft do, with strange expressions in between, and wants to read what was
// written; cut short, a rule is an error or leaves nothing out silently.
func FuzzRule(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, uint16(0))
	f.Add([]byte{4, 4, 4, 6, 6, 5, 5, 9, 1, 1}, uint16(30))
	f.Fuzz(func(t *testing.T, choices []byte, cut uint16) {
		in := &chooser{choices}
		family := uint8(unix.NFPROTO_IPV4)
		if in.n(2) == 1 {
			family = unix.NFPROTO_IPV6
		}
		var want rule
		var exprs attrs
		for range 1 + in.n(6) {
			in.expression(&exprs, &want, family)
		}
		var whole attrs
		whole.string(unix.NFTA_RULE_TABLE, "t")
		whole.bytes(unix.NFTA_RULE_EXPRESSIONS|unix.NLA_F_NESTED, exprs.b)
		got, err := decodeRule(family, whole.b)
		if err != nil {
			t.Fatal(err)
		}
		if !sameRule(got, want) {
			t.Fatalf("read %+v, written %+v", got, want)
		}
		if n := int(cut) % len(whole.b); n > 8 { // within the expressions
			part, err := decodeRule(family, whole.b[:n])
			if err == nil && !sameRule(part, want) {
				t.Errorf("cut at %d of %d it reads %+v, written %+v", n, len(whole.b), part, want)
			}
		}
	})
}

func sameRule(a, b rule) bool {
	equal := func(x, y []string) bool {
		if len(x) != len(y) {
			return false
		}
		for i := range x {
			if x[i] != y[i] {
				return false
			}
		}
		return true
	}
	if len(a.dnat) != len(b.dnat) || a.opaque != b.opaque {
		return false
	}
	for i := range a.dnat {
		if a.dnat[i] != b.dnat[i] {
			return false
		}
	}
	return equal(a.jumps, b.jumps) && equal(a.verdictMaps, b.verdictMaps) && equal(a.dnatMaps, b.dnatMaps)
}

// chooser turns fuzz data into choices.
type chooser struct{ data []byte }

func (c *chooser) n(below int) int {
	if len(c.data) == 0 {
		return 0
	}
	b := c.data[0]
	c.data = c.data[1:]
	return int(b) % below
}

func (c *chooser) endpoint(family uint8) netip.AddrPort {
	addr := netip.AddrFrom4([4]byte{10, 244, 1, byte(c.n(8))})
	if family == unix.NFPROTO_IPV6 {
		addr = netip.AddrFrom16([16]byte{0: 0xfd, 15: byte(c.n(8))})
	}
	return netip.AddrPortFrom(addr, uint16(8080+c.n(2)))
}

// expression appends one or more NFTA_LIST_ELEM and notes in want what they can do.
func (c *chooser) expression(to *attrs, want *rule, family uint8) {
	chain := string(rune('a' + c.n(5)))
	switch c.n(8) {
	case 0:
		verdict(to, chain)
		want.jumps = append(want.jumps, chain)
	case 1:
		lookup(to, "vmap-"+chain, unix.NFT_REG_VERDICT)
		want.verdictMaps = append(want.verdictMaps, "vmap-"+chain)
	case 2: // a condition
		expr(to, "lookup", func(a *attrs) { a.string(unix.NFTA_LOOKUP_SET, "set") })
	case 3:
		lookup(to, "map-"+chain, unix.NFT_REG_1)
		natExpr(to, unix.NFT_NAT_DNAT, unix.NFT_REG_1, unix.NFT_REG32_00+1)
		want.dnatMaps = append(want.dnatMaps, "map-"+chain)
	case 4:
		ap := c.endpoint(family)
		constants(to, ap)
		kind := uint32(c.n(2)) // NFT_NAT_SNAT is 0
		natExpr(to, kind, unix.NFT_REG_1, unix.NFT_REG_2)
		if kind == unix.NFT_NAT_DNAT {
			want.dnat = append(want.dnat, ap)
		}
	case 5:
		natExpr(to, unix.NFT_NAT_DNAT, unix.NFT_REG_4, unix.NFT_REG_3) // from something that is not decoded
		want.opaque = true
	case 6:
		ap := c.endpoint(family)
		rev := uint32(c.n(3))
		if family == unix.NFPROTO_IPV6 {
			rev = max(rev, 1)
		}
		target(to, rev, ap, 0)
		want.dnat = append(want.dnat, ap)
	case 7: // of a revision, or a size, to come
		target(to, 1, c.endpoint(family), 1+c.n(39))
		want.opaque = true
	}
}

func expr(to *attrs, name string, data func(*attrs)) {
	to.nested(unix.NFTA_LIST_ELEM, func(a *attrs) {
		a.string(unix.NFTA_EXPR_NAME, name)
		a.nested(unix.NFTA_EXPR_DATA, data)
	})
}

func be(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

func verdict(to *attrs, chain string) {
	expr(to, "immediate", func(a *attrs) {
		a.bytes(unix.NFTA_IMMEDIATE_DREG, be(unix.NFT_REG_VERDICT))
		a.nested(unix.NFTA_IMMEDIATE_DATA, func(a *attrs) {
			a.nested(unix.NFTA_DATA_VERDICT, func(a *attrs) { a.string(unix.NFTA_VERDICT_CHAIN, chain) })
		})
	})
}

func lookup(to *attrs, set string, reg uint32) {
	expr(to, "lookup", func(a *attrs) {
		a.string(unix.NFTA_LOOKUP_SET, set)
		a.bytes(unix.NFTA_LOOKUP_DREG, be(reg))
	})
}

// constants load an address into NFT_REG_1 and a port into NFT_REG_2.
func constants(to *attrs, ap netip.AddrPort) {
	for reg, value := range [][]byte{ap.Addr().AsSlice(), binary.BigEndian.AppendUint16(nil, ap.Port())} {
		expr(to, "immediate", func(a *attrs) {
			a.bytes(unix.NFTA_IMMEDIATE_DREG, be(unix.NFT_REG_1+uint32(reg)))
			a.nested(unix.NFTA_IMMEDIATE_DATA, func(a *attrs) { a.bytes(unix.NFTA_DATA_VALUE, value) })
		})
	}
}

func natExpr(to *attrs, kind, addr, port uint32) {
	expr(to, "nat", func(a *attrs) {
		a.bytes(unix.NFTA_NAT_TYPE, be(kind))
		a.bytes(unix.NFTA_NAT_REG_ADDR_MIN, be(addr))
		a.bytes(unix.NFTA_NAT_REG_PROTO_MIN, be(port))
	})
}

// target is an xtables DNAT of revision 0, 1 or 2, without its last bytes if short.
func target(to *attrs, rev uint32, ap netip.AddrPort, short int) {
	var info []byte
	port := binary.BigEndian.AppendUint16(nil, ap.Port())
	if rev == 0 {
		info = append(make([]byte, 8), ap.Addr().AsSlice()...)
		info = append(append(info, ap.Addr().AsSlice()...), append(port, port...)...)
	} else {
		addr := append(ap.Addr().AsSlice(), make([]byte, 12)...)[:16]
		info = append(append(make([]byte, 4), append(addr, addr...)...), append(port, port...)...)
		if rev == 2 {
			info = append(info, 0, 0, 0, 0) // base_proto
		}
	}
	expr(to, "target", func(a *attrs) {
		a.string(unix.NFTA_TARGET_NAME, "DNAT")
		a.bytes(unix.NFTA_TARGET_REV, be(rev))
		a.bytes(unix.NFTA_TARGET_INFO, info[:len(info)-short])
	})
}
