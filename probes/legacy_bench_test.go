package probes

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lastcall-k8s/lastcall/ledger"
)

// kubeProxyTable is what kube-proxy programs for Services with a cluster IP and ten endpoints each. Without
// comments: it leaves them out where there are more than 1,000 endpoints (k8s v1.36.3 pkg/proxy/iptables/proxier.go:86).
func kubeProxyTable(services int) (rules string, path func(i int) ledger.Removal) {
	path = func(i int) ledger.Removal {
		addr := netip.AddrFrom4([4]byte{10, byte(128 + i>>16), byte(i >> 8), byte(i)})
		return removal(fmt.Sprintf("ns/svc-%d", i/10), "http", netip.AddrPortFrom(addr, 8080).String())
	}
	var chains, b strings.Builder
	for s := range services {
		svc := serviceChain(path(10 * s).Path)
		fmt.Fprintf(&chains, ":%s - [0:0]\n", svc)
		vip := fmt.Sprintf("10.96.%d.%d", s>>8, s&255)
		fmt.Fprintf(&b, "-A KUBE-SERVICES -m tcp -p tcp -d %s --dport 80 -j %s\n", vip, svc)
		fmt.Fprintf(&b, "-A %s -m tcp -p tcp -d %s --dport 80 ! -s 10.244.0.0/16 -j KUBE-MARK-MASQ\n", svc, vip)
		for e := range 10 {
			r := path(10*s + e)
			sep := endpointChain(r.Path)
			fmt.Fprintf(&chains, ":%s - [0:0]\n", sep)
			chance := ""
			if e < 9 {
				chance = fmt.Sprintf("-m statistic --mode random --probability %.10f ", 1/float64(10-e))
			}
			fmt.Fprintf(&b, "-A %s %s-j %s\n", svc, chance, sep)
			fmt.Fprintf(&b, "-A %s -s %s -j KUBE-MARK-MASQ\n", sep, r.Path.Endpoint.Addr())
			fmt.Fprintf(&b, "-A %s -m tcp -p tcp -j DNAT --to-destination %s\n", sep, r.Path.Endpoint)
		}
	}
	return "*nat\n:KUBE-SERVICES - [0:0]\n:KUBE-MARK-MASQ - [0:0]\n" + chains.String() +
		"-A PREROUTING -j KUBE-SERVICES\n-A OUTPUT -j KUBE-SERVICES\n-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000\n" + b.String() + "COMMIT\n", path
}

// BenchmarkLegacy is what a pass costs that finds one removal and one that finds a hundred, and the question
// that is asked in between.
func BenchmarkLegacy(b *testing.B) {
	for _, services := range []int{1000, 10_000} {
		ns := legacyNamespace(b)
		rules, path := kubeProxyTable(services)
		restoreLegacy(b, ns, rules)
		for _, waiting := range []int{1, 100} {
			b.Run(fmt.Sprintf("services=%d/waiting=%d", services, waiting), func(b *testing.B) {
				must(b, ns.Do(func() error {
					t, err := openLegacy(protoFamily(ledger.IPv4))
					if err != nil {
						return err
					}
					defer t.close()
					if _, err := t.read(); err != nil {
						return err
					}
					var reading time.Duration
					for b.Loop() {
						r, err := t.read()
						if err != nil {
							return err
						}
						reading += r.after.Sub(r.before)
						for i := range waiting {
							// Spread over the table.
							if ok, err := t.reachable(r.memo, path(i*(10*services/100))); err != nil || !ok {
								return fmt.Errorf("%v: reachable %v, %w", path(i).Path, ok, err)
							}
						}
					}
					b.ReportMetric(float64(reading.Milliseconds())/float64(b.N), "ms-read/op")
					b.ReportMetric(float64(len(t.buf.b))/1e6, "MB-mapped")
					return nil
				}))
			})
		}
		b.Run(fmt.Sprintf("services=%d/info", services), func(b *testing.B) {
			must(b, ns.Do(func() error {
				s, err := openXtables(protoFamily(ledger.IPv4))
				if err != nil {
					return err
				}
				defer s.close()
				for b.Loop() {
					if _, err := s.info(); err != nil {
						return err
					}
				}
				return nil
			}))
		})
	}
}

// BenchmarkLegacyRestore is a partial sync of kube-proxy's, which removes one endpoint and puts it back: alone, and
// beside a probe that waits for the removal. "slop" is the width of its interval.
func BenchmarkLegacyRestore(b *testing.B) {
	const services = 1000
	ns := legacyNamespace(b)
	rules, path := kubeProxyTable(services)
	restoreLegacy(b, ns, rules)
	dir, err := lockDir()
	must(b, err)
	lock := filepath.Join(dir, "xtables.lock")
	gone := path(4321)
	svc, sep := serviceChain(gone.Path), endpointChain(gone.Path)
	var dispatch, without, with strings.Builder
	for line := range strings.Lines(rules) {
		switch {
		case strings.HasPrefix(line, "-A KUBE-SERVICES "):
			dispatch.WriteString(line)
		case strings.HasPrefix(line, "-A "+svc+" ") && !strings.Contains(line, sep):
			without.WriteString(line)
			with.WriteString(line)
		case strings.HasPrefix(line, "-A "+svc+" "), strings.HasPrefix(line, "-A "+sep+" "):
			with.WriteString(line)
		}
	}
	head := "*nat\n:KUBE-SERVICES - [0:0]\n:" + svc + " - [0:0]\n:" + sep + " - [0:0]\n" + dispatch.String()
	remove, add := head+without.String()+"-X "+sep+"\nCOMMIT\n", head+with.String()+"COMMIT\n"
	for _, beside := range []bool{false, true} {
		b.Run(fmt.Sprintf("beside=%v", beside), func(b *testing.B) {
			var p *probe
			if beside {
				p = start(b, ns, KubeProxyConfig{XtablesLock: lock})
			}
			var slops []time.Duration
			for b.Loop() {
				b.StopTimer()
				restoreLegacy(b, ns, add)
				if beside {
					gone.Seen = time.Now()
					p.Watch([]ledger.Removal{gone})
				}
				b.StartTimer()
				restoreLegacy(b, ns, remove)
				b.StopTimer()
				if beside {
					ld := receive(b, p.landings, "landing")
					if slop, ok := ld.Slop(); ok {
						slops = append(slops, slop)
					}
				}
				b.StartTimer()
			}
			if len(slops) > 0 {
				slices.Sort(slops)
				b.ReportMetric(float64(slops[len(slops)/2].Milliseconds()), "ms-slop-p50")
				b.ReportMetric(float64(len(slops))/float64(b.N), "bounded")
			}
		})
	}
}
