package probes

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/lastcall-k8s/lastcall/internal/freshnet"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// The fixtures are in the language of the tool that loads them, so a user can paste a ruleset as a bug report.

func nft(t testing.TB, ns *freshnet.Namespace, text string) { ns.Exec(t, text, "nft", "-f", "-") }

func restore(t testing.TB, ns *freshnet.Namespace, text string) {
	ns.Exec(t, chainNames(text), "iptables-nft-restore", "--noflush")
}

var chainName = regexp.MustCompile(`(SVC|SVL|EXT|FW|SEP)\(([^,)]+)(?:,([^)]+))?\)`)

// chainNames replaces SVC(ns/name:port) and the like by kube-proxy's chain names.
func chainNames(text string) string {
	return chainName.ReplaceAllStringFunc(text, func(s string) string {
		m := chainName.FindStringSubmatch(s)
		return "KUBE-" + m[1] + "-" + hash16(m[2]+"tcp"+m[3])
	})
}

func read(t testing.TB, file string) string {
	t.Helper()
	b, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func removal(service, port, endpoint string, frontends ...ledger.Frontend) ledger.Removal {
	ns, name, _ := strings.Cut(service, "/")
	return ledger.Removal{
		Key: ledger.Key{UID: "u-" + endpoint, Path: ledger.Path{
			Service: ledger.ServicePort{Namespace: ns, Name: name, Port: port, Protocol: "tcp"},
			Policy:  ledger.Cluster, Endpoint: netip.MustParseAddrPort(endpoint)}},
		Frontends: frontends,
	}
}

var (
	webFront = []ledger.Frontend{{Addr: netip.MustParseAddr("10.96.0.10"), Port: 80}, {Port: 30080}}
	web1     = removal("shop/web", "http", "10.244.1.2:8080", webFront...)
	web2     = removal("shop/web", "http", "10.244.2.3:8080", webFront...)
	apiFront = ledger.Frontend{Addr: netip.MustParseAddr("10.96.0.11"), Port: 9090}
	api1     = removal("shop/api", "", "10.244.1.4:9090", apiFront)
)

const nftNoVmap = `
flush chain ip kube-proxy service-WEB-shop/web/tcp/http
add rule ip kube-proxy service-WEB-shop/web/tcp/http meta l4proto tcp dnat ip addr . port to numgen random mod 1 map { 0 : 10.244.2.3 . 8080 }
`

// TestReachable holds what counts as routed, edit by edit, on a real kernel.
func TestReachable(t *testing.T) {
	for _, tt := range []struct {
		name    string
		fixture string
		edit    string // on top of the fixture
		want    map[string]bool
	}{
		{"nftables 1.36", "nftables-1.36.nft", "", map[string]bool{"web1": true, "web2": true, "api1": true}},
		{"endpoint dropped from the DNAT map", "nftables-1.36.nft", nftNoVmap,
			map[string]bool{"web1": false, "web2": true}},
		{"plain DNAT", "nftables-1.36.nft", `
flush chain ip kube-proxy service-WEB-shop/web/tcp/http
add rule ip kube-proxy service-WEB-shop/web/tcp/http meta l4proto tcp dnat to 10.244.1.2:8080
`, map[string]bool{"web1": true, "web2": false}},
		{"last endpoint: elements gone, chain left", "nftables-1.36.nft", `
delete element ip kube-proxy service-ips { 10.96.0.10 . tcp . 80 }
delete element ip kube-proxy service-nodeports { tcp . 30080 }
`, map[string]bool{"web1": false, "web2": false, "api1": true}},
		{"cluster IP gone, node port still leads there", "nftables-1.36.nft",
			"delete element ip kube-proxy service-ips { 10.96.0.10 . tcp . 80 }\n",
			map[string]bool{"web1": true, "web2": true}},
		{"the affinity jump alone still routes", "nftables-1.36.nft", `
flush chain ip kube-proxy service-API-shop/api/tcp/
add rule ip kube-proxy service-API-shop/api/tcp/ ip saddr @affinity-A1 goto endpoint-A1-shop/api/tcp/__10.244.1.4/9090
`, map[string]bool{"api1": true}},
		{"affinity gone, endpoint chain left", "nftables-1.36.nft", `
flush chain ip kube-proxy service-API-shop/api/tcp/
add rule ip kube-proxy service-API-shop/api/tcp/ numgen random mod 1 vmap { 0 : goto endpoint-A2-shop/api/tcp/__10.244.2.5/9090 }
`, map[string]bool{"api1": false}},
		{"hooks gone", "nftables-1.36.nft", `
flush chain ip kube-proxy nat-prerouting
flush chain ip kube-proxy nat-output
`, map[string]bool{"web1": false, "api1": false}},

		{"iptables-nft 1.36", "iptables-1.36.rules", "", map[string]bool{"web1": true, "web2": true, "api1": true}},
		{"service chain rewritten without the endpoint", "iptables-1.36.rules", `*nat
:SVC(shop/web:http) - [0:0]
-A SVC(shop/web:http) -j SEP(shop/web:http,10.244.2.3:8080)
COMMIT
`, map[string]bool{"web1": false, "web2": true}},
		{"large cluster: dispatch gone, chains and jumps left", "iptables-1.36.rules", `*nat
:KUBE-SERVICES - [0:0]
:KUBE-NODEPORTS - [0:0]
-A KUBE-SERVICES -m tcp -p tcp -d 10.96.0.11 --dport 9090 -j SVC(shop/api)
-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
COMMIT
`, map[string]bool{"web1": false, "web2": false, "api1": true}},
		{"large cluster: cluster IP gone, node port left", "iptables-1.36.rules", `*nat
:KUBE-SERVICES - [0:0]
-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
COMMIT
`, map[string]bool{"web1": true, "web2": true, "api1": false}},
		{"the endpoint's chain leads elsewhere", "iptables-1.36.rules", `*nat
:SEP(shop/api,10.244.1.4:9090) - [0:0]
-A SEP(shop/api,10.244.1.4:9090) -m tcp -p tcp -j DNAT --to-destination 10.244.9.9:9090
COMMIT
`, map[string]bool{"api1": false}},
		{"a DNAT of somebody else's in the service chain", "iptables-1.36.rules", `*nat
:SVC(shop/web:http) - [0:0]
-A SVC(shop/web:http) -j SEP(shop/web:http,10.244.2.3:8080)
-A SVC(shop/web:http) -m tcp -p tcp -j DNAT --to-destination 10.244.1.2:8080
COMMIT
`, map[string]bool{"web1": true, "web2": true}},
		{"nobody jumps to KUBE-SERVICES", "iptables-1.36.rules", `*nat
-F PREROUTING
-F OUTPUT
COMMIT
`, map[string]bool{"web1": false, "api1": false}},
	} {
		loads := map[string]func(testing.TB, *freshnet.Namespace, string){"": nft}
		if strings.HasSuffix(tt.fixture, ".rules") {
			loads = map[string]func(testing.TB, *freshnet.Namespace, string){"nft": restore, "legacy": restoreLegacy}
		}
		for backend, load := range loads {
			t.Run(tt.name+" "+backend, func(t *testing.T) {
				ns := freshnet.New(t, "nft", "iptables-nft-restore", "iptables-legacy-restore")
				load(t, ns, read(t, tt.fixture))
				var found Found
				must(t, ns.Do(func() (err error) { found, err = Detect(Hints{}); return err }))
				if tt.edit != "" {
					load(t, ns, tt.edit)
				}
				for name, r := range map[string]ledger.Removal{"web1": web1, "web2": web2, "api1": api1} {
					if want, asked := tt.want[name]; asked {
						if got := routed(t, ns, found, r); got != want {
							t.Errorf("%s reachable: got %v, want %v", name, got, want)
						}
					}
				}
			})
		}
	}
}

// routed reads the path in everything that was found, nf_tables and iptables-legacy.
func routed(t *testing.T, ns *freshnet.Namespace, found Found, r ledger.Removal) (yes bool) {
	t.Helper()
	must(t, ns.Do(func() error {
		sock, err := openNetfilter()
		if err != nil {
			return err
		}
		defer sock.close()
		k := &KubeProxy{planes: found.planes(sock)}
		yes, err = k.reachable(newMemo(found.baseChains), r)
		for _, family := range found.legacy {
			if yes || err != nil || family != protoFamily(r.Path.Family()) {
				continue
			}
			table, err := openLegacy(family)
			if err != nil {
				return err
			}
			defer table.close()
			read, err := table.read()
			if err != nil {
				return err
			}
			if yes, err = table.reachable(read.memo, r); err != nil {
				return err
			}
		}
		return err
	}))
	return yes
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// probe runs a KubeProxy in a namespace and hands out what it reports.
type probe struct {
	*KubeProxy
	passes   chan struct{}
	landings chan ledger.Landing
	back     chan ledger.Key
	blind    chan time.Time
}

func start(t testing.TB, ns *freshnet.Namespace, cfg KubeProxyConfig) *probe {
	t.Helper()
	p := &probe{passes: make(chan struct{}, 1), landings: make(chan ledger.Landing, 100), back: make(chan ledger.Key, 100), blind: make(chan time.Time, 1)}
	cfg.Land = func(ls []ledger.Landing) {
		for _, l := range ls {
			p.landings <- l
		}
	}
	cfg.Resurrected = func(ks []ledger.Key, _ time.Time) {
		for _, k := range ks {
			p.back <- k
		}
	}
	cfg.Blind = func(at time.Time) { p.blind <- at }
	cfg.Verified = func(time.Duration) {
		select {
		case p.passes <- struct{}{}:
		default:
		}
	}
	var found Found
	must(t, ns.Do(func() (err error) { found, err = Detect(Hints{}); return err }))
	var err error
	p.KubeProxy, err = NewKubeProxy(cfg)
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- ns.Do(func() error { return p.Run(ctx, found) }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run after cancel: %v, want nil", err)
		}
	})
	return p
}

