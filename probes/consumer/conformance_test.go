package consumer

import (
	"context"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lastcall-k8s/lastcall/ledger"
)

// TestConformance is what every probe must do, each over the real protocol.
func TestConformance(t *testing.T) {
	other := netip.MustParseAddrPort("10.0.0.2:8080")
	var all sync.WaitGroup // they mostly wait
	for _, tt := range []struct {
		name   string
		kind   Kind
		serve  func(*rig, string) (net.Addr, func())
		drains bool
	}{
		{"traefik", traefik, overHTTP(renderTraefik), true},
		{"envoy", envoy, overHTTP(renderEnvoy), true},
		{"ingress-nginx", ingressNginx, overHTTP(renderIngressNginx), false},
		{"haproxy socket", haproxy, overSocket("show servers state\n", renderServersState), true},
		{"haproxy csv", haproxy, overHTTP(renderStats), true},
		{"dns", dnsServer, overDNS, false},
		{"scrape apisix", example(t, "apisix"), overHTTP(renderAPISIX), true},
		{"scrape kong", example(t, "kong"), overHTTP(renderKong), true},
		{"scrape skipper", example(t, "skipper"), overHTTP(renderSkipper), false},
		{"scrape nginx-plus", example(t, "nginx-plus"), overHTTP(renderNginxPlus), true},
	} {
		all.Go(func() {
			t.Run(tt.name, func(t *testing.T) {
				s := newRig(t, tt.serve)
				p := runProbe(t, tt.kind, s.source)

				gone := func() { s.show(other) }
				if tt.drains {
					gone = func() { s.set(well, []netip.AddrPort{other}, []netip.AddrPort{endpoint}) }
				}
				present := func() ledger.Removal {
					s.show(endpoint, other)
					r := removal(time.Now())
					p.Watch([]ledger.Removal{r})
					p.readings(t, 1, nil)
					return r
				}

				// Present, then gone: told once, in an interval that holds the moment.
				r := present()
				at := time.Now()
				gone()
				p.landed(t, r, at, tt.kind.Lag)
				if due, why := p.due(); why != "" {
					t.Errorf("it has landed, and the next reading is due at %v", due)
				}

				// There again, and forgotten; there again, and gone.
				r = present()
				p.Forget([]ledger.Key{r.Key})
				gone()
				r = present()
				at = time.Now()
				gone()
				p.landed(t, r, at, tt.kind.Lag)

				for _, m := range []mode{garbage, status, slow, huge, redirect, cut} {
					t.Run(string(m), func(t *testing.T) {
						r := present()
						s.set(m, []netip.AddrPort{other}, nil)
						p.readings(t, 2, func(err error) bool { return err != nil })
						if trouble := p.Status().Trouble; trouble == "" || len(trouble) > 400 || strings.Contains(trouble, "s3cret") {
							t.Errorf("trouble %q", trouble)
						}
						p.none(t)
						at := time.Now()
						s.show(other)
						if p.mayBeAnother() {
							p.readings(t, 2, nil)
							p.none(t)
							p.Forget([]ledger.Key{r.Key})
							return
						}
						p.landed(t, r, at, time.Hour)
					})
				}
				if s.astray > 0 {
					t.Errorf("%d redirects were followed", s.astray)
				}

				// The source goes and comes again, without the address: another process, perhaps another place.
				r = present()
				s.stop()
				p.readings(t, 2, func(err error) bool { return err != nil })
				s.show(other)
				_, s.stop = tt.serve(s, s.source.Addr.String())
				p.readings(t, 3, nil)
				p.none(t)
				p.Forget([]ledger.Key{r.Key})

				// Cancelled in the middle of a reading.
				present()
				for len(s.came) > 0 {
					<-s.came
				}
				s.set(slow, nil, nil)
				<-s.came
				p.end(t)
				s.stop()
			})
		})
	}
	all.Wait()
	noGoroutine(t, "consumer.(*Poller)", "consumer.(*resolver)", "http.(*persistConn)", "consumer.command")
}

// TestWrongPort: something else answers there. It is named, and nothing is told.
func TestWrongPort(t *testing.T) {
	banner := func(r *rig, at string) (net.Addr, func()) {
		l := listen(r.t, "tcp", at)
		var g sync.WaitGroup
		g.Go(func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				c.Write([]byte("SSH-2.0-s3cret\r\n")) //nolint:errcheck // the client left
				c.Close()
			}
		})
		return l.Addr(), func() { l.Close(); g.Wait() }
	}
	for name, serve := range map[string]func(*rig, string) (net.Addr, func()){
		"ssh": banner, "another consumer": overHTTP(func(string, []netip.AddrPort, []netip.AddrPort) string { return `{"hello":"s3cret"}` }),
	} {
		for _, kind := range append(Kinds[:len(Kinds):len(Kinds)], example(t, "apisix"), example(t, "kong"), example(t, "nginx-plus"), example(t, "skipper")) {
			if kind.Named {
				continue // UDP
			}
			t.Run(name+"/"+kind.Name, func(t *testing.T) {
				p := runProbe(t, kind, newRig(t, serve).source)
				p.Watch([]ledger.Removal{removal(time.Now())})
				p.readings(t, 2, func(err error) bool { return err != nil })
				if s := p.Status(); s.Trouble == "" || strings.Contains(s.Trouble, "s3cret") || s.Pending != 1 {
					t.Errorf("%+v", s)
				}
				p.none(t)
				p.end(t)
			})
		}
	}
}

