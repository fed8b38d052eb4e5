package probes

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lastcall-k8s/lastcall/ledger"
)

// TestWitnessOnThePodsNode: exact counts of real connections, by whatever way they came, and of those that nobody
// listened to any more.
func TestWitnessOnThePodsNode(t *testing.T) {
	for family := range streets {
		t.Run(family, func(t *testing.T) {
			s := newStreet(t, family)
			l := s.serve(t, s.pod, "pod")
			s.serve(t, s.other, "other")
			w := s.witness(t, WitnessConfig{})
			pod := netip.AddrPortFrom(s.ip["pod"], port)

			if joined(t, s) {
				t.Error("it listens before anything leaves")
			}
			w.Note([]ledger.Change{s.departs("pod")})
			w.settled()
			if !joined(t, s) {
				t.Error("it does not listen although a pod leaves")
			}
			talk(t, s.client, s.otherVIP, 9)
			w.settled()
			received := make(chan uint64, 1)
			w.tell(func(*leavings, time.Time) { received <- w.received })
			if n := <-received; n != 0 {
				t.Errorf("%d events of another pod's connections were delivered", n)
			}
			began := time.Now()
			talk(t, s.client, s.vip, 20)
			talk(t, s.client, pod, 7)
			talk(t, s.node, pod, 5) // as the kubelet probes
			talk(t, s.node, s.vip, 3)
			must(t, l.Close())
			refuse(t, s.client, s.vip, 6)
			refuse(t, s.client, pod, 2)
			refuse(t, s.node, pod, 4)
			ended := time.Now()
			w.settled()
			w.end()

			r := w.report(t, time.Second)
			if want := (ledger.Flows{New: 29, Reset: 6}); r.DNAT != want {
				t.Errorf("translated: got %+v, want %+v", r.DNAT, want)
			}
			if want := (ledger.Flows{New: 9, Reset: 2}); r.Direct != want {
				t.Errorf("direct: got %+v, want %+v", r.Direct, want)
			}
			if !r.Own || !slices.Equal(r.Incomplete, []ledger.Missed{ledger.MissedStopped}) {
				t.Errorf("own %v, incomplete %v", r.Own, r.Incomplete)
			}
			for _, at := range []time.Time{r.Last, r.LastRefused} {
				if at.Before(began) || at.After(ended) {
					t.Errorf("last connection at %v, they were made from %v to %v", at, began, ended)
				}
			}
			if least, most := r.Began.After(began.Add(-time.Second), began.Add(-time.Second)); least != 38 || most != 38 {
				t.Errorf("the series has %d to %d connections, want 38", least, most)
			}
			if least, _ := r.Began.After(ended.Add(time.Second), ended.Add(time.Second)); least != 0 {
				t.Errorf("the series has %d connections after the last", least)
			}
			if r.Drain == nil || r.Drain.Closed != 30 || r.Drain.Open+r.Drain.Cut != 0 {
				t.Errorf("drain %+v, want 30 closed", r.Drain)
			}
			if joined(t, s) {
				t.Error("it still listens")
			}
		})
	}
}

// TestWitnessOfTheDrain: connections end by FIN, by a reset, or not at all.
func TestWitnessOfTheDrain(t *testing.T) {
	s := newStreet(t, "ipv4")
	s.serve(t, s.pod, "pod")
	w := s.witness(t, WitnessConfig{})
	w.Note([]ledger.Change{s.departs("pod")})
	w.settled()
	var cs []net.Conn
	for range 4 {
		c, err := dial(s.client, s.vip, netip.AddrPort{}, 2*time.Second)
		must(t, err)
		defer c.Close()
		cs = append(cs, c)
	}
	for _, c := range cs[:3] {
		say(t, c, 'x')
	}
	told := time.Now()
	must(t, cs[0].Close())
	must(t, cs[1].Close())
	say(t, cs[3], 'r')
	w.settled()
	w.end()
	d := w.report(t, time.Second).Drain
	if d == nil || d.Closed != 2 || d.Cut != 1 || d.Open != 1 {
		t.Fatalf("drain %+v, want 2 closed, 1 cut, 1 open", d)
	}
	if least, most := d.Ended.After(told.Add(-time.Second), told.Add(-time.Second)); least != 3 || most != 3 || d.Last.Before(told) {
		t.Errorf("%d to %d ended after the pod was told, want 3; the last at %v", least, most, d.Last.Sub(told))
	}
}