func receive[T any](t testing.TB, ch chan T, what string) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(20 * time.Second):
		t.Fatalf("no %s within 20 s", what)
		panic("unreachable")
	}
}

// TestLanding times a removal made by the tools kube-proxy uses, and holds the interval against the times
// just before and after the tool ran.
func TestLanding(t *testing.T) {
	for _, tt := range []struct {
		name, fixture, edit string
		load                func(testing.TB, *freshnet.Namespace, string)
		subscribe           bool
	}{
		{"nftables", "nftables-1.36.nft", nftNoVmap, nft, false},
		{"nftables, subscribed", "nftables-1.36.nft", nftNoVmap, nft, true},
		{"iptables-nft", "iptables-1.36.rules", "*nat\n:SVC(shop/web:http) - [0:0]\n-A SVC(shop/web:http) -j SEP(shop/web:http,10.244.2.3:8080)\nCOMMIT\n", restore, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ns := freshnet.New(t, "nft", "iptables-nft-restore")
			tt.load(t, ns, read(t, tt.fixture))
			p := start(t, ns, KubeProxyConfig{Subscribe: tt.subscribe})
			p.Watch([]ledger.Removal{web1, api1})
			p.reads(t)
			before := time.Now()
			tt.load(t, ns, tt.edit)
			after := time.Now()
			ld := receive(t, p.landings, "landing")
			if ld.Key != web1.Key {
				t.Fatalf("landed %v, want %v", ld.Key, web1.Key)
			}
			if ld.Absent || ld.Lo.IsZero() || ld.Hi.Before(before) || ld.Lo.After(after) {
				t.Errorf("landed in (%v, %v] absent=%v, want it within (%v, %v]", ld.Lo, ld.Hi, ld.Absent, before, after)
			}
			if slop, _ := ld.Slop(); slop <= 0 || slop > after.Sub(before)+100*time.Millisecond {
				t.Errorf("slop %v", slop)
			}
			select {
			case ld := <-p.landings:
				t.Errorf("landed although still routed: %v", ld.Key)
			default:
			}
		})
	}
}

