package probes

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

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

// TestLegacyLockClosedTwiceAtOnce: the kernel tells of two that close the file one after the other as of one. The other is not waited for.
func TestLegacyLockClosedTwiceAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "xtables.lock")
	touch(t, path)
	l, err := openLockWatch(path)
	must(t, err)
	defer l.close()
	var both []*os.File
	for range 2 {
		f, err := os.Open(path)
		must(t, err)
		both = append(both, f)
		l.touched() //nolint:errcheck // each open is heard by itself
	}
	for _, f := range both {
		must(t, f.Close())
	}
	if heard, err := l.touched(); !heard || err != nil || l.holders != 1 {
		t.Fatalf("heard %t, %v: %d have it open as far as was heard, want one, who is not there", heard, err, l.holders)
	}
	if l.busy(time.Now().Add(2 * busyLeast)) {
		t.Error("who is not there is at work")
	}
	l.since = l.since.Add(-2 * busyLeast) // later
	f, err := os.Open(path)
	must(t, err)
	l.touched() //nolint:errcheck // see below
	if !l.busy(time.Now().Add(busyMost / 2)) {
		t.Error("who opened it then is not at work")
	}
	must(t, f.Close())
	if _, err := l.touched(); err != nil || l.busy(time.Now()) {
		t.Errorf("%v, or nobody has it open, and is at work", err)
	}
}
