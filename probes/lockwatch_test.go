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