// reads waits until the probe has read everything that it watches.
func (p *probe) reads(t *testing.T) {
	t.Helper()
	for len(p.passes) > 0 {
		<-p.passes
	}
	receive(t, p.passes, "pass")
	receive(t, p.passes, "pass")
}

// TestLearntLate: kube-proxy may be faster than our watch. The commit is on record all the same.
func TestLearntLate(t *testing.T) {
	ns := freshnet.New(t, "nft")
	nft(t, ns, read(t, "nftables-1.36.nft"))
	p := start(t, ns, KubeProxyConfig{})
	p.Watch([]ledger.Removal{api1}) // keeps the probe polling
	p.reads(t)
	expected := time.Now()
	before := time.Now()
	nft(t, ns, nftNoVmap)
	after := time.Now()
	p.reads(t)
	late := web1
	late.ExpectedSince = expected
	late.Seen = time.Now()
	p.Watch([]ledger.Removal{late})
	ld := receive(t, p.landings, "landing")
	if ld.Absent || ld.Hi.Before(before) || ld.Hi.After(late.Seen) || ld.Lo.After(after) || ld.Lo.IsZero() {
		t.Errorf("landed in (%v, %v] absent=%v; the commit was in (%v, %v]", ld.Lo, ld.Hi, ld.Absent, before, after)
	}
	if len(ld.Candidates) != 1 {
		t.Errorf("%d candidates, want the one commit since the path was expected", len(ld.Candidates))
	}
	never := removal("shop/web", "http", "10.244.7.7:8080", webFront...)
	never.ExpectedSince = time.Now()
	p.Watch([]ledger.Removal{never})
	if ld := receive(t, p.landings, "landing"); !ld.Absent {
		t.Errorf("landed in (%v, %v], want absent: nothing was committed since it was expected", ld.Lo, ld.Hi)
	}
	unknown := removal("shop/web", "http", "10.244.8.8:8080", webFront...)
	p.Watch([]ledger.Removal{unknown})
	if ld := receive(t, p.landings, "landing"); ld.Absent || !ld.Lo.IsZero() {
		t.Errorf("landed in (%v, %v] absent=%v; want an upper bound only, it was expected before we started", ld.Lo, ld.Hi, ld.Absent)
	}
}

