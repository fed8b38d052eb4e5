package probes

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lastcall-k8s/lastcall/ledger"
)

// The moments of these tests are seconds after an arbitrary one.
var t0 = time.Unix(1_800_000_000, 0)

func sec(s float64) time.Time { return t0.Add(time.Duration(s * float64(time.Second))) }

var (
	podAddr  = netip.MustParseAddr("10.2.0.2")
	endpoint = netip.AddrPortFrom(podAddr, 8080)
	vip      = netip.MustParseAddrPort("10.96.0.10:80")
	client   = netip.MustParseAddr("10.1.0.2")
)

func pathOf(service string, policy ledger.Policy) ledger.Path {
	return ledger.Path{Service: ledger.ServicePort{Namespace: "shop", Name: service, Protocol: "tcp"}, Policy: policy, Endpoint: endpoint}
}

func leftPath(p ledger.Path, fronts ...ledger.Frontend) ledger.Change {
	return ledger.Change{Left: &ledger.Removal{Key: ledger.Key{UID: uid, Path: p}, Frontends: fronts}}
}

// conn is a connection of the client from a port of its own.
func conn(kind flowKind, from uint16, to netip.AddrPort, status uint32, state uint8) flowEvent {
	c := netip.AddrPortFrom(client, from)
	return flowEvent{kind: kind, status: status, tcpState: state,
		orig:  flowTuple{src: c, dst: to, proto: unix.IPPROTO_TCP},
		reply: flowTuple{src: endpoint, dst: c, proto: unix.IPPROTO_TCP}}
}

const answered = ctSeenReply

type books struct {
	*leavings
	reports []ledger.Witness
	after   []ledger.AfterLanding
}

func newBooks() *books {
	b := &books{}
	b.leavings = newLeavings(func(_ string, w ledger.Witness) { b.reports = append(b.reports, w) },
		func(k ledger.AfterLanding) { b.after = append(b.after, k) })
	return b
}

// departs makes the pod one of this node.
func (b *books) departs(ports ...uint16) {
	b.note(ledger.Change{Departed: &ledger.Departure{Pod: ledger.Pod{UID: uid}, Reason: ledger.Delete, Source: ledger.FromPod,
		Addrs: []netip.Addr{podAddr}, Containers: []ledger.Container{{Ports: ports}}}}, map[netip.Addr]bool{netip.MustParseAddr("10.2.0.1"): true}, t0)
	b.listening(t0)
}

func (b *books) gone(at float64) {
	b.note(ledger.Change{Farewell: &ledger.Farewell{Pod: ledger.Pod{UID: uid}, Gone: true}}, nil, sec(at))
}

// over is the one report there is, after the last window has ended.
func (b *books) over(t *testing.T) ledger.Witness {
	t.Helper()
	b.turn(sec(3000))
	if len(b.reports) != 1 {
		t.Fatalf("%d reports, want 1", len(b.reports))
	}
	if len(b.byUID)+len(b.byAddr)+len(b.flows) != 0 {
		t.Errorf("%d pods, %d addresses and %d connections are kept for ever", len(b.byUID), len(b.byAddr), len(b.flows))
	}
	return b.reports[0]
}

var front = ledger.Frontend{Addr: vip.Addr(), Port: vip.Port()}

