package store

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/internal/freshnet"
)

// A real full disk: a tmpfs of 8 MiB, mounted by a child in a mount namespace of its own, which ends with the child.
func TestFullDisk(t *testing.T) {
	if dir := os.Getenv(childDir); dir != "" {
		if err := syscall.Mount("store", dir, "tmpfs", 0, "size=8m,mode=0777"); err != nil {
			t.Fatal(err)
		}
		t.Run("filled by others", func(t *testing.T) { filledByOthers(t, dir) })
		t.Run("filled by us", func(t *testing.T) { filledByUs(t, dir) })
		t.Run("full when it is opened", func(t *testing.T) { fullWhenOpened(t, dir) })
		t.Run("mounted read-only", func(t *testing.T) { mountedReadOnly(t, dir) })
		return
	}
	dir := t.TempDir()
	cmd := child(t, "TestFullDisk", dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	if os.Getuid() != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
			UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}}
	}
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if errors.Is(err, syscall.EPERM) {
		freshnet.Missing(t, "make a mount namespace: "+err.Error())
	}
	if err != nil {
		t.Error(err)
	}
	if mounts, err := os.ReadFile("/proc/self/mounts"); err != nil || strings.Contains(string(mounts), dir) {
		t.Error("a mount is left behind", err)
	}
}

