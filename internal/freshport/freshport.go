//go:build linux

// Package freshport gives each connection of a client a source port of its own.
package freshport

import (
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Ports are those of one client. Who takes the port again of a SYN that had no answer, within 120 s of it, goes where that went, whatever
// the rules say now: the entry in conntrack keeps the destination. At 100 connections a second one comes again after 207 s.
type Ports struct{ used atomic.Uint32 }

// Dialer dials from the next port. None is of the range that the kernel chooses from (32768 up), or of those that listen on a node.
func (p *Ports) Dialer(timeout time.Duration) *net.Dialer {
	const first, many = 12000, 32768 - 12000
	return &net.Dialer{Timeout: timeout, LocalAddr: &net.TCPAddr{Port: first + int(p.used.Add(1)%many)},
		Control: func(_, _ string, raw syscall.RawConn) (err error) {
			// Clients of another Service may have the same port, and one that closed first has it for a minute.
			if e := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) }); e != nil {
				return e
			}
			return err
		}}
}
