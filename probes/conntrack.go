package probes

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// flowSocket receives what connection tracking of the network namespace of its creating thread tells about the
// connections to some addresses. It only listens: nothing is ever sent. The kernel builds a message for every event
// while somebody listens, filter or not, so it is open only while something leaves.
type flowSocket struct {
	fd  int
	buf []byte
}

var (
	errNoEvent = errors.New("no event is waiting")
	// errOverrun: the kernel dropped events because the buffer was full.
	errOverrun = errors.New("conntrack events were lost")
)

// flowBuffer is the receive buffer: at about 1 KiB an event with the kernel's overhead, 4,000 events.
const flowBuffer = 4 << 20

func listenFlows(addrs []netip.Addr) (*flowSocket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("open conntrack notification socket: %w", err)
	}
	s := &flowSocket{fd: fd, buf: make([]byte, 64<<10)}
	err = s.filter(addrs) // before it joins, so that nothing else is ever delivered
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, flowBuffer)
	}
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1<<(unix.NFNLGRP_CONNTRACK_NEW-1) |
			1<<(unix.NFNLGRP_CONNTRACK_UPDATE-1) | 1<<(unix.NFNLGRP_CONNTRACK_DESTROY-1)})
	}
	if err != nil {
		s.close()
		return nil, fmt.Errorf("listen to conntrack: %w", err)
	}
	return s, nil
}

func (s *flowSocket) close() { unix.Close(s.fd) }

// filter changes whose connections are told, at once.
func (s *flowSocket) filter(addrs []netip.Addr) error {
	prog, err := replyFilter(addrs)
	if err != nil {
		return err
	}
	if err := attach(s.fd, prog); err != nil {
		return fmt.Errorf("filter conntrack events for %d addresses: %w", len(addrs), err)
	}
	return nil
}

// receive returns the next datagram, valid until the next call, or errNoEvent without waiting.
func (s *flowSocket) receive() ([]byte, error) {
	for {
		n, from, err := unix.Recvfrom(s.fd, s.buf, 0)
		switch err {
		case nil:
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return nil, errNoEvent
		case unix.ENOBUFS:
			return nil, errOverrun
		default:
			return nil, fmt.Errorf("receive conntrack events: %w", err)
		}
		if sa, ok := from.(*unix.SockaddrNetlink); ok && sa.Pid == 0 {
			return s.buf[:n], nil
		}
	}
}

// tracking reports whether the kernel tells of every connection, also of one that began while nobody listened. Silence
// of a kernel that tells nothing would look like peace.
func tracking() (older bool, err error) {
	b, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_events")
	if err != nil {
		return false, fmt.Errorf("is connection tracking loaded? %w", err)
	}
	switch strings.TrimSpace(string(b)) {
	case "0":
		return false, errors.New("the kernel tells nobody of connections: net.netfilter.nf_conntrack_events is 0, set it to 2")
	case "1":
		return true, nil
	}
	return false, nil
}

// ownAddresses are those of this node. Unknown ones make the kubelet's probes count as connections.
func ownAddresses() map[netip.Addr]bool {
	m := map[netip.Addr]bool{}
	as, err := net.InterfaceAddrs()
	if err != nil {
		return m
	}
	for _, a := range as {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			m[p.Addr().Unmap()] = true
		}
	}
	return m
}
