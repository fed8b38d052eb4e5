package probes

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/lastcall-k8s/lastcall/internal/freshnet"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// lockDir is where the tests' programs of iptables-legacy have their lock, which else is the machine's.
var lockDir = sync.OnceValues(func() (string, error) { return os.MkdirTemp("", "lastcall-xtables-") })

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, err := lockDir(); err == nil {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

func restoreLegacy(t testing.TB, ns *freshnet.Namespace, text string) {
	t.Helper()
	dir, err := lockDir()
	must(t, err)
	legacyRestore(t, ns, "iptables", filepath.Join(dir, "xtables.lock"), text)
}

func restoreLegacy6(t testing.TB, ns *freshnet.Namespace, text string) {
	t.Helper()
	dir, err := lockDir()
	must(t, err)
	legacyRestore(t, ns, "ip6tables", filepath.Join(dir, "xtables.lock"), text)
}

// legacyRestore runs the program that kube-proxy runs on such a node, with its flags.
func legacyRestore(t testing.TB, ns *freshnet.Namespace, family, lock, text string) {
	t.Helper()
	ns.Exec(t, chainNames(text), "env", "XTABLES_LOCKFILE="+lock, family+"-legacy-restore", "-w", "5", "--noflush", "--counters")
}

func legacyNamespace(t testing.TB, more ...string) *freshnet.Namespace {
	t.Helper()
	return freshnet.New(t, append(more, "iptables-legacy-restore", "ip6tables-legacy-restore")...)
}

const (
	// What kube-proxy sends when web1 leaves and web2 stays, when web1's place is taken by another, and when all have left.
	legacyWithoutWeb1 = `*nat
:SVC(shop/web:http) - [0:0]
:SEP(shop/web:http,10.244.1.2:8080) - [0:0]
-A SVC(shop/web:http) -m tcp -p tcp -d 10.96.0.10 --dport 80 ! -s 10.244.0.0/16 -j KUBE-MARK-MASQ
-A SVC(shop/web:http) -j SEP(shop/web:http,10.244.2.3:8080)
-X SEP(shop/web:http,10.244.1.2:8080)
COMMIT
`
	legacySwapped = `*nat
:SVC(shop/web:http) - [0:0]
:SEP(shop/web:http,10.244.1.2:8080) - [0:0]
:SEP(shop/web:http,10.244.2.9:8080) - [0:0]
-A SVC(shop/web:http) -m tcp -p tcp -d 10.96.0.10 --dport 80 ! -s 10.244.0.0/16 -j KUBE-MARK-MASQ
-A SVC(shop/web:http) -m statistic --mode random --probability 0.5000000000 -j SEP(shop/web:http,10.244.2.9:8080)
-A SVC(shop/web:http) -j SEP(shop/web:http,10.244.2.3:8080)
-A SEP(shop/web:http,10.244.2.9:8080) -s 10.244.2.9 -j KUBE-MARK-MASQ
-A SEP(shop/web:http,10.244.2.9:8080) -m tcp -p tcp -j DNAT --to-destination 10.244.2.9:8080
-X SEP(shop/web:http,10.244.1.2:8080)
COMMIT
`
	// The last endpoint: filter is committed before nat.
	legacyRejects = `*filter
:KUBE-SERVICES - [0:0]
-A KUBE-SERVICES -m tcp -p tcp -d 10.96.0.11 --dport 9090 -j REJECT
-A OUTPUT -j KUBE-SERVICES
COMMIT
`
	legacyDispatchesNoMore = `*nat
:KUBE-SERVICES - [0:0]
-A KUBE-SERVICES -m tcp -p tcp -d 10.96.0.10 --dport 80 -j SVC(shop/web:http)
-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
COMMIT
`
)

// TestLegacyLanding times removals that the real program makes, and holds each interval against the times just before
// and after it ran: with the lock watched, watched where it appears later, made anew, and not there at all.
func TestLegacyLanding(t *testing.T) {
	for _, tt := range []struct {
		name string
		lock func(t *testing.T, path string) (flag string) // before the probe starts
		edit string
	}{
		{"with a lock", func(t *testing.T, path string) string { touch(t, path); return path }, legacyWithoutWeb1},
		{"the lock appears later", func(_ *testing.T, path string) string { return path }, legacyWithoutWeb1},
		{"no lock", func(*testing.T, string) string { return "" }, legacyWithoutWeb1},
		{"no directory of the lock", func(*testing.T, string) string { return "/nonexistent/xtables.lock" }, legacyWithoutWeb1},
		{"of the same size, with a lock", func(t *testing.T, path string) string { touch(t, path); return path }, legacySwapped},
		{"of the same size, no lock", func(*testing.T, string) string { return "" }, legacySwapped},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ns := legacyNamespace(t)
			lock := filepath.Join(t.TempDir(), "xtables.lock")
			restoreLegacy(t, ns, read(t, "iptables-1.36.rules"))
			before := info(t, ns)
			p := start(t, ns, KubeProxyConfig{XtablesLock: tt.lock(t, lock)})
			p.Watch([]ledger.Removal{web1, api1})
			p.passed(t)
			var replaced func() (after, by time.Time)
			if tt.edit != legacySwapped {
				replaced = observe(t, ns)
			}
			began := time.Now()
			legacyRestore(t, ns, "iptables", lock, tt.edit)
			ended := time.Now()
			if replaced != nil {
				began, ended = replaced()
			}
			ld := receive(t, p.landings, "landing")
			if ld.Key != web1.Key {
				t.Fatalf("landed %v, want %v", ld.Key, web1.Key)
			}
			if ld.Absent || ld.Lo.IsZero() || ld.Hi.Before(began) || ld.Lo.After(ended) {
				t.Errorf("landed in (%v, %v] absent=%v, want it to hold the commit in (%v, %v]", ld.Lo, ld.Hi, ld.Absent, began, ended)
			}
			if same := before == info(t, ns); same != (tt.edit == legacySwapped) {
				t.Errorf("the kernel's short answer stayed the same: %v; the test means the other: %+v %+v", same, before, info(t, ns))
			}
			if len(p.landings) > 0 {
				t.Error("landed although still routed")
			}
		})
	}
}

