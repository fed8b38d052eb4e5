package probes

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// maxFiltered is how many addresses the kernel compares. An IPv6 address takes 9 instructions and a socket's filter is
// charged to net.core.optmem_max (20 KiB before Linux 6.8): beyond, everything is delivered and compared here.
const maxFiltered = 128

// replyFilter lets those events of connection tracking through whose reply comes from one of the addresses: whatever a
// connection was sent to, that is the endpoint it reached. Everything passes if there are too many.
func replyFilter(addrs []netip.Addr) ([]unix.SockFilter, error) {
	const pass, drop = 1 << 18, 0
	if len(addrs) > maxFiltered {
		return assemble([]bpf.Instruction{bpf.RetConstant{Val: pass}})
	}
	// find leaves the offset of an attribute in A, or ends.
	find := func(typ uint32, ext bpf.Extension) []bpf.Instruction {
		return []bpf.Instruction{
			bpf.LoadConstant{Dst: bpf.RegX, Val: typ},
			bpf.LoadExtension{Num: ext},
		}
	}
	orDrop := []bpf.Instruction{bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0, SkipTrue: 1}, bpf.RetConstant{Val: drop}}

	prog := []bpf.Instruction{bpf.LoadConstant{Dst: bpf.RegA, Val: unix.NLMSG_HDRLEN + nfHeaderLen}}
	prog = append(prog, find(ctaTupleReply, bpf.ExtNetlinkAttr)...)
	prog = append(prog, orDrop...)
	prog = append(prog, find(ctaTupleIP, bpf.ExtNetlinkAttrNested)...)
	prog = append(prog, orDrop...)
	prog = append(prog, bpf.StoreScratch{Src: bpf.RegA, N: 0})

	var v4, v6 []bpf.Instruction
	for _, a := range addrs {
		if a.Is4() {
			b := a.As4()
			v4 = append(v4, bpf.JumpIf{Cond: bpf.JumpEqual, Val: binary.BigEndian.Uint32(b[:]), SkipFalse: 1}, bpf.RetConstant{Val: pass})
			continue
		}
		b := a.As16()
		for i := uint32(0); i < 4; i++ {
			left := uint8(2*(3-i) + 1) // to the next address
			v6 = append(v6, bpf.LoadIndirect{Off: unix.SizeofNlAttr + 4*i, Size: 4},
				bpf.JumpIf{Cond: bpf.JumpEqual, Val: binary.BigEndian.Uint32(b[4*i:]), SkipFalse: left})
		}
		v6 = append(v6, bpf.RetConstant{Val: pass})
	}
	v4 = append([]bpf.Instruction{bpf.TAX{}, bpf.LoadIndirect{Off: unix.SizeofNlAttr, Size: 4}}, v4...)
	v4 = append(v4, bpf.RetConstant{Val: drop})

	prog = append(prog, find(ctaIPv4Src, bpf.ExtNetlinkAttrNested)...)
	prog = append(prog, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0, SkipTrue: 1}, bpf.Jump{Skip: uint32(len(v4))})
	prog = append(prog, v4...)
	prog = append(prog, bpf.LoadScratch{Dst: bpf.RegA, N: 0})
	prog = append(prog, find(ctaIPv6Src, bpf.ExtNetlinkAttrNested)...)
	prog = append(prog, orDrop...)
	prog = append(prog, bpf.TAX{})
	prog = append(prog, v6...)
	prog = append(prog, bpf.RetConstant{Val: drop})
	return assemble(prog)
}

func assemble(prog []bpf.Instruction) ([]unix.SockFilter, error) {
	raw, err := bpf.Assemble(prog)
	if err != nil {
		return nil, fmt.Errorf("assemble filter: %w", err)
	}
	filter := make([]unix.SockFilter, len(raw))
	for i, p := range raw {
		filter[i] = unix.SockFilter{Code: p.Op, Jt: p.Jt, Jf: p.Jf, K: p.K}
	}
	return filter, nil
}

func attach(fd int, filter []unix.SockFilter) error {
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
}
