package probes

import (
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lastcall-k8s/lastcall/internal/freshnet"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// street is a client, a node that translates, and two pods behind it, each in a namespace.
type street struct {
	client, node, pod, other *freshnet.Namespace
	ip                       map[string]netip.Addr
	vip, otherVIP            netip.AddrPort
}

var streets = map[string]map[string]netip.Addr{
	"ipv4": {
		"client": netip.MustParseAddr("10.1.0.2"), "node to client": netip.MustParseAddr("10.1.0.1"),
		"pod": netip.MustParseAddr("10.2.0.2"), "node to pod": netip.MustParseAddr("10.2.0.1"),
		"other": netip.MustParseAddr("10.3.0.2"), "node to other": netip.MustParseAddr("10.3.0.1"),
		"vip": netip.MustParseAddr("10.96.0.10"), "other vip": netip.MustParseAddr("10.96.0.11"),
	},
	"ipv6": {
		"client": netip.MustParseAddr("fd01::2"), "node to client": netip.MustParseAddr("fd01::1"),
		"pod": netip.MustParseAddr("fd02::2"), "node to pod": netip.MustParseAddr("fd02::1"),
		"other": netip.MustParseAddr("fd03::2"), "node to other": netip.MustParseAddr("fd03::1"),
		"vip": netip.MustParseAddr("fd96::10"), "other vip": netip.MustParseAddr("fd96::11"),
	},
}

func newStreet(t testing.TB, family string) *street {
	ip := streets[family]
	s := &street{ip: ip, client: freshnet.New(t, "ip", "nft"), node: freshnet.New(t), pod: freshnet.New(t), other: freshnet.New(t),
		vip: netip.AddrPortFrom(ip["vip"], 80), otherVIP: netip.AddrPortFrom(ip["other vip"], 80)}
	for _, ns := range []*freshnet.Namespace{s.client, s.node, s.pod, s.other} {
		sysctl(t, ns, "ipv6/conf/default/accept_dad", "0") // a link-local address would be tentative for a second
	}
	for _, end := range []struct {
		name string
		ns   *freshnet.Namespace
	}{{"client", s.client}, {"pod", s.pod}, {"other", s.other}} {
		bits := ip[end.name].BitLen() * 3 / 4
		s.node.Exec(t, "", "ip", "link", "add", end.name, "type", "veth", "peer", "name", "eth0", "netns", end.ns.Path())
		s.node.Exec(t, "", "ip", "addr", "add", netip.PrefixFrom(ip["node to "+end.name], bits).String(), "dev", end.name, "nodad")
		s.node.Exec(t, "", "ip", "link", "set", end.name, "up")
		end.ns.Exec(t, "", "ip", "addr", "add", netip.PrefixFrom(ip[end.name], bits).String(), "dev", "eth0", "nodad")
		end.ns.Exec(t, "", "ip", "link", "set", "eth0", "up")
		end.ns.Exec(t, "", "ip", "route", "add", "default", "via", ip["node to "+end.name].String())
	}
	sysctl(t, s.node, "ipv4/ip_forward", "1")
	sysctl(t, s.node, "ipv6/conf/all/forwarding", "1")
	s.node.Exec(t, "", "ip", "route", "add", "default", "via", ip["other"].String()) // its own connections need a way before they are translated
	s.rules(t, true)
	return s
}

// sysctl sets one of a namespace's own.
func sysctl(t testing.TB, ns *freshnet.Namespace, name, value string) {
	t.Helper()
	must(t, ns.Do(func() error { return os.WriteFile("/proc/sys/net/"+name, []byte(value), 0) }))
}

// rules routes both virtual addresses, or the other pod's only.
func (s *street) rules(t testing.TB, pod bool) {
	fam := map[bool]string{true: "ip", false: "ip6"}[s.vip.Addr().Is4()]
	dnat := "map { "
	if pod {
		dnat += s.vip.Addr().String() + " : " + s.ip["pod"].String() + ", "
	}
	dnat += s.otherVIP.Addr().String() + " : " + s.ip["other"].String() + " }"
	rule := "\n  " + fam + " daddr { " + s.vip.Addr().String() + ", " + s.otherVIP.Addr().String() + " } meta l4proto { tcp, udp } th dport 80 dnat to " + fam + " daddr " + dnat + "\n"
	nft(t, s.node, "table "+fam+" nat\ndelete table "+fam+" nat\ntable "+fam+" nat {\n chain pre { type nat hook prerouting priority -100; "+rule+
		" }\n chain out { type nat hook output priority -100; "+rule+" }\n}\n")
}

// port is what the pods serve: the rules leave it as it is.
const port = 80

// serve answers each connection by one byte once it sent one, and closes when the client does.
func (s *street) serve(t testing.TB, ns *freshnet.Namespace, name string) net.Listener {
	t.Helper()
	var l net.Listener
	must(t, ns.Do(func() (err error) {
		l, err = net.Listen("tcp", netip.AddrPortFrom(s.ip[name], port).String())
		return err
	}))
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				var b [1]byte
				if _, err := c.Read(b[:]); err != nil {
					return
				}
				if b[0] == 'r' { // reset
					c.(*net.TCPConn).SetLinger(0)
					return
				}
				c.Write(b[:])
				io.Copy(io.Discard, c)
			}()
		}
	}()
	return l
}