// TestWitnessOfSilence: the sandbox is gone and nobody answers, as the clients' node sees it.
func TestWitnessOfSilence(t *testing.T) {
	s := newStreet(t, "ipv4")
	s.serve(t, s.pod, "pod")
	w := s.witness(t, WitnessConfig{})
	w.Note([]ledger.Change{s.left()})
	w.settled()
	talk(t, s.client, s.vip, 5)
	s.pod.Exec(t, "", "ip", "link", "set", "eth0", "down")
	for range 4 {
		if c, err := dial(s.client, s.vip, netip.AddrPort{}, 300*time.Millisecond); err == nil {
			c.Close()
			t.Fatal("somebody answered")
		}
	}
	w.Landed(s.landing(time.Now()))
	w.settled()
	w.tell(func(ls *leavings, now time.Time) { // the books go by the time that they are given
		ls.turn(now.Add(unanswered))
		ls.looked = time.Time{}
		for _, l := range ls.byUID {
			l.calm = l.calm.Add(-lingers)
		}
	})
	r := w.report(t, 5*time.Second)
	if want := (ledger.Flows{New: 9, Silent: 4}); r.DNAT != want || r.Own || len(r.Incomplete) != 0 {
		t.Errorf("got %+v, want %+v", r, want)
	}
	for deadline := time.Now().Add(10 * time.Second); joined(t, s); { // without being woken
		if time.Now().After(deadline) {
			t.Fatal("it still listens")
		}
	}
}

// TestWitnessOfTheSamePortAgain: an entry without an answer is kept for 120 s after its last SYN, with its translation. A client
// that takes the same port again meanwhile is sent to the pod that is gone, whatever the rules say, and the kernel tells nobody:
// it is lost, and not counted.
func TestWitnessOfTheSamePortAgain(t *testing.T) {
	s := newStreet(t, "ipv4")
	s.serve(t, s.other, "other")
	s.pod.Exec(t, "", "ip", "link", "set", "eth0", "down")
	w := s.witness(t, WitnessConfig{})
	w.Note([]ledger.Change{s.left()})
	w.settled()
	from := netip.AddrPortFrom(s.ip["client"], 40001)
	lost := func(from netip.AddrPort) {
		t.Helper()
		if c, err := dial(s.client, s.vip, from, 300*time.Millisecond); err == nil {
			c.Close()
			t.Fatalf("from %s: somebody answered", from)
		}
	}
	lost(from)
	w.later(unanswered)
	nft(t, s.node, "flush table ip nat\nadd rule ip nat pre ip daddr "+s.vip.Addr().String()+" tcp dport 80 dnat to "+s.ip["other"].String()+"\n")
	talk(t, s.client, s.vip, 3)
	lost(from)
	w.later(unanswered)
	w.end()
	if r := w.report(t, time.Second); r.DNAT != (ledger.Flows{New: 1, Silent: 1}) {
		t.Errorf("got %+v, want the first only", r.DNAT)
	}
}

// TestWitnessOfAWipedEntry: a connection that stands loses its entry, and its next segment makes one anew, which nobody
// answers. It could connect, so it was not refused.
func TestWitnessOfAWipedEntry(t *testing.T) {
	s := newStreet(t, "ipv4")
	s.serve(t, s.pod, "pod")
	s.node.Exec(t, "", "nft", "add table ip nat; add chain ip nat post { type nat hook postrouting priority 100; }; add rule ip nat post oifname pod masquerade")
	w := s.witness(t, WitnessConfig{})
	w.Note([]ledger.Change{s.departs("pod"), s.left()})
	w.settled()
	c, err := dial(s.client, s.vip, netip.AddrPort{}, 2*time.Second)
	must(t, err)
	defer c.Close()
	say(t, c, 'x')
	flows := func() (n int, received uint64) {
		w.tell(func(ls *leavings, _ time.Time) { n, received = len(ls.flows), w.received })
		w.settled()
		return n, received
	}
	until := func(f func() bool) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); !f(); {
			if time.Now().After(deadline) {
				t.Fatal("the kernel does not tell")
			}
		}
	}
	s.pod.Exec(t, "", "ip", "link", "set", "eth0", "down") // nobody answers
	s.node.Exec(t, "", "ip", "link", "set", "pod", "down") // wipes
	until(func() bool { n, _ := flows(); return n == 0 })
	s.node.Exec(t, "", "ip", "link", "set", "pod", "up")
	_, before := flows()
	_, err = c.Write([]byte{'x'})
	must(t, err)
	until(func() bool { _, received := flows(); return received > before })
	w.later(unanswered)
	w.end()
	if r := w.report(t, time.Second); r.DNAT != (ledger.Flows{New: 1}) {
		t.Errorf("got %+v, want the one that stood", r.DNAT)
	}
}