// TestForgottenAndWatchedAgain: what the ledger says is done in the order in which it was said.
func TestForgottenAndWatchedAgain(t *testing.T) {
	ns := freshnet.New(t, "nft")
	nft(t, ns, read(t, "nftables-1.36.nft"))
	p := start(t, ns, KubeProxyConfig{})
	p.Watch([]ledger.Removal{web1})
	p.reads(t)
	again := web1
	again.Seen = time.Now()
	p.Forget([]ledger.Key{web1.Key})
	p.Watch([]ledger.Removal{again})
	nft(t, ns, nftNoVmap)
	if ld := receive(t, p.landings, "landing"); !ld.Seen.Equal(again.Seen) {
		t.Errorf("landed for the removal seen %v, want %v", ld.Seen, again.Seen)
	}
}

// TestUnknownLayout: rules that are not understood are no landing.
func TestUnknownLayout(t *testing.T) {
	ns := freshnet.New(t, "nft")
	nft(t, ns, read(t, "nftables-1.36.nft"))
	p := start(t, ns, KubeProxyConfig{})
	p.Watch([]ledger.Removal{web1})
	p.reads(t)
	nft(t, ns, `
flush chain ip kube-proxy service-WEB-shop/web/tcp/http
add rule ip kube-proxy service-WEB-shop/web/tcp/http dnat to jhash ip saddr mod 2 map { 0 : 10.244.1.2, 1 : 10.244.2.3 }
add rule ip kube-proxy service-WEB-shop/web/tcp/http meta l4proto tcp redirect to :8080
`)
	p.reads(t)
	p.reads(t)
	if err := p.Ready(); !errors.Is(err, errLayout) {
		t.Errorf("ready: %v, want %v", err, errLayout)
	}
	if len(p.landings) > 0 {
		t.Error("reported as landed")
	}
	nft(t, ns, nftNoVmap)
	receive(t, p.landings, "landing")
	p.Forget([]ledger.Key{web1.Key})
	for p.Ready() != nil && t.Context().Err() == nil {
		p.kick()
	}
}