// observe asks for the table's size as fast as it can, and returns between which two moments it changed.
func observe(t *testing.T, ns *freshnet.Namespace) (changed func() (after, by time.Time)) {
	type span struct{ after, by time.Time }
	done, began := make(chan span, 1), make(chan struct{})
	go ns.Do(func() error { //nolint:errcheck // nothing comes of it
		s, err := openXtables(2)
		if err != nil {
			return err
		}
		defer s.close()
		var first tableInfo
		var at span
		for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
			now := time.Now()
			i, err := s.info()
			switch {
			case err != nil:
				return err
			case first == tableInfo{}:
				first = i
				close(began)
			case i != first:
				at.by = time.Now()
				done <- at
				return nil
			}
			at.after = now
		}
		return nil
	})
	receive(t, began, "size of the table")
	return func() (after, by time.Time) {
		at := receive(t, done, "other size of the table")
		return at.after, at.by
	}
}

// TestAffinity: the rule that remembers a client leads to the endpoint as well, in both backends.
func TestAffinity(t *testing.T) {
	const remembers = `*nat
:SVC(shop/api) - [0:0]
-A SVC(shop/api) -m recent --name KUBE-SEP-X --rcheck --seconds 10800 --reap -j SEP(shop/api,10.244.1.4:9090)
COMMIT
`
	const forgets = `*nat
:SVC(shop/api) - [0:0]
COMMIT
`
	for name, load := range map[string]func(testing.TB, *freshnet.Namespace, string){"nft": restore, "legacy": restoreLegacy} {
		t.Run(name, func(t *testing.T) {
			ns := legacyNamespace(t, "iptables-nft-restore")
			load(t, ns, read(t, "iptables-1.36.rules"))
			var found Found
			must(t, ns.Do(func() (err error) { found, err = Detect(Hints{}); return err }))
			for _, step := range []struct {
				edit string
				want bool
			}{{remembers, true}, {forgets, false}} {
				load(t, ns, step.edit)
				if got := routed(t, ns, found, api1); got != step.want {
					t.Errorf("reachable: %v, want %v, after\n%s", got, step.want, step.edit)
				}
			}
		})
	}
}

// info is the kernel's short answer about the table of IPv4.
func info(t *testing.T, ns *freshnet.Namespace) (i tableInfo) {
	t.Helper()
	must(t, ns.Do(func() error {
		s, err := openXtables(2)
		if err != nil {
			return err
		}
		defer s.close()
		i, err = s.info()
		return err
	}))
	return i
}

// passed waits for the first read of everything that is watched.
func (p *probe) passed(t *testing.T) {
	t.Helper()
	receive(t, p.passes, "pass")
}

