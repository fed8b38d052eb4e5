package consumer

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/lastcall-k8s/lastcall/ledger"
)

// server is what a DNS server answers over time, with or without a cache in front of it.
type server struct {
	ttl     time.Duration
	caches  bool
	stored  time.Time // of the cache's entry
	entry   bool      // what is in it: the address is there
	present func(time.Time) bool
}

// at is the answer at a moment: whether the address is in it, and its time to live in whole seconds, counted down as
// CoreDNS does (plugin/cache/item.go, ttl).
func (s *server) at(now time.Time) (positive bool, ttl time.Duration) {
	if !s.caches {
		return s.present(now), s.ttl
	}
	if s.stored.IsZero() || now.Sub(s.stored) >= s.ttl {
		s.stored, s.entry = now, s.present(now)
	}
	return s.entry, s.ttl - now.Sub(s.stored).Truncate(time.Second)
}

// TestCachesAreLearnt asks as a poller does, and holds what it makes of the answers against what clients may get.
func TestCachesAreLearnt(t *testing.T) {
	start := time.Unix(1_800_000_000, 0)
	question := dns.Question{Name: "web.shop.svc.cluster.local.", Qtype: dns.TypeA}
	for _, tt := range []struct {
		name   string
		ttl    time.Duration
		caches bool
		looked bool          // twice, a while before
		goes   time.Duration // after the first reading
		asks   [2]int        // how many readings at least and at most
		slop   time.Duration // at most, with lag
	}{
		{"no cache, learnt by the looks", 5 * time.Second, false, true, 10 * time.Second, [2]int{100, 300}, 51 * time.Millisecond},
		{"no cache, learnt while polling", 30 * time.Second, false, false, 10 * time.Second, [2]int{100, 300}, 51 * time.Millisecond},
		{"no cache, gone before that is known", 5 * time.Second, false, false, 100 * time.Millisecond, [2]int{2, 5}, 7 * time.Second},
		{"cache, learnt by the looks", 30 * time.Second, true, true, 10 * time.Second, [2]int{1, 30}, 62 * time.Second},
		{"cache, learnt while polling", 30 * time.Second, true, false, 10 * time.Second, [2]int{1, 60}, 62 * time.Second},
		{"cache of five seconds", 5 * time.Second, true, true, 7 * time.Second, [2]int{1, 60}, 12 * time.Second},
		{"cache of a second", time.Second, true, true, 3 * time.Second, [2]int{1, 100}, 4 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			gone := start.Add(tt.goes)
			s := &server{ttl: tt.ttl, caches: tt.caches, present: func(now time.Time) bool { return now.Before(gone) }}
			d := &resolver{answered: map[dns.Question]answered{}}
			if tt.looked {
				for _, at := range []time.Duration{-20 * time.Minute, -20*time.Minute + 1200*time.Millisecond} {
					positive, ttl := s.at(start.Add(at))
					d.note(question, start.Add(at), positive, ttl)
				}
			}
			asks, lo := 0, time.Time{}
			for now := start; ; asks++ {
				positive, ttl := s.at(now)
				a := d.note(question, now, positive, ttl)
				if !positive {
					// A client's entry may have been made just before it went, and be served for its time.
					last := gone
					if tt.caches {
						last = gone.Add(tt.ttl)
					}
					hi := now.Add(a.Lag + time.Millisecond)
					if hi.Before(last) || lo.After(gone) {
						t.Errorf("(%v, %v], but it went at %v and the last client got it at %v", lo.Sub(start), hi.Sub(start), tt.goes, last.Sub(start))
					}
					if slop := hi.Sub(lo); slop > tt.slop {
						t.Errorf("slop %v, want at most %v", slop, tt.slop)
					}
					break
				}
				lo = now.Add(-a.Age)
				now = now.Add(max(50*time.Millisecond, a.Hold))
			}
			if asks < tt.asks[0] || asks > tt.asks[1] {
				t.Errorf("asked %d times, want %d to %d", asks, tt.asks[0], tt.asks[1])
			}
		})
	}
}

// TestDNSQuestions: a name once for all ports of a Service, SRV where a port has a name, and TCP for what is large.
func TestDNSQuestions(t *testing.T) {
	var many []netip.AddrPort
	for i := range 200 {
		many = append(many, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 1, byte(i)}), 8080))
	}
	many = append(many, netip.MustParseAddrPort("[fd00::1]:8080"))
	s := newRig(t, overDNS)
	s.show(many...)
	r, err := openDNS(s.source)
	if err != nil {
		t.Fatal(err)
	}
	named := ledger.ServicePort{Namespace: "shop", Name: "web", Port: "http", Protocol: "tcp"}
	other := named
	other.Port = "metrics"
	read := func(of ...Want) map[ledger.ServicePort][]string {
		got := map[ledger.ServicePort][]string{}
		if _, err := r.Read(t.Context(), of, func(under ledger.ServicePort, at netip.AddrPort) {
			got[under] = append(got[under], at.String())
		}); err != nil {
			t.Fatal(err)
		}
		return got
	}
	got := read(Want{named, ledger.IPv4}, Want{other, ledger.IPv4})
	if n := len(got[named]); n != 401 || !slices.Contains(got[named], "10.0.1.7:0") || !slices.Contains(got[named], "10.0.1.7:8080") {
		t.Errorf("%d addresses by A and SRV, want 200 of each and one of the other family by SRV: %v", n, got[named][:min(n, 5)])
	}
	if n := len(got[other]); n != 200 {
		t.Errorf("%d addresses of a port that SRV does not know, want the 200 of A", n)
	}
	if got := read(Want{named, ledger.IPv6})[named]; !slices.Contains(got, "[fd00::1]:0") || slices.Contains(got, "10.0.1.7:0") {
		t.Errorf("AAAA: %v", got)
	}
	if _, err := r.Read(t.Context(), make([]Want, maxNames+1), nil); err == nil {
		t.Error("more names than are asked for")
	}
}

// TestDNSRecording reads what CoreDNS 1.14.0 answered.
func TestDNSRecording(t *testing.T) {
	a := new(dns.Msg)
	a.Question = []dns.Question{{Name: "web.default.svc.cluster.local.", Qtype: dns.TypeA, Qclass: dns.ClassINET}}
	for _, line := range []string{"web.default.svc.cluster.local. 30 IN A 127.0.0.11", "web.default.svc.cluster.local. 30 IN A 127.0.0.12"} {
		rr, err := dns.NewRR(line)
		if err != nil {
			t.Fatal(err)
		}
		a.Answer = append(a.Answer, rr)
	}
	var got []string
	positive, ttl, err := parseDNS(a, a.Question[0], func(at netip.AddrPort) { got = append(got, at.String()) })
	if err != nil || !positive || ttl != 30*time.Second || !cmp.Equal(got, []string{"127.0.0.11:0", "127.0.0.12:0"}) {
		t.Errorf("%v for %v, positive %v, %v", got, ttl, positive, err)
	}
}
