package probes

import (
	"net"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/lastcall-k8s/lastcall/ledger"
)

// TestWitnessOfDatagrams: a UDP flow leads to the pod until its entry is deleted, as kube-proxy does after its rules are in place
// (pkg/proxy/conntrack/cleanup.go), and not when the rules are.
func TestWitnessOfDatagrams(t *testing.T) {
	for family := range streets {
		t.Run(family, func(t *testing.T) {
			s := newStreet(t, family)
			w := s.witness(t, WitnessConfig{})
			left, landing := s.left(), s.landing(time.Time{})
			left.Left.Path.Service.Protocol, landing[0].Path.Service.Protocol = "udp", "udp"
			w.Note([]ledger.Change{left})
			w.settled()
			var ports []uint16
			send := func() {
				var c net.Conn
				must(t, s.client.Do(func() (err error) { c, err = net.Dial("udp", s.vip.String()); return err }))
				defer c.Close()
				if _, err := c.Write([]byte("x")); err != nil {
					t.Fatal(err)
				}
				ports = append(ports, uint16(c.LocalAddr().(*net.UDPAddr).Port))
			}
			for range 4 {
				send()
			}
			s.drop(t, ports[0]) // before the landing: that tells nothing
			w.settled()
			s.rules(t, false)
			landing[0].Lo, landing[0].Hi = time.Now(), time.Now()
			w.Landed(landing)
			w.settled()
			before := time.Now()
			s.drop(t, ports[1])
			s.drop(t, ports[2])
			w.settled()
			after := time.Now()
			w.end()
			r := w.report(t, time.Second)
			d := r.Datagrams
			if d == nil || d.New != 4 || d.Open != 1 || d.Cleared.Before(before) || d.Cleared.After(after) {
				t.Errorf("got %+v, want 4, 1 of them still open, cleared between %v and %v", d, before, after)
			}
			if r.DNAT.New != 0 || r.AfterLanding != 0 {
				t.Errorf("a datagram counts as a connection: %+v", r)
			}
		})
	}
}

// drop deletes the entry of the datagrams from a port.
func (s *street) drop(t *testing.T, from uint16) {
	t.Helper()
	family := netlink.InetFamily(unix.AF_INET)
	if s.vip.Addr().Is6() {
		family = unix.AF_INET6
	}
	f := &netlink.ConntrackFilter{}
	must(t, f.AddProtocol(unix.IPPROTO_UDP))
	must(t, f.AddPort(netlink.ConntrackOrigSrcPort, from))
	var n uint
	must(t, s.node.Do(func() (err error) {
		n, err = netlink.ConntrackDeleteFilters(netlink.ConntrackTable, family, f)
		return err
	}))
	if n != 1 {
		t.Fatalf("%d entries were deleted, want 1", n)
	}
}
