//go:build linux

package main

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lastcall-k8s/lastcall/internal/testbed"
)

// conn is one connection of a client: when it began, when it was established, and who answered.
type conn struct {
	start, end time.Time
	server     string // "": nobody
	source     netip.AddrPort
}

// knocker connects to one frontend as fast as it can, from one thread in a node's network namespace. Every
// connection has a source port of its own and is closed by FIN by the client first.
type knocker struct {
	frontend netip.AddrPort
	source   netip.AddrPort
	on       atomic.Bool
	log      chan conn
	ended    chan struct{} // closed when run returns
}

// sources is where the clients connect from: a range of pod addresses that each node answers for itself, so
// that there are ports enough and kube-proxy does not masquerade them.
var sources = netip.MustParsePrefix("10.244.240.0/20")

// The kubelet and kube-proxy listen below, on every address.
const firstPort, lastPort = 20000, 60000

// newKnocker goes on with the sources where an earlier one stopped.
func newKnocker(frontend netip.AddrPort, after *knocker) *knocker {
	k := &knocker{frontend: frontend, log: make(chan conn, 1<<20), ended: make(chan struct{}),
		source: netip.AddrPortFrom(sources.Addr().Next(), firstPort)}
	if after != nil {
		k.source = after.source
	}
	return k
}

// run knocks whenever it is switched on, until stop is closed.
func (k *knocker) run(c *testbed.Cluster, node string, stop <-chan struct{}) error {
	defer close(k.ended)
	return c.RunIn(node, func() error {
		yield()
		for {
			select {
			case <-stop:
				return nil
			default:
			}
			if !k.on.Load() {
				time.Sleep(time.Millisecond)
				continue
			}
			got, err := k.knock()
			if err != nil {
				return err
			}
			select {
			case k.log <- got:
			default:
				return errors.New("nobody reads the knocker's log")
			}
		}
	})
}

// yield makes the calling thread give way to kube-proxy and the agent: clients that knock without a pause
// would otherwise starve what they are to measure, which no node's clients do.
func yield() { unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), 10) }

// next is the next source that was never used in this run.
func (k *knocker) next() {
	port := k.source.Port() + 1
	addr := k.source.Addr()
	if port > lastPort {
		port, addr = firstPort, addr.Next()
		if !sources.Contains(addr) {
			addr = sources.Addr().Next() // hours later: conntrack has forgotten the first ones
		}
	}
	k.source = netip.AddrPortFrom(addr, port)
}

func (k *knocker) knock() (conn, error) {
	k.next()
	got := conn{source: k.source}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return got, fmt.Errorf("open client socket: %w", err)
	}
	defer unix.Close(fd)
	// A lost answer must not stall the run; it counts as nobody.
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 500_000})
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Usec: 500_000})
	if err := unix.Bind(fd, sockaddr(k.source)); err != nil {
		return got, fmt.Errorf("bind client to %v: %w", k.source, err)
	}
	got.start = time.Now()
	if err := unix.Connect(fd, sockaddr(k.frontend)); err != nil {
		got.end = time.Now()
		return got, nil
	}
	got.end = time.Now()
	var b [64]byte
	if n, _ := unix.Read(fd, b[:]); n > 0 {
		got.server = strings.TrimSpace(string(b[:n]))
	}
	return got, nil
}

func sockaddr(ap netip.AddrPort) *unix.SockaddrInet4 {
	return &unix.SockaddrInet4{Addr: ap.Addr().As4(), Port: int(ap.Port())}
}

// serve answers every connection to addr with its name, from a thread in the node's network namespace, and
// closes when the client has.
func serve(c *testbed.Cluster, node string, addr netip.AddrPort, name string, stop <-chan struct{}) (ready chan error) {
	ready = make(chan error, 1)
	go func() {
		err := c.RunIn(node, func() error {
			yield()
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
			unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 200_000})
			if err := errors.Join(unix.Bind(fd, sockaddr(addr)), unix.Listen(fd, 1024)); err != nil {
				return fmt.Errorf("listen on %v: %w", addr, err)
			}
			ready <- nil
			for {
				client, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC)
				switch {
				case err == nil:
					unix.SetsockoptTimeval(client, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 500_000})
					unix.Write(client, []byte(name))
					var b [1]byte
					unix.Read(client, b[:]) // the client's FIN
					unix.Close(client)
				case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR), errors.Is(err, unix.ECONNABORTED):
				default:
					return err
				}
				select {
				case <-stop:
					return nil
				default:
				}
			}
		})
		if err != nil {
			ready <- err
		}
	}()
	return ready
}

// prepare gives a node the addresses of clients and servers, and makes its conntrack forget quickly. All of it is
// inside the namespace that the testbed made.
func prepare(c *testbed.Cluster, node string, servers ...netip.Addr) error {
	commands := [][]string{
		{"ip", "route", "replace", "local", sources.String(), "dev", "lo"},
		{"sysctl", "-qw", "net.netfilter.nf_conntrack_tcp_timeout_time_wait=5"},
		{"sysctl", "-qw", "net.netfilter.nf_conntrack_tcp_timeout_close=5"},
	}
	for _, s := range servers {
		commands = append(commands, []string{"ip", "addr", "replace", s.String() + "/32", "dev", "lo"})
	}
	for _, args := range commands {
		if out, err := c.Command(node, args[0], args[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%v on %s: %w: %s", args, node, err, out)
		}
	}
	return nil
}
