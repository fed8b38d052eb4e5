package probes

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
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

// TestLegacyLockMadeAnew: the file at the path is another one now; those who open it are heard.
func TestLegacyLockMadeAnew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "xtables.lock")
	l, err := openLockWatch(path)
	must(t, err)
	defer l.close()
	heard := func(what string, want bool) {
		t.Helper()
		got, err := l.touched()
		must(t, err)
		if got != want {
			t.Errorf("%s: heard %v, want %v", what, got, want)
		}
	}
	heard("nothing happened", false)
	for range 3 {
		touch(t, path)
		heard("made", true) // whoever made it was heard before it was closed, or after
		l.touched()         //nolint:errcheck // see above
		heard("after that", false)
		f, err := os.Open(path)
		must(t, err)
		heard("opened", false)
		if now := time.Now(); !l.busy(now) || l.busy(now.Add(busyMost)) {
			t.Error("who has it open is not at work, or is for ever")
		}
		must(t, f.Close())
		heard("closed", true)
		if l.busy(time.Now()) {
			t.Error("nobody has it open, and is at work")
		}
		touch(t, path+".other")
		heard("another file", false)
		must(t, os.Remove(path))
		heard("removed", false)
	}
}

func touch(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	must(t, err)
	must(t, f.Close())
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

// TestLegacyCopyBoundsTheNext: a removal that is armed when the table was read a moment ago has its first read in that.
func TestLegacyCopyBoundsTheNext(t *testing.T) {
	ns := legacyNamespace(t)
	restoreLegacy(t, ns, read(t, "iptables-1.36.rules"))
	must(t, ns.Do(func() error {
		k, err := NewKubeProxy(KubeProxyConfig{Verified: func(time.Duration) {}, Land: func([]ledger.Landing) {}})
		if err != nil {
			return err
		}
		if k.found, err = Detect(Hints{}); err != nil {
			return err
		}
		if err := k.openLegacy(); err != nil {
			return err
		}
		defer k.closeAll()
		k.Watch([]ledger.Removal{api1})
		k.takeNew()
		if err := k.turnLegacy(); err != nil {
			return err
		}
		table := k.legacy[0]
		first := table.copy
		table.next = time.Now().Add(time.Hour) // no read is due
		unknown := removal("shop/web", "http", "10.244.7.7:8080", webFront...)
		k.Watch([]ledger.Removal{web1, unknown})
		k.takeNew()
		if err := k.turnLegacy(); err != nil {
			return err
		}
		if w := k.watched[web1.Key]; table.copy != first || !w.legacy.presentAt.Equal(first.before) || w.legacy.absent != 0 {
			t.Errorf("sighting %+v, want present since %v", w.legacy, first.before)
		}
		if w := k.watched[unknown.Key]; w.legacy.read() || !table.fresh {
			t.Errorf("what is not in the copy counts as read: %+v", w.legacy)
		}
		return nil
	}))
}

// TestLegacyReadsOnSigns: the table is read when something points to a change, and not without a sign, nor when nothing
// is pending.
func TestLegacyReadsOnSigns(t *testing.T) {
	ns := legacyNamespace(t)
	lock := filepath.Join(t.TempDir(), "xtables.lock")
	legacyRestore(t, ns, "iptables", lock, read(t, "iptables-1.36.rules"))
	must(t, ns.Do(func() error {
		k, err := NewKubeProxy(KubeProxyConfig{Verified: func(time.Duration) {}, Land: func([]ledger.Landing) {}, XtablesLock: lock})
		if err != nil {
			return err
		}
		if k.found, err = Detect(Hints{}); err != nil {
			return err
		}
		if err := k.openLegacy(); err != nil {
			return err
		}
		defer k.closeAll()
		table := k.legacy[0]
		turn := func(what string, wantRead bool) {
			t.Helper()
			last := table.copy
			must(t, k.turnLegacy())
			if read := table.copy != last; read != wantRead {
				t.Errorf("%s: read %v, want %v", what, read, wantRead)
			}
			// Whatever it cost: the next may be read at once, and need not be for an hour.
			table.next, table.nextChanged, table.due = time.Time{}, time.Time{}, time.Now().Add(time.Hour)
		}
		turn("nothing is pending", false)
		touch(t, lock)
		turn("nothing is pending, the lock was touched", false)
		k.Watch([]ledger.Removal{web1})
		k.takeNew()
		turn("armed", true)
		turn("no sign", false)
		touch(t, lock)
		turn("the lock was touched", true)
		turn("no sign since", false)
		table.due = time.Now()
		turn("it is time", true)
		legacyRestore(t, ns, "iptables", filepath.Join(t.TempDir(), "another.lock"), "*nat\n:FOREIGN - [0:0]\nCOMMIT\n")
		table.next = time.Now().Add(time.Hour)
		turn("another size, by somebody without the lock, soon after the last read", true)
		f, err := os.Open(lock)
		if err != nil {
			return err
		}
		table.due = time.Now()
		turn("it is time, but somebody is at work", false)
		legacyRestore(t, ns, "iptables", filepath.Join(t.TempDir(), "another.lock"), "*nat\n:FOREIGN - [0:0]\n-X FOREIGN\nCOMMIT\n")
		turn("another size, but somebody is at work", false)
		if err := f.Close(); err != nil {
			return err
		}
		turn("he is done", true)
		table.next = time.Now().Add(time.Hour)
		touch(t, lock)
		turn("the lock was touched soon after the last read", false)
		turn("later", true)
		k.Forget([]ledger.Key{web1.Key})
		k.takeNew()
		touch(t, lock)
		turn("nothing is pending any more", false)
		return nil
	}))
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

// TestBothHooked: a path has landed when the last of them lets go, whoever that is; and who does is taken for the one
// that kube-proxy programs.
func TestBothHooked(t *testing.T) {
	ns := legacyNamespace(t, "iptables-nft-restore")
	restore(t, ns, read(t, "iptables-1.36.rules"))
	restoreLegacy(t, ns, read(t, "iptables-1.36.rules"))
	var found Found
	must(t, ns.Do(func() (err error) { found, err = Detect(Hints{Mover: iptablesLegacy}); return err }))
	if found.Backend != iptablesLegacy || len(found.backends) != 1 || len(found.legacy) != 1 {
		t.Fatalf("found %+v", found)
	}
	for _, tt := range []struct {
		r           ledger.Removal
		first, last func(testing.TB, *freshnet.Namespace, string)
		edit        string
	}{
		{web1, restore, restoreLegacy, legacyWithoutWeb1},
		{api1, restoreLegacy, restore, legacyDispatchesNoMore},
	} {
		p := start(t, ns, KubeProxyConfig{})
		p.Watch([]ledger.Removal{tt.r, web2})
		p.reads(t)
		tt.first(t, ns, tt.edit)
		p.reads(t)
		if len(p.landings) > 0 {
			t.Fatalf("%v landed although one still routes it", tt.r.Path)
		}
		began := time.Now()
		tt.last(t, ns, tt.edit)
		ended := time.Now()
		ld := receive(t, p.landings, "landing")
		if ld.Key != tt.r.Key || ld.Lo.IsZero() || ld.Hi.Before(began) || ld.Lo.After(ended) {
			t.Errorf("%v landed in (%v, %v], want it to hold the last commit in (%v, %v]", ld.Key, ld.Lo, ld.Hi, began, ended)
		}
	}
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

// TestLegacyMemoryIsReleased: a table's copy does not outlive the need for it.
func TestLegacyMemoryIsReleased(t *testing.T) {
	table := &legacyTable{copy: &legacyRead{after: time.Now()}}
	_, err := table.buf.atLeast(4096)
	must(t, err)
	table.forget(time.Now().Add(copyLife / 2))
	if table.copy == nil || table.buf.b == nil {
		t.Error("released at once: the next removal of the rollout would have no first read")
	}
	table.forget(time.Now().Add(2 * copyLife))
	if table.copy != nil || table.buf.b != nil {
		t.Error("kept")
	}
}

// TestDataplaneChangesToLegacy: kube-proxy comes back on iptables-legacy; what is pending goes on.
func TestDataplaneChangesToLegacy(t *testing.T) {
	ns := legacyNamespace(t, "nft")
	nft(t, ns, read(t, "nftables-1.36.nft"))
	var found Found
	must(t, ns.Do(func() (err error) { found, err = Detect(Hints{}); return err }))
	landings := make(chan ledger.Landing, 1)
	k, err := NewKubeProxy(KubeProxyConfig{Verified: func(time.Duration) {}, Land: func(ls []ledger.Landing) { landings <- ls[0] }})
	must(t, err)
	k.lookGap = 50 * time.Millisecond
	k.Watch([]ledger.Removal{web2})
	done := make(chan error, 1)
	go func() { done <- ns.Do(func() error { return k.Run(t.Context(), found) }) }()
	restoreLegacy(t, ns, read(t, "iptables-1.36.rules"))
	if err := receive(t, done, "end of Run"); !errors.Is(err, ErrDataplaneChanged) || !strings.Contains(err.Error(), iptablesLegacy) {
		t.Fatalf("Run: %v, want %v to %s", err, ErrDataplaneChanged, iptablesLegacy)
	}
	must(t, ns.Do(func() (err error) { found, err = Detect(Hints{}); return err }))
	k.lookGap = time.Hour
	go func() { done <- ns.Do(func() error { return k.Run(t.Context(), found) }) }()
	nft(t, ns, "flush ruleset\n")
	began := time.Now()
	restoreLegacy(t, ns, "*nat\n-F OUTPUT\n-F PREROUTING\nCOMMIT\n")
	if ld := receive(t, landings, "landing"); ld.Key != web2.Key || ld.Lo.IsZero() || ld.Hi.Before(began) {
		t.Errorf("landed in (%v, %v], want it after %v", ld.Lo, ld.Hi, began)
	}
}

func TestLastOf(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	landing := func(lo, hi int) ledger.Landing {
		ld := ledger.Landing{Interval: ledger.Interval{Hi: at(hi)}}
		if lo != 0 {
			ld.Lo = at(lo)
		}
		return ld
	}
	for _, tt := range []struct {
		name            string
		nft, legacy     ledger.Landing
		inNFT, inLegacy bool
		lo, hi          int // 0: no bound
	}{
		{"legacy is later", landing(1, 2), landing(5, 9), true, true, 5, 9},
		{"nf_tables is later", landing(5, 6), landing(1, 3), true, true, 5, 6},
		{"they overlap", landing(2, 6), landing(1, 8), true, true, 2, 8},
		{"only in legacy: what nf_tables may have done before counts for nothing", landing(3, 4), landing(1, 3), false, true, 1, 4},
		{"only in nf_tables: legacy let go by its first read at the latest", landing(3, 4), landing(0, 5), true, false, 3, 5},
		{"never seen in either", landing(3, 4), landing(0, 5), false, false, 0, 5},
	} {
		got := lastOf(tt.nft, tt.inNFT, tt.legacy, tt.inLegacy)
		want := landing(tt.lo, tt.hi)
		if !got.Lo.Equal(want.Lo) || !got.Hi.Equal(want.Hi) || got.Absent {
			t.Errorf("%s: (%v, %v] absent=%v, want (%v, %v]", tt.name, got.Lo, got.Hi, got.Absent, want.Lo, want.Hi)
		}
	}
}