// probe is a poller under test.
type probe struct {
	*Poller
	asked    chan error
	landings chan ledger.Landing
	cancel   context.CancelFunc
	ended    chan error
}

func runProbe(t *testing.T, kind Kind, source Source) *probe {
	t.Helper()
	p := &probe{asked: make(chan error, 10_000), landings: make(chan ledger.Landing, 100), ended: make(chan error, 1)}
	var err error
	p.Poller, err = NewPoller(PollerConfig{Kind: kind, Replica: Replica{Name: "ns/pod", Source: source}, Timeout: 300 * time.Millisecond,
		Asked: func(_ Why, err error) { p.asked <- err },
		Land: func(ls []ledger.Landing) {
			for _, l := range ls {
				p.landings <- l
			}
		}})
	if err != nil {
		t.Fatal(err)
	}
	var ctx context.Context
	ctx, p.cancel = context.WithCancel(t.Context())
	go func() { p.ended <- p.Run(ctx) }()
	t.Cleanup(p.cancel)
	return p
}

// readings waits for n readings that began after now, complete ones unless want says otherwise.
func (p *probe) readings(t *testing.T, n int, want func(error) bool) {
	t.Helper()
	if want == nil {
		want = func(err error) bool { return err == nil }
	}
	for len(p.asked) > 0 {
		<-p.asked
	}
	n++ // the first may have begun before
	deadline := time.After(20 * time.Second)
	for n > 0 {
		select {
		case err := <-p.asked:
			if want(err) {
				n--
			}
		case <-deadline:
			t.Fatalf("no such reading; %+v", p.Status())
		}
	}
}

func (p *probe) landed(t *testing.T, r ledger.Removal, at time.Time, most time.Duration) {
	t.Helper()
	select {
	case ld := <-p.landings:
		if ld.Key != r.Key || !ld.Seen.Equal(r.Seen) || ld.Absent || ld.Unknown {
			t.Errorf("landed %+v, want %v", ld, r.Key)
		}
		if !ld.Lo.Before(at) || ld.Hi.Before(at) {
			t.Errorf("(%v, %v], but it went at %v", ld.Lo, ld.Hi, at)
		}
		if ld.Lo.Before(r.Seen.Add(-most - 2*time.Second)) { // by DNS's age
			t.Errorf("lower bound %v, but it was read as active after %v", ld.Lo, r.Seen)
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("did not land; %+v", p.Status())
	}
	p.none(t)
}

func (p *probe) none(t *testing.T) {
	t.Helper()
	select {
	case ld := <-p.landings:
		t.Errorf("landed %+v", ld)
	default:
	}
}

// mayBeAnother: the connection broke since the address was last seen.
func (p *probe) mayBeAnother() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.watched {
		if p.brokenAt.After(w.activeAt) {
			return true
		}
	}
	return false
}

func (p *probe) end(t *testing.T) {
	t.Helper()
	p.cancel()
	select {
	case err := <-p.ended:
		if err != nil {
			t.Errorf("Run: %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("Run does not return")
	}
}

// noGoroutine waits until none is left that runs one of these.
func noGoroutine(t *testing.T, functions ...string) {
	t.Helper()
	buf := make([]byte, 1<<20)
	for deadline := time.Now().Add(10 * time.Second); ; runtime.Gosched() {
		stacks := string(buf[:runtime.Stack(buf, true)])
		left := ""
		for g := range strings.SplitSeq(stacks, "\n\n") {
			for _, f := range functions {
				if strings.Contains(g, f) {
					left = g
				}
			}
		}
		if left == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("a goroutine is left:\n%s", left)
		}
	}
}

// example is the kind that an example configuration declares.
func example(t testing.TB, name string) Kind {
	t.Helper()
	b, err := os.ReadFile("testdata/scrape/" + name + ".yaml")
	if err != nil {
		t.Fatal(err)
	}
	c, err := ParseConfig(b)
	if err != nil {
		t.Fatalf("%s.yaml: %v", name, err)
	}
	k, ok := c.Kind(name)
	if !ok {
		t.Fatalf("%s.yaml declares no place of that name", name)
	}
	return k
}