// TestDataplaneChanges: kube-proxy comes back in another mode.
func TestDataplaneChanges(t *testing.T) {
	ns := freshnet.New(t, "nft", "iptables-nft-restore")
	nft(t, ns, read(t, "nftables-1.36.nft"))
	var found Found
	must(t, ns.Do(func() (err error) { found, err = Detect(Hints{}); return err }))
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	k, err := NewKubeProxy(KubeProxyConfig{Verified: func(time.Duration) {}})
	must(t, err)
	k.lookGap = 50 * time.Millisecond
	done := make(chan error, 1)
	go func() { done <- ns.Do(func() error { return k.Run(ctx, found) }) }()
	nft(t, ns, "delete table ip kube-proxy\n")
	restore(t, ns, read(t, "iptables-1.36.rules"))
	// The look at the dataplane is rate-limited; another commit after that prompts it.
	for ctx.Err() == nil {
		select {
		case err := <-done:
			if !errors.Is(err, ErrDataplaneChanged) || !strings.Contains(err.Error(), "nat") {
				t.Errorf("Run: %v, want %v to table nat", err, ErrDataplaneChanged)
			}
			return
		case <-time.After(100 * time.Millisecond):
			nft(t, ns, "add table ip prompt\ndelete table ip prompt\n")
		}
	}
	t.Error("Run did not notice")
}

// TestForeignCommits: a program that commits all the time widens the interval and does nothing else.
func TestForeignCommits(t *testing.T) {
	ns := freshnet.New(t, "nft")
	nft(t, ns, read(t, "nftables-1.36.nft"))
	p := start(t, ns, KubeProxyConfig{})
	p.Watch([]ledger.Removal{web1, api1})
	p.reads(t)
	stop := make(chan struct{})
	commits := make(chan int, 1)
	go func() {
		n := 0
		defer func() { commits <- n }()
		must(t, ns.Do(func() error {
			c, err := openCommitter()
			if err != nil {
				return err
			}
			defer c.close()
			for {
				select {
				case <-stop:
					return nil
				default:
				}
				if err := c.commit(n); err != nil {
					return err
				}
				n++
			}
		}))
	}()
	for range 50 {
		p.reads(t)
	}
	before := time.Now()
	nft(t, ns, nftNoVmap)
	after := time.Now()
	ld := receive(t, p.landings, "landing")
	close(stop)
	n := <-commits
	slop, _ := ld.Slop()
	t.Logf("%d foreign commits, slop %v, %d candidates", n, slop, len(ld.Candidates))
	if ld.Key != web1.Key || ld.Lo.IsZero() || ld.Hi.Before(before) || ld.Lo.After(after) {
		t.Errorf("%v landed in (%v, %v], want %v within (%v, %v]", ld.Key, ld.Lo, ld.Hi, web1.Key, before, after)
	}
	if len(p.landings) > 0 {
		t.Error("a path that is still routed was reported as landed")
	}
}

// TestResurrection: somebody puts back what had landed.
func TestResurrection(t *testing.T) {
	ns := freshnet.New(t, "nft")
	nft(t, ns, read(t, "nftables-1.36.nft"))
	p := start(t, ns, KubeProxyConfig{})
	p.Watch([]ledger.Removal{web1})
	p.reads(t)
	nft(t, ns, nftNoVmap)
	receive(t, p.landings, "landing")
	nft(t, ns, "add rule ip kube-proxy service-WEB-shop/web/tcp/http meta l4proto tcp dnat to 10.244.1.2:8080\n")
	if k := receive(t, p.back, "resurrection"); k != web1.Key {
		t.Errorf("resurrected %v, want %v", k, web1.Key)
	}
}

// TestFlushedRuleset: all of kube-proxy's rules vanish at once; that is a landing like any other.
func TestFlushedRuleset(t *testing.T) {
	ns := freshnet.New(t, "nft")
	nft(t, ns, read(t, "nftables-1.36.nft"))
	p := start(t, ns, KubeProxyConfig{})
	p.Watch([]ledger.Removal{web1, web2, api1})
	p.reads(t)
	nft(t, ns, "flush ruleset\n")
	got := map[ledger.Key]bool{}
	for range 3 {
		got[receive(t, p.landings, "landing").Key] = true
	}
	if len(got) != 3 {
		t.Errorf("landed: %v, want all three", got)
	}
}

// TestDetectNothing: no dataplane, and no privilege to see one, are told apart.
func TestDetectNothing(t *testing.T) {
	ns := freshnet.New(t)
	err := ns.Do(func() error { _, err := Detect(Hints{}); return err })
	if !errors.Is(err, errNoKubeProxy) {
		t.Errorf("in an empty namespace: %v, want %v", err, errNoKubeProxy)
	}
}
