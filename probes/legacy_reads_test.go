package probes

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/lastcall-k8s/lastcall/ledger"
)

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
