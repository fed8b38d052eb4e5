package probes

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lastcall-k8s/lastcall/ledger"
)

// BenchmarkConnect is one connection through a node, opened, answered and closed: with nobody listening, while another
// pod leaves (the kernel builds five messages and drops them), and while it is this one (they are read).
func BenchmarkConnect(b *testing.B) {
	s := newStreet(b, "ipv4")
	s.serve(b, s.pod, "pod")
	s.serve(b, s.other, "other")
	for _, bm := range []struct {
		name    string
		to      netip.AddrPort
		witness bool
	}{{"nobody", s.otherVIP, false}, {"another", s.otherVIP, true}, {"this", s.vip, true}} {
		b.Run(bm.name, func(b *testing.B) {
			w, err := NewWitness(WitnessConfig{Report: func(string, ledger.Witness) {}, AfterLanding: func(ledger.AfterLanding) {}, Lost: func() {}, MostEvents: 1 << 30})
			must(b, err)
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan error, 1)
			go s.node.Do(func() error { done <- w.Run(ctx); return nil })
			if bm.witness {
				w.Note([]ledger.Change{s.departs("pod")})
				(&witness{Witness: w}).settled()
			}
			before := cpu(b)
			must(b, s.client.Do(func() error { return connect(b, bm.to) }))
			b.ReportMetric(float64(cpu(b)-before)/float64(b.N), "cpu-ns/op") // a busy machine disturbs it less
			cancel()
			<-done
		})
	}
}

// connect makes connections from the thread's namespace.
func connect(b *testing.B, to netip.AddrPort) error {
	for b.Loop() {
		c, err := dialHere(to, netip.AddrPort{}, 2*time.Second)
		if err != nil {
			return err
		}
		c.Write([]byte("x"))
		var buf [1]byte
		if _, err := c.Read(buf[:]); err != nil {
			return err
		}
		c.(*net.TCPConn).SetLinger(0) // no TIME_WAIT: ports would run out
		c.Close()
	}
	return nil
}

// cpu is what this process has used: both ends, the kernel's work for them, and the witness.
func cpu(b *testing.B) time.Duration {
	var r unix.Rusage
	must(b, unix.Getrusage(unix.RUSAGE_SELF, &r))
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