// TestLegacyRejectIsNotALanding: kube-proxy commits filter first; the path is gone with nat.
func TestLegacyRejectIsNotALanding(t *testing.T) {
	ns := legacyNamespace(t)
	lock := filepath.Join(t.TempDir(), "xtables.lock")
	restoreLegacy(t, ns, read(t, "iptables-1.36.rules"))
	p := start(t, ns, KubeProxyConfig{XtablesLock: lock})
	p.Watch([]ledger.Removal{api1})
	p.passed(t)
	legacyRestore(t, ns, "iptables", lock, legacyRejects)
	p.reads(t)
	if len(p.landings) > 0 {
		t.Fatal("landed with the commit of filter")
	}
	began := time.Now()
	legacyRestore(t, ns, "iptables", lock, legacyDispatchesNoMore)
	if ld := receive(t, p.landings, "landing"); ld.Hi.Before(began) {
		t.Errorf("landed by %v, nat was committed after %v", ld.Hi, began)
	}
}

// TestLegacyLearntLate: where nobody keeps a log of commits, a path that was never read as reachable has an upper bound
// and nothing else; unless the last read of another removal's has it.
func TestLegacyLearntLate(t *testing.T) {
	ns := legacyNamespace(t)
	restoreLegacy(t, ns, read(t, "iptables-1.36.rules"))
	p := start(t, ns, KubeProxyConfig{})
	p.Watch([]ledger.Removal{api1})
	p.passed(t)
	restoreLegacy(t, ns, legacyWithoutWeb1)
	p.reads(t)
	late := web1
	late.Seen = time.Now()
	late.ExpectedSince = late.Seen.Add(-time.Minute)
	p.Watch([]ledger.Removal{late})
	if ld := receive(t, p.landings, "landing"); ld.Absent || !ld.Lo.IsZero() || ld.Hi.IsZero() {
		t.Errorf("landed in (%v, %v] absent=%v; want an upper bound only", ld.Lo, ld.Hi, ld.Absent)
	}
}

// TestLegacyTableIsNotCreated: asking the kernel for a table that does not exist makes it.
func TestLegacyTableIsNotCreated(t *testing.T) {
	ns := legacyNamespace(t, "nft")
	nft(t, ns, read(t, "nftables-1.36.nft"))
	p := start(t, ns, KubeProxyConfig{})
	p.Watch([]ledger.Removal{web1})
	p.reads(t)
	must(t, ns.Do(func() error {
		for _, family := range []uint8{2, 10} {
			s, err := openXtables(family)
			if err != nil {
				return err
			}
			defer s.close()
			if _, err := s.info(); !errors.Is(err, errNoTable) {
				t.Errorf("family %d: %v, want %v", family, err, errNoTable)
			}
			if _, err := s.readTable(&tableBuffer{}); !errors.Is(err, errNoTable) {
				t.Errorf("family %d: %v, want %v", family, err, errNoTable)
			}
		}
		if f, err := Detect(Hints{}); err != nil || f.Backend != "nftables" {
			t.Errorf("found %s, %v", f.Backend, err)
		}
		for _, names := range []string{"ip_tables_names", "ip6_tables_names"} {
			b, err := os.ReadFile("/proc/thread-self/net/" + names)
			if err != nil || len(b) > 0 {
				t.Errorf("%s: %q, %v: a read made a table", names, b, err)
			}
		}
		return nil
	}))
}

// TestLegacyResurrection: somebody puts back what had landed, while something else is pending.
func TestLegacyResurrection(t *testing.T) {
	ns := legacyNamespace(t)
	restoreLegacy(t, ns, read(t, "iptables-1.36.rules"))
	p := start(t, ns, KubeProxyConfig{})
	p.Watch([]ledger.Removal{web1})
	p.passed(t)
	restoreLegacy(t, ns, legacyWithoutWeb1)
	receive(t, p.landings, "landing")
	restoreLegacy(t, ns, read(t, "iptables-1.36.rules"))
	// Twice seen, at least a second apart, and for each something must point to it.
	for deadline := time.Now().Add(20 * time.Second); len(p.back) == 0 && time.Now().Before(deadline); {
		restoreLegacy(t, ns, "*nat\n:FOREIGN - [0:0]\n-A FOREIGN -j RETURN\nCOMMIT\n")
		select {
		case <-p.passes:
		case <-time.After(200 * time.Millisecond):
		}
		restoreLegacy(t, ns, "*nat\n:FOREIGN - [0:0]\n-X FOREIGN\nCOMMIT\n")
		select {
		case <-p.passes:
		case <-time.After(200 * time.Millisecond):
		}
	}
	if k := receive(t, p.back, "resurrection"); k != web1.Key {
		t.Errorf("resurrected %v, want %v", k, web1.Key)
	}
}