// ballast takes space until it is removed.
func ballast(t *testing.T, dir string, bytes int) (path string) {
	t.Helper()
	path = filepath.Join(dir, "ballast")
	if err := os.WriteFile(path, make([]byte, bytes), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// takeTheRest leaves no page of the disk free.
func takeTheRest(t *testing.T, dir string) (path string) {
	t.Helper()
	path = filepath.Join(dir, "rest")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	for page := make([]byte, 4096); err == nil; {
		_, err = f.Write(page)
	}
	if f.Close(); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	return path
}

// fill commits until that fails, and returns how many commits did not.
func fill(t *testing.T, s *Store) (stored int, err error) {
	t.Helper()
	r := rand.New(rand.NewPCG(7, 8))
	for i := range 4000 {
		d := large(r, epoch.Add(time.Duration(i)*time.Second))
		d.UID = fmt.Sprint(i)
		b := Batch{Departures: []report.Departure{d}, Cursors: []Cursor{{"node-a", "b", uint64(i + 1)}}}
		if err := s.Commit(t.Context(), b); err != nil {
			return i, err
		}
	}
	t.Fatal("the disk does not fill up")
	return 0, nil
}

func isFull(t *testing.T, err error) {
	t.Helper()
	var u *Unavailable
	if !errors.As(err, &u) || u.Problem != DiskFull || !strings.HasPrefix(err.Error(), "store unavailable: disk full: ") {
		t.Fatalf("not a full disk: %v", err)
	}
}

// holds checks that exactly the first rows are there.
func holds(t *testing.T, s *Store, stored int) {
	t.Helper()
	st, err := s.Stats(t.Context())
	if err != nil || st.Departures != stored {
		t.Errorf("%d of %d rows: %v", st.Departures, stored, err)
	}
	if d, found, err := s.Departure(t.Context(), fmt.Sprint(stored-1)); !found || len(d.Slowest) == 0 || err != nil {
		t.Error("the newest row:", found, err)
	}
	if c, err := s.Cursors(t.Context()); c["node-a"].Next != uint64(stored) || err != nil {
		t.Error("the cursor:", c, err)
	}
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

func more(uid string, next int) Batch {
	d := departure(uid, 0)
	d.T0 = epoch.Add(time.Duration(next) * time.Second)
	return Batch{Departures: []report.Departure{d}, Cursors: []Cursor{{"node-a", "b", uint64(next)}}}
}

func filledByOthers(t *testing.T, dir string) {
	path := filepath.Join(dir, "others.db")
	others := ballast(t, dir, 2<<20)
	s := open(t, path, Config{})
	stored, err := fill(t, s)
	isFull(t, err)
	isFull(t, s.Err())
	t.Log(stored, "rows, then:", err)
	holds(t, s, stored)
	isFull(t, s.Commit(t.Context(), more("again", stored+1)))
	holds(t, s, stored)
	os.Remove(others)
	commit(t, s, more(fmt.Sprint(stored), stored+1))
	if s.Err() != nil {
		t.Error(s.Err())
	}
	holds(t, s, stored+1)
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	remove(t, path)
}

// Our own rows do not fill the disk, even if they are to be kept for ever: the oldest go.
func filledByUs(t *testing.T, dir string) {
	path := filepath.Join(dir, "us.db")
	s := open(t, path, Config{})
	r := rand.New(rand.NewPCG(7, 8))
	for i := range 2000 {
		d := large(r, epoch.Add(time.Duration(i)*time.Second))
		commit(t, s, Batch{Departures: []report.Departure{d}})
		if i%50 == 0 {
			if err := s.Trim(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if st, err := s.Stats(t.Context()); err != nil || st.Departures < 100 || st.Bytes > 8<<20 {
		t.Error(st, err)
	} else {
		t.Log(st.Departures, "rows in", st.Bytes, "bytes")
	}
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	remove(t, path)
}

func fullWhenOpened(t *testing.T, dir string) {
	path := filepath.Join(dir, "opened.db")
	clock := newClock()
	s, err := Open(t.Context(), path, Config{})
	if err != nil {
		t.Fatal(err)
	}
	const stored = 3
	for i := range stored {
		commit(t, s, more(fmt.Sprint(i), i+1))
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	rest := takeTheRest(t, dir)
	s, err = Open(t.Context(), path, Config{Now: clock.now})
	isFull(t, err)
	t.Log(err)
	isFull(t, s.Err())
	_, err = s.Departures(t.Context(), Filter{})
	isFull(t, err)
	os.Remove(rest)
	isFull(t, s.Commit(t.Context(), more("later", stored+1))) // not yet
	clock.advance(reopenEvery)
	commit(t, s, Batch{}) // an empty one opens it, too: there is space for the log's index
	holds(t, s, stored)
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	remove(t, path)
}

func mountedReadOnly(t *testing.T, dir string) {
	path := filepath.Join(dir, "ro.db")
	clock := newClock()
	s, err := Open(t.Context(), path, Config{})
	if err != nil {
		t.Fatal(err)
	}
	commit(t, s, more("0", 1))
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	s, err = Open(t.Context(), path, Config{Now: clock.now})
	var u *Unavailable
	if !errors.As(err, &u) || u.Problem != ReadOnly {
		t.Error(err)
	}
	t.Log(err)
	if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT, ""); err != nil {
		t.Fatal(err)
	}
	clock.advance(reopenEvery)
	commit(t, s, more("1", 2))
	holds(t, s, 2)
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// remove makes place for the next.
func remove(t *testing.T, path string) {
	t.Helper()
	for _, suffix := range []string{"", "-wal", "-shm", "-lock"} {
		if err := os.Remove(path + suffix); err != nil && !os.IsNotExist(err) {
			t.Error(err)
		}
	}
}

// The same without mounts: SQLite's own bound of pages gives the same error.
func TestFullByPages(t *testing.T) {
	s := open(t, newPath(t), Config{})
	if _, err := s.file.write.Exec("PRAGMA max_page_count = 300"); err != nil {
		t.Fatal(err)
	}
	stored, err := fill(t, s)
	isFull(t, err)
	holds(t, s, stored)
	if _, err := s.file.write.Exec("PRAGMA max_page_count = 3000"); err != nil {
		t.Fatal(err)
	}
	commit(t, s, more(fmt.Sprint(stored), stored+1))
	if s.Err() != nil {
		t.Error(s.Err())
	}
	holds(t, s, stored+1)
}