// TestRefusedIsProved: what counts as lost, and what does not.
func TestRefusedIsProved(t *testing.T) {
	for _, tt := range []struct {
		name string
		tell func(b *books)
		want ledger.Flows
	}{
		{"a reset was the only answer", func(b *books) {
			b.event(conn(flowNew, 1, vip, 0, 1), sec(1))
			b.event(conn(flowDestroy, 1, vip, 0, tcpClose), sec(1.001))
		}, ledger.Flows{New: 1, Reset: 1}},
		{"a kernel that does not tell the state of an entry that goes", func(b *books) {
			b.event(conn(flowNew, 1, vip, 0, 1), sec(1))
			b.event(conn(flowDestroy, 1, vip, 0, 0), sec(1.001))
		}, ledger.Flows{New: 1, Reset: 1}},
		{"the same, and it may have gone with the pod's interface; the SYN is sent again", func(b *books) {
			b.event(conn(flowNew, 1, vip, 0, 1), sec(1))
			b.event(conn(flowDestroy, 1, vip, 0, 0), sec(1.5))
			b.event(conn(flowNew, 1, vip, 0, 1), sec(2))
			b.turn(sec(20))
		}, ledger.Flows{New: 2, Silent: 1}},
		{"it stood already, its entry is made anew and ends by a reset", func(b *books) {
			b.event(conn(flowNew, 1, vip, 0, 3), sec(1))
			b.event(conn(flowDestroy, 1, vip, 0, tcpClose), sec(1.001))
		}, ledger.Flows{}},
		{"the table was flushed, or full: nothing is known", func(b *books) {
			b.event(conn(flowNew, 1, vip, 0, 1), sec(1))
			b.event(conn(flowDestroy, 1, vip, 0, 1), sec(1.5))
			b.turn(sec(20))
		}, ledger.Flows{New: 1}},
		{"no answer for 10 s", func(b *books) {
			b.event(conn(flowNew, 1, vip, 0, 1), sec(1))
			b.turn(sec(10.9))
			b.turn(sec(11.1))
		}, ledger.Flows{New: 1, Silent: 1}},
		{"answered at the third attempt", func(b *books) {
			b.event(conn(flowNew, 1, vip, 0, 1), sec(1))
			b.event(conn(flowUpdate, 1, vip, answered, tcpSynRecv), sec(9))
			b.turn(sec(20))
		}, ledger.Flows{New: 1}},
		{"a challenge ACK is an answer, the reset after it the client's", func(b *books) {
			b.event(conn(flowNew, 1, vip, 0, 1), sec(1))
			b.event(conn(flowUpdate, 1, vip, answered, 1), sec(1.01))
			b.event(conn(flowUpdate, 1, vip, answered, tcpClose), sec(1.02))
			b.event(conn(flowDestroy, 1, vip, answered, tcpClose), sec(1.03))
			b.event(conn(flowNew, 1, vip, 0, 1), sec(1.03))
			b.event(conn(flowDestroy, 1, vip, 0, tcpClose), sec(1.04))
		}, ledger.Flows{New: 2, Reset: 1}},
		{"its end was not told, its ports are used again", func(b *books) {
			b.event(conn(flowNew, 1, vip, 0, 1), sec(1))
			b.event(conn(flowNew, 1, vip, 0, 1), sec(5))
			b.event(conn(flowUpdate, 1, vip, answered, tcpSynRecv), sec(5.1))
			b.turn(sec(20))
		}, ledger.Flows{New: 2}},
		{"too young when the window ends", func(b *books) {
			b.note(ledger.Change{Returned: &ledger.Key{UID: uid, Path: pathOf("web", ledger.Cluster)}}, nil, sec(1))
			b.gone(1)
			b.event(conn(flowNew, 1, vip, 0, 1), sec(5))
			b.turn(sec(14))
		}, ledger.Flows{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBooks()
			b.departs(8080)
			b.note(leftPath(pathOf("web", ledger.Cluster), front), nil, t0)
			tt.tell(b)
			b.land(ledger.Landing{Key: ledger.Key{UID: uid, Path: pathOf("web", ledger.Cluster)}, Interval: ledger.Interval{Hi: sec(2)}}, sec(30))
			b.gone(30)
			if got := b.over(t); got.DNAT != tt.want || len(got.Incomplete) != 0 {
				t.Errorf("got %+v %v, want %+v", got.DNAT, got.Incomplete, tt.want)
			}
		})
	}
}

// TestWhoseConnection: which connections count for the pod.
func TestWhoseConnection(t *testing.T) {
	direct := func(from string, port uint16) flowEvent {
		e := conn(flowNew, 1, netip.AddrPortFrom(podAddr, port), 0, 1)
		e.reply.src = e.orig.dst
		e.orig.src = netip.MustParseAddrPort(from)
		return e
	}
	udp := conn(flowNew, 1, vip, 0, 0)
	udp.orig.proto = unix.IPPROTO_UDP
	for _, tt := range []struct {
		name         string
		own          bool
		e            flowEvent
		dnat, direct int
	}{
		{"through the Service, here", true, conn(flowNew, 1, vip, 0, 1), 1, 0},
		{"through the Service, on another node", false, conn(flowNew, 1, vip, 0, 1), 1, 0},
		{"through what no Service of the removal has, here: a host port", true, conn(flowNew, 1, netip.MustParseAddrPort("192.0.2.1:8888"), 0, 1), 1, 0},
		{"the same on another node: another Service may lead to the address now", false, conn(flowNew, 1, netip.MustParseAddrPort("192.0.2.1:8888"), 0, 1), 0, 0},
		{"straight to the pod, here", true, direct("10.9.0.9:5000", 8080), 0, 1},
		{"straight to the pod from another node's pod, seen there", false, direct("10.9.0.9:5000", 8080), 0, 0},
		{"a probe of the kubelet", true, direct("10.2.0.1:5000", 8080), 0, 0},
		{"a port that no Service names", true, direct("10.9.0.9:5000", 9090), 0, 0},
		{"a datagram", true, udp, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBooks()
			if tt.own {
				b.departs(8080, 9090)
			}
			b.note(leftPath(pathOf("web", ledger.Cluster), front), nil, t0)
			b.event(tt.e, sec(1))
			b.stop(sec(2))
			var w ledger.Witness
			if len(b.reports) > 0 {
				w = b.reports[0]
			}
			if w.DNAT.New != tt.dnat || w.Direct.New != tt.direct {
				t.Errorf("got %d translated and %d direct, want %d and %d", w.DNAT.New, w.Direct.New, tt.dnat, tt.direct)
			}
		})
	}
}

