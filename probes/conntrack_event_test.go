package probes

import (
	"encoding/hex"
	"net/netip"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// recordedFlows are datagrams of a real kernel (6.18), one in hex a line; # begins what it is.
func recordedFlows(t testing.TB) (datagrams [][]byte, names []string) {
	t.Helper()
	text, err := os.ReadFile("testdata/conntrack-events.hex")
	must(t, err)
	for line := range strings.Lines(string(text)) {
		h, name, _ := strings.Cut(strings.TrimSpace(line), " # ")
		b, err := hex.DecodeString(h)
		must(t, err)
		datagrams, names = append(datagrams, b), append(names, name)
	}
	return datagrams, names
}

func TestParseFlowEvents(t *testing.T) {
	ap := netip.MustParseAddrPort
	translated := flowEvent{
		orig:  flowTuple{ap("10.1.0.2:40001"), ap("10.96.0.10:80"), unix.IPPROTO_TCP},
		reply: flowTuple{ap("10.2.0.2:80"), ap("10.1.0.2:40001"), unix.IPPROTO_TCP}}
	direct := flowEvent{
		orig:  flowTuple{ap("[fd01::2]:40002"), ap("[fd02::2]:80"), unix.IPPROTO_TCP},
		reply: flowTuple{ap("[fd02::2]:80"), ap("[fd01::2]:40002"), unix.IPPROTO_TCP}}
	with := func(e flowEvent, kind flowKind, answered bool, state uint8) flowEvent {
		e.kind, e.tcpState = kind, state
		if answered {
			e.status = ctSeenReply
		}
		return e
	}
	want := map[string]flowEvent{
		"ipv4 new":       with(translated, flowNew, false, 1),
		"ipv4 answered":  with(translated, flowUpdate, true, tcpSynRecv),
		"ipv4 refused":   with(translated, flowDestroy, false, tcpClose),
		"ipv4 fin":       with(translated, flowUpdate, true, tcpFinWait),
		"ipv6 new":       with(direct, flowNew, false, 1),
		"ipv6 refused":   with(direct, flowDestroy, false, tcpClose),
		"ipv6 time wait": with(direct, flowUpdate, true, tcpTimeWait),
	}
	datagrams, names := recordedFlows(t)
	for i, b := range datagrams {
		var got []flowEvent
		must(t, parseFlowEvents(b, func(e flowEvent) { got = append(got, e) }))
		w, ok := want[names[i]]
		if !ok {
			t.Errorf("%q is not in the table", names[i])
			continue
		}
		delete(want, names[i])
		if len(got) != 1 {
			t.Errorf("%s: %d events, want 1", names[i], len(got))
			continue
		}
		got[0].status &= ctSeenReply
		if got[0] != w {
			t.Errorf("%s: got %+v, want %+v", names[i], got[0], w)
		}
	}
	for name := range want {
		t.Errorf("no recording of %q", name)
	}
}

// FuzzFlowEvents: bytes of any kind make an error or events with addresses, and never a panic.
func FuzzFlowEvents(f *testing.F) {
	datagrams, _ := recordedFlows(f)
	for _, b := range datagrams {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		n := 0
		err := parseFlowEvents(b, func(e flowEvent) {
			n++
			if e.kind == 0 || !e.orig.src.Addr().IsValid() || !e.orig.dst.Addr().IsValid() || !e.reply.src.Addr().IsValid() {
				t.Errorf("half an event: %+v", e)
			}
		})
		if err == nil && n > len(b)/(unix.NLMSG_HDRLEN+nfHeaderLen) {
			t.Errorf("%d events in %d bytes", n, len(b))
		}
	})
}

// TestRecordFlowEvents writes the recording: WRITE_RECORDINGS=1.
func TestRecordFlowEvents(t *testing.T) {
	if os.Getenv("WRITE_RECORDINGS") != "1" {
		// It checks instead that the kernel still tells what was recorded.
		t.Log("compared only; WRITE_RECORDINGS=1 writes testdata/conntrack-events.hex")
	}
	lines := map[string]string{}
	for family := range streets {
		s := newStreet(t, family)
		l := s.serve(t, s.pod, "pod")
		var sock *flowSocket
		must(t, s.node.Do(func() (err error) { sock, err = listenFlows([]netip.Addr{s.ip["pod"]}); return err }))
		to, from := s.vip, netip.AddrPortFrom(s.ip["client"], 40001)
		if family == "ipv6" {
			to, from = netip.AddrPortFrom(s.ip["pod"], port), netip.AddrPortFrom(s.ip["client"], 40002)
		}
		c, err := dial(s.client, to, from, 0)
		must(t, err)
		say(t, c, 'x')
		must(t, c.Close())
		must(t, l.Close())
		for lines[family+" time wait"] == "" {
			recordFlow(t, sock, family, lines)
		}
		if _, err := dial(s.client, to, from, 0); err == nil {
			t.Fatal("somebody answered")
		}
		for lines[family+" refused"] == "" {
			recordFlow(t, sock, family, lines)
		}
		sock.close()
	}
	datagrams, names := recordedFlows(t)
	var text strings.Builder
	for i, name := range names {
		now := lines[name]
		if now == "" {
			t.Errorf("the kernel does not tell %q any more", name)
		}
		if got, err := hex.DecodeString(now); err != nil || len(got) < len(datagrams[i])/2 {
			t.Errorf("%q: %d bytes, recorded %d", name, len(got), len(datagrams[i]))
		}
		text.WriteString(now + " # " + name + "\n")
	}
	if os.Getenv("WRITE_RECORDINGS") == "1" {
		must(t, os.WriteFile("testdata/conntrack-events.hex", []byte(text.String()), 0o644))
	}
}

func recordFlow(t *testing.T, sock *flowSocket, family string, lines map[string]string) {
	b, err := sock.receive()
	if err == errNoEvent {
		fds := []unix.PollFd{{Fd: int32(sock.fd), Events: unix.POLLIN}}
		if n, _ := unix.Poll(fds, 5000); n == 0 {
			t.Fatal("no event")
		}
		return
	}
	must(t, err)
	text := hex.EncodeToString(b)
	must(t, parseFlowEvents(b, func(e flowEvent) {
		name := ""
		switch {
		case e.kind == flowNew && lines[family+" new"] == "":
			name = "new"
		case e.kind == flowDestroy && e.status&ctSeenReply == 0:
			name = "refused"
		case e.kind == flowUpdate:
			name = map[uint8]string{tcpSynRecv: "answered", tcpFinWait: "fin", tcpTimeWait: "time wait"}[e.tcpState]
		}
		if name != "" {
			lines[family+" "+name] = text
		}
	}))
}
