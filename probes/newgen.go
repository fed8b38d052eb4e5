package probes

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// openGenerations opens a socket that becomes readable at every commit to nf_tables and gets nothing else: a
// filter lets only NFT_MSG_NEWGEN through, which the kernel sends alone in its datagram. It only
// wakes us; the commit itself is bounded by NFT_MSG_GETGEN, which it lags by 0.1 ms (nftables
// mode) to 160 ms (iptables-nft, 10,000 services).
func openGenerations() (int, error) {
	// cBPF loads are big-endian, nlmsg_type is in host order: compare the bytes as they lie there.
	var typ [2]byte
	binary.NativeEndian.PutUint16(typ[:], unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_NEWGEN)
	filter, err := assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: 4, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(typ[0])<<8 | uint32(typ[1]), SkipFalse: 1},
		bpf.RetConstant{Val: 1 << 16},
		bpf.RetConstant{Val: 0},
	})
	if err != nil {
		return -1, err
	}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_NETFILTER)
	if err != nil {
		return -1, fmt.Errorf("open netfilter notification socket: %w", err)
	}
	if err = attach(fd, filter); err == nil {
		err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1 << (unix.NFNLGRP_NFTABLES - 1)})
	}
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("subscribe to nf_tables generations: %w", err)
	}
	return fd, nil
}