// TestAfterLanding: when a new connection is an error of landed.
func TestAfterLanding(t *testing.T) {
	cluster, local := pathOf("web", ledger.Cluster), pathOf("web", ledger.Local)
	nodePort := ledger.Frontend{Port: 30080}
	landed := func(b *books, p ledger.Path, at float64) {
		b.land(ledger.Landing{Key: ledger.Key{UID: uid, Path: p}, Interval: ledger.Interval{Hi: sec(at)}}, sec(at))
	}
	for _, tt := range []struct {
		name string
		tell func(b *books)
		want int
	}{
		{"after it", func(b *books) {
			landed(b, cluster, 1)
			b.empty(sec(1.003))
			b.event(conn(flowNew, 1, vip, 0, 1), sec(1.1))
		}, 1},
		{"received after it, but it may have been waiting", func(b *books) {
			landed(b, cluster, 1)
			b.event(conn(flowNew, 1, vip, 0, 1), sec(1.1))
		}, 0},
		{"no event was waiting at a moment within the margin", func(b *books) {
			landed(b, cluster, 1)
			b.empty(sec(1.001))
			b.event(conn(flowNew, 1, vip, 0, 1), sec(1.1))
		}, 0},
		{"through a Service that never led there before", func(b *books) {
			landed(b, cluster, 1)
			b.empty(sec(1.003))
			b.event(conn(flowNew, 1, netip.MustParseAddrPort("10.96.0.99:80"), 0, 1), sec(1.1))
		}, 0},
		{"the pod is ready again, and kube-proxy was quicker than our watch", func(b *books) {
			landed(b, cluster, 1)
			b.empty(sec(1.003))
			b.event(conn(flowNew, 1, vip, 0, 1), sec(1.1))
			b.note(ledger.Change{Returned: &ledger.Key{UID: uid, Path: cluster}}, nil, sec(1.2))
		}, 0},
		{"the Local path to the same endpoint is kept on purpose", func(b *books) {
			b.note(ledger.Change{Retained: &ledger.Removal{Key: ledger.Key{UID: uid, Path: local}, Frontends: []ledger.Frontend{front, nodePort}}}, nil, t0)
			landed(b, cluster, 1)
			b.empty(sec(1.003))
			b.event(conn(flowNew, 1, vip, 0, 1), sec(1.1))
		}, 0},
		{"through the node port, by any address", func(b *books) {
			b.note(leftPath(local, nodePort), nil, t0)
			landed(b, cluster, 1)
			landed(b, local, 1)
			b.empty(sec(1.003))
			b.event(conn(flowNew, 1, netip.MustParseAddrPort("192.0.2.7:30080"), 0, 1), sec(1.1))
		}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBooks()
			b.note(leftPath(cluster, front), nil, t0)
			b.listening(t0)
			tt.tell(b)
			b.turn(sec(1.2))
			if len(b.after) != 0 {
				t.Error("told before the second thoughts")
			}
			b.turn(sec(4))
			if len(b.after) != tt.want || tt.want > 0 && b.after[0] != ledger.NewConnection {
				t.Errorf("told of %v, want %d new", b.after, tt.want)
			}
		})
	}
}

// TestPodsOfTheHostNetwork: the node's address is not the pod's; what it declares or a Service names is.
func TestPodsOfTheHostNetwork(t *testing.T) {
	node := map[netip.Addr]bool{podAddr: true}
	for _, tt := range []struct {
		ports []uint16
		want  int
	}{{nil, 0}, {[]uint16{8080}, 1}} {
		b := newBooks()
		b.note(ledger.Change{Departed: &ledger.Departure{Pod: ledger.Pod{UID: uid}, Reason: ledger.Delete, Source: ledger.FromPod,
			Addrs: []netip.Addr{podAddr}, Containers: []ledger.Container{{Ports: tt.ports}}}}, node, t0)
		if n := len(b.addresses()); n != tt.want {
			t.Errorf("ports %v: %d addresses are listened for, want %d", tt.ports, n, tt.want)
		}
		e := conn(flowNew, 1, netip.AddrPortFrom(podAddr, 10250), 0, 1) // the kubelet's
		e.reply.src = e.orig.dst
		b.event(e, sec(1))
		b.event(conn(flowNew, 2, endpoint, 0, 1), sec(1))
		b.stop(sec(2))
		got := 0
		for _, w := range b.reports {
			got += w.Direct.New
		}
		if got != tt.want || len(b.reports) != tt.want {
			t.Errorf("ports %v: %d connections in %d reports, want %d", tt.ports, got, len(b.reports), tt.want)
		}
	}
}