// dial connects from a namespace, from a port of its own if there is one.
func dial(ns *freshnet.Namespace, to netip.AddrPort, from netip.AddrPort, timeout time.Duration) (c net.Conn, err error) {
	err = ns.Do(func() error { c, err = dialHere(to, from, timeout); return err })
	return c, err
}

func dialHere(to netip.AddrPort, from netip.AddrPort, timeout time.Duration) (net.Conn, error) {
	d := net.Dialer{Timeout: timeout, FallbackDelay: -1}
	if from.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(from)
		d.Control = func(_, _ string, c syscall.RawConn) error {
			return c.Control(func(fd uintptr) { unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) })
		}
	}
	return d.Dial("tcp", to.String())
}

// talk makes n connections that are answered and closed.
func talk(t *testing.T, ns *freshnet.Namespace, to netip.AddrPort, n int) {
	t.Helper()
	for range n {
		c, err := dial(ns, to, netip.AddrPort{}, 2*time.Second)
		must(t, err)
		say(t, c, 'x')
		must(t, c.Close())
	}
}

// say sends a byte and waits for what comes back.
func say(t *testing.T, c net.Conn, b byte) {
	t.Helper()
	if _, err := c.Write([]byte{b}); err != nil {
		t.Fatal(err)
	}
	got := []byte{0}
	c.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := c.Read(got); b != 'r' && err != nil {
		t.Fatal(err)
	}
}

func refuse(t *testing.T, ns *freshnet.Namespace, to netip.AddrPort, n int) {
	t.Helper()
	for range n {
		if c, err := dial(ns, to, netip.AddrPort{}, 2*time.Second); err == nil {
			c.Close()
			t.Fatalf("connection to %s was not refused", to)
		} else if !strings.Contains(err.Error(), "refused") {
			t.Fatalf("connection to %s: %v, want refused", to, err)
		}
	}
}

// witness runs in the node's namespace.
type witness struct {
	*Witness
	reports chan ledger.Witness
	after   chan ledger.AfterLanding
	lost    chan struct{}
	end     func()
}

func (s *street) witness(t *testing.T, cfg WitnessConfig) *witness {
	t.Helper()
	w := &witness{reports: make(chan ledger.Witness, 10), after: make(chan ledger.AfterLanding, 100), lost: make(chan struct{}, 100)}
	cfg.Report = func(_ string, r ledger.Witness) { w.reports <- r }
	cfg.AfterLanding = func(k ledger.AfterLanding) { w.after <- k }
	cfg.Lost = func() { w.lost <- struct{}{} }
	var err error
	w.Witness, err = NewWitness(cfg)
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go s.node.Do(func() error { err := w.Run(ctx); done <- err; return err })
	ended := false
	w.end = func() {
		if ended {
			return
		}
		ended = true
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(w.end)
	return w
}

// settled returns when everything told is done and everything that was waiting is read.
func (w *witness) settled() {
	for range 2 { // what is told second is done after the turn that follows the first
		done := make(chan struct{})
		w.tell(func(*leavings, time.Time) { close(done) })
		<-done
	}
}

// later lets a time pass in the books.
func (w *witness) later(d time.Duration) {
	w.tell(func(ls *leavings, now time.Time) { ls.turn(now.Add(d)) })
	w.settled()
}

func (w *witness) report(t *testing.T, within time.Duration) ledger.Witness {
	t.Helper()
	select {
	case r := <-w.reports:
		return r
	case <-time.After(within):
		t.Fatalf("no report within %v", within)
	}
	return ledger.Witness{}
}

const uid = "u-1"

// departs: the pod leaves, and this is its node.
func (s *street) departs(name string) ledger.Change {
	return ledger.Change{At: time.Now(), Departed: &ledger.Departure{Pod: ledger.Pod{UID: uid, Namespace: "shop", Name: name},
		Reason: ledger.Delete, T0: time.Now(), Source: ledger.FromPod, Addrs: []netip.Addr{s.ip[name]}}}
}

// left: this node's rules should give the path up.
func (s *street) left() ledger.Change {
	return ledger.Change{At: time.Now(), Left: &ledger.Removal{Key: s.key(), Seen: time.Now(),
		Frontends: []ledger.Frontend{{Addr: s.vip.Addr(), Port: s.vip.Port()}}}}
}

func (s *street) key() ledger.Key {
	return ledger.Key{UID: uid, Path: ledger.Path{Service: ledger.ServicePort{Namespace: "shop", Name: "web", Protocol: "tcp"},
		Policy: ledger.Cluster, Endpoint: netip.AddrPortFrom(s.ip["pod"], port)}}
}

func (s *street) landing(at time.Time) []ledger.Landing {
	return []ledger.Landing{{Key: s.key(), Interval: ledger.Interval{Lo: at, Hi: at}}}
}