// TestWitnessChecksLandings: after landing a new connection is our error, and is told; an old entry that a client revives is not.
func TestWitnessChecksLandings(t *testing.T) {
	s := newStreet(t, "ipv4")
	s.serve(t, s.pod, "pod")
	w := s.witness(t, WitnessConfig{})
	w.Note([]ledger.Change{s.left()})
	w.settled()

	from := netip.AddrPortFrom(s.ip["client"], 40001)
	cut, err := dial(s.client, s.vip, from, 2*time.Second)
	must(t, err)
	say(t, cut, 'r')
	must(t, cut.Close())
	s.rules(t, false)
	w.Landed(s.landing(time.Now()))
	for sure := false; !sure; w.settled() {
		w.tell(func(ls *leavings, _ time.Time) { sure = len(ls.unsure) == 0 })
		w.settled()
	}
	again, err := dial(s.client, s.vip, from, 2*time.Second)
	must(t, err) // by the old entry: no rule leads there
	say(t, again, 'x')
	must(t, again.Close())
	w.settled()
	if k := <-w.after; k != ledger.ReusedEntry {
		t.Errorf("told of %q, want a reused entry", k)
	}

	s.rules(t, true) // somebody edits the rules back
	talk(t, s.client, s.vip, 2)
	talk(t, s.client, netip.AddrPortFrom(s.ip["pod"], port), 3) // nobody's rule sent these
	for range 2 {
		if k := <-w.after; k != ledger.NewConnection {
			t.Errorf("told of %q, want a new connection", k)
		}
	}
	w.end()
	if r := w.report(t, time.Second); r.AfterLanding != 2 || r.Reused != 1 {
		t.Errorf("got %d new and %d reused, want 2 and 1", r.AfterLanding, r.Reused)
	}
	if len(w.after) != 0 {
		t.Errorf("told of %d more", len(w.after))
	}
}

// TestWitnessLeavesAboveALimit and comes back; what it may have missed is marked.
func TestWitnessLeavesAboveALimit(t *testing.T) {
	s := newStreet(t, "ipv4")
	s.serve(t, s.pod, "pod")
	w := s.witness(t, WitnessConfig{MostEvents: 20, Pause: 100 * time.Millisecond})
	w.Note([]ledger.Change{s.departs("pod")})
	w.settled()
	talk(t, s.client, s.vip, 30)
	<-w.lost
	back := make(chan bool)
	for joinedAgain := false; !joinedAgain; { // each turn looks whether the pause is over
		w.tell(func(*leavings, time.Time) { back <- w.sock != nil })
		joinedAgain = <-back
	}
	w.end()
	if r := w.report(t, time.Second); !slices.Contains(r.Incomplete, ledger.MissedRate) || r.DNAT.New < 3 {
		t.Errorf("got %+v, want marked, and what was seen before", r)
	}
}

// TestWitnessOverrun: events that the kernel dropped are counted and marked.
func TestWitnessOverrun(t *testing.T) {
	s := newStreet(t, "ipv4")
	s.serve(t, s.pod, "pod")
	w := s.witness(t, WitnessConfig{})
	w.Note([]ledger.Change{s.departs("pod")})
	w.settled()
	stuck, resume := make(chan struct{}), make(chan struct{})
	w.tell(func(*leavings, time.Time) {
		unix.SetsockoptInt(w.sock.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 4096)
		close(stuck)
		<-resume
	})
	<-stuck
	talk(t, s.client, s.vip, 50)
	close(resume)
	<-w.lost
	w.end()
	if r := w.report(t, time.Second); !slices.Contains(r.Incomplete, ledger.MissedOverrun) {
		t.Errorf("got %+v, want it marked", r)
	}
}