// TestWitnessIsBounded: connections and pods beyond what is held are marked, not held.
func TestWitnessIsBounded(t *testing.T) {
	b := newBooks()
	b.departs(8080)
	for i := range maxFlows + 10 {
		e := conn(flowNew, uint16(i), vip, 0, 1)
		e.orig.src = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 16), byte(i >> 8)}), uint16(i))
		b.event(e, sec(1))
	}
	if len(b.flows) != maxFlows {
		t.Errorf("%d connections are held, want %d", len(b.flows), maxFlows)
	}
	for i := range 2 * maxLeaving {
		k := ledger.Key{UID: "u" + string(rune(0x10000+i)), Path: pathOf("web", ledger.Cluster)}
		b.note(ledger.Change{Left: &ledger.Removal{Key: k}}, nil, sec(1))
	}
	if len(b.byUID) != maxLeaving {
		t.Errorf("%d pods are held, want %d", len(b.byUID), maxLeaving)
	}
	b.stop(sec(2))
	i := slices.IndexFunc(b.reports, func(w ledger.Witness) bool { return w.Own })
	if w := b.reports[i]; w.DNAT.New != maxFlows+10 || !slices.Contains(w.Incomplete, ledger.MissedCapacity) {
		t.Errorf("%d connections, marked %v", w.DNAT.New, w.Incomplete)
	}
}

// TestClosedConnectionsAreCountedOnce, however many there are and in whatever way they go on.
func TestClosedConnectionsAreCountedOnce(t *testing.T) {
	b := newBooks()
	b.older = true
	b.departs(8080)
	old := conn(flowUpdate, 9, vip, answered, tcpFinWait)
	b.event(old, sec(1)) // it began before the window
	old.tcpState = tcpClose
	b.event(old, sec(1.1))
	for i := range uint16(3) {
		b.event(conn(flowNew, i, vip, 0, 1), sec(2))
		b.event(conn(flowUpdate, i, vip, answered, tcpSynRecv), sec(2))
		b.event(conn(flowUpdate, i, vip, answered|ctAssured, 3), sec(2))
		b.event(conn(flowUpdate, i, vip, answered|ctAssured, tcpFinWait), sec(3))
		b.event(conn(flowUpdate, i, vip, answered|ctAssured, tcpTimeWait), sec(3.1))
		b.event(conn(flowUpdate, i, vip, answered|ctAssured, tcpClose), sec(3.2))
	}
	b.event(conn(flowUpdate, 1, vip, answered|ctAssured, tcpSynRecv), sec(4)) // revived
	b.event(conn(flowUpdate, 1, vip, answered|ctAssured, tcpClose), sec(5))
	b.gone(6)
	w := b.over(t)
	if d := w.Drain; d == nil || d.Closed != 4 || d.Cut != 1 || d.Open != 0 || !d.Last.Equal(sec(5)) {
		t.Errorf("drain %+v, want 4 closed and 1 cut at 5 s", d)
	}
	if d := w.Drain; !d.Accepted.Equal(sec(4)) || len(d.Resets.Counts) != 41 || d.Resets.Counts[40] != 1 {
		t.Errorf("accepted last at %v, resets %v; want 4 s, and one at 5 s", d.Accepted.Sub(t0), d.Resets.Counts)
	}
	if w.DNAT.New != 4 || !w.Older {
		t.Errorf("%d new, want 4; older %v", w.DNAT.New, w.Older)
	}
}

// TestLongWindowsEnd: a pod that takes hours to go is not watched for hours.
func TestLongWindowsEnd(t *testing.T) {
	b := newBooks()
	b.departs(8080)
	b.turn(sec(longestWindow.Seconds() - 1))
	if len(b.reports) != 0 {
		t.Fatal("it ended early")
	}
	b.turn(sec(longestWindow.Seconds() + 1))
	if w := b.over(t); !slices.Equal(w.Incomplete, []ledger.Missed{ledger.MissedAge}) {
		t.Errorf("marked %v", w.Incomplete)
	}
}