// TestWitnessOfASilentKernel: a kernel that tells nobody is no proof that nobody connects.
func TestWitnessOfASilentKernel(t *testing.T) {
	s := newStreet(t, "ipv4")
	s.serve(t, s.pod, "pod")
	sysctl(t, s.node, "netfilter/nf_conntrack_events", "0")
	w := s.witness(t, WitnessConfig{})
	w.Note([]ledger.Change{s.departs("pod")})
	w.settled()
	<-w.lost
	talk(t, s.client, s.vip, 1)
	w.end()
	if r := w.report(t, time.Second); !slices.Contains(r.Incomplete, ledger.MissedError) {
		t.Errorf("got %+v, want it marked", r)
	}
}

// TestWitnessOfOlderConnections: where the kernel tells of all, the drain has those that began before the pod left.
func TestWitnessOfOlderConnections(t *testing.T) {
	s := newStreet(t, "ipv4")
	s.serve(t, s.pod, "pod")
	sysctl(t, s.node, "netfilter/nf_conntrack_events", "1")
	w := s.witness(t, WitnessConfig{})
	c, err := dial(s.client, s.vip, netip.AddrPort{}, 2*time.Second)
	must(t, err)
	say(t, c, 'x')
	w.Note([]ledger.Change{s.departs("pod")})
	w.settled()
	must(t, c.Close())
	w.settled()
	w.end()
	if r := w.report(t, time.Second); !r.Older || r.DNAT.New != 0 || r.Drain == nil || r.Drain.Closed != 1 {
		t.Errorf("got %+v, drain %+v, want the one from before, closed", r, r.Drain)
	}
}

// TestReplyFilter: the kernel takes filters of every size, and compares every address of them.
func TestReplyFilter(t *testing.T) {
	for family := range streets {
		s := newStreet(t, family)
		s.serve(t, s.pod, "pod")
		s.serve(t, s.other, "other")
		for _, n := range []int{2, 3, maxFiltered, maxFiltered + 1} {
			var addrs []netip.Addr
			a := netip.MustParseAddr(map[string]string{"ipv4": "10.9.0.1", "ipv6": "fd09::1"}[family])
			for range n - 1 {
				addrs = append(addrs, a)
				a = a.Next()
			}
			addrs[0] = netip.MustParseAddr(map[string]string{"ipv4": "fd09::1", "ipv6": "10.9.0.1"}[family])
			addrs = append(addrs, s.ip["pod"])
			var sock *flowSocket
			must(t, s.node.Do(func() (err error) { sock, err = listenFlows(addrs); return err }))
			talk(t, s.client, s.otherVIP, 1)
			talk(t, s.client, s.vip, 1)
			got := drained(t, sock)
			others := got[s.ip["other"]]
			if got[s.ip["pod"]] == 0 {
				t.Errorf("%s, %d addresses: no event of the last one", family, len(addrs))
			}
			if everything := len(addrs) > maxFiltered; everything != (others > 0) {
				t.Errorf("%s, %d addresses: %d events of others", family, len(addrs), others)
			}
			sock.close()
		}
	}
}

// drained counts the events that are waiting, by the address that replies.
func drained(t *testing.T, sock *flowSocket) map[netip.Addr]int {
	n := map[netip.Addr]int{}
	for {
		b, err := sock.receive()
		if err == errNoEvent {
			return n
		}
		must(t, err)
		must(t, parseFlowEvents(b, func(e flowEvent) { n[e.reply.src.Addr()]++ }))
	}
}

// joined reports whether somebody in the node's namespace listens to conntrack.
func joined(t *testing.T, s *street) bool {
	t.Helper()
	for line := range strings.Lines(s.node.Exec(t, "", "cat", "/proc/net/netlink")) {
		if f := strings.Fields(line); len(f) > 3 && f[1] == "12" && f[3] == "00000007" {
			return true
		}
	}
	return false
}
