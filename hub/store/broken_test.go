package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	lib "modernc.org/sqlite/lib"

	"github.com/lastcall-k8s/lastcall/hub/report"
)

// whole makes a closed store with n batches, each of one large row, its episode and a cursor, and returns its bytes.
func whole(t *testing.T, n int) []byte {
	t.Helper()
	path := newPath(t)
	s := open(t, path, Config{})
	put(t, s, n)
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func put(t *testing.T, s *Store, n int) {
	t.Helper()
	r := rand.New(rand.NewPCG(9, 10))
	for i := range n {
		d := large(r, epoch.Add(time.Duration(i)*time.Second))
		d.UID, d.Episode = fmt.Sprint(i), int64(i+1)
		commit(t, s, Batch{Departures: []report.Departure{d}, Cursors: []Cursor{{"node-a", "b", uint64(i + 1)}},
			Episodes: []report.Episode{{ID: int64(i + 1), Begun: d.T0, Ended: d.T0}}})
	}
}

func write(t *testing.T, content []byte) (path string) {
	t.Helper()
	path = newPath(t)
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// refuses checks that a file that cannot be opened is told apart, left alone, and that the Store answers all the same.
func refuses(t *testing.T, path string, want Problem, says string) {
	t.Helper()
	before, _ := os.ReadFile(path) // or it is none
	clock := newClock()
	s, err := Open(t.Context(), path, Config{Now: clock.now, RetentionBytes: 1})
	is := func(err error) {
		t.Helper()
		var u *Unavailable
		if !errors.As(err, &u) || u.Problem != want || !strings.Contains(err.Error(), says) ||
			!strings.HasSuffix(err.Error(), advice[want]) {
			t.Errorf("want %q and %q, have %v", want, says, err)
		}
	}
	is(err)
	is(s.Err())
	is(s.Commit(t.Context(), Batch{Departures: []report.Departure{departure("a", 0)}}))
	clock.advance(reopenEvery)
	is(s.Commit(t.Context(), Batch{Departures: []report.Departure{departure("a", 0)}}))
	is(s.Trim(t.Context()))
	_, err = s.Departures(t.Context(), Filter{})
	is(err)
	_, err = s.Cursors(t.Context())
	is(err)
	_, err = s.NextEpisodeID(t.Context())
	is(err)
	if p := s.Places(); len(p) != 0 {
		t.Error(p)
	}
	s.Bytes()
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
		t.Error("the file was changed")
	}
}

func TestFilesThatAreNoStore(t *testing.T) {
	content := whole(t, 60)
	text := []byte(strings.Repeat("not a database\n", 1000))
	t.Run("text", func(t *testing.T) { refuses(t, write(t, text), Broken, "not a database") })
	t.Run("a few bytes", func(t *testing.T) { refuses(t, write(t, content[:50]), Broken, "") })
	t.Run("half", func(t *testing.T) { refuses(t, write(t, content[:len(content)/2]), Broken, "malformed") })
	t.Run("a torn page", func(t *testing.T) { refuses(t, write(t, content[:len(content)/2+777]), Broken, "malformed") })
	t.Run("first page overwritten", func(t *testing.T) {
		c := bytes.Clone(content)
		for i := range c[100:4096] {
			c[100+i] = byte(i * 7)
		}
		refuses(t, write(t, c), Broken, "")
	})
	t.Run("another program's", func(t *testing.T) {
		refuses(t, script(t, "CREATE TABLE theirs (x); PRAGMA user_version = 1"), Foreign, "another program")
	})
	t.Run("a newer one", func(t *testing.T) {
		refuses(t, script(t, fmt.Sprintf("CREATE TABLE x (y); PRAGMA application_id = %d; PRAGMA user_version = 99", applicationID)),
			Newer, "schema is version 99 and this lastcall knows 2")
	})
	t.Run("a directory", func(t *testing.T) { refuses(t, t.TempDir(), NoFile, "directory") })
	t.Run("in no directory", func(t *testing.T) { refuses(t, filepath.Join(t.TempDir(), "none", "hub.db"), NoFile, "no such file") })
	t.Run("in use", func(t *testing.T) {
		s := open(t, newPath(t), Config{})
		_, err := Open(t.Context(), s.path, Config{})
		var u *Unavailable
		if !errors.As(err, &u) || u.Problem != InUse || !strings.Contains(err.Error(), "another hub holds") {
			t.Error(err)
		}
		commit(t, s, Batch{Departures: []report.Departure{departure("a", 0)}})
	})
}

func TestNoPermission(t *testing.T) {
	if dir := os.Getenv(childDir); dir != "" {
		t.Run("the file", func(t *testing.T) { refuses(t, filepath.Join(dir, "hub.db"), NoAccess, "permission denied") })
		t.Run("the file alone", func(t *testing.T) { refuses(t, filepath.Join(dir, "open", "hub.db"), NoAccess, "permission denied") })
		t.Run("the directory", func(t *testing.T) { refuses(t, filepath.Join(dir, "closed", "hub.db"), NoAccess, "permission denied") })
		return
	}
	dir := t.TempDir()
	for _, err := range []error{
		os.WriteFile(filepath.Join(dir, "hub.db"), whole(t, 1), 0o600),
		os.WriteFile(filepath.Join(dir, "hub.db-lock"), nil, 0o600),
		os.Mkdir(filepath.Join(dir, "closed"), 0o700),
		os.Mkdir(filepath.Join(dir, "open"), 0o777),
		os.Chmod(filepath.Join(dir, "open"), 0o777), // whatever the umask
		os.WriteFile(filepath.Join(dir, "open", "hub.db"), whole(t, 1), 0o444),
		os.Chmod(filepath.Dir(dir), 0o755), // TempDir is below a directory that is ours alone
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	cmd := child(t, "TestNoPermission", dir)
	if os.Getuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	} else {
		for _, name := range []string{"closed", "hub.db-lock"} {
			if err := os.Chmod(filepath.Join(dir, name), 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	run(t, cmd)
}

// Damage that shows only when it is met: the store says so, changes the file no more, and begins a new one as soon as the
// broken one has been moved away.
func TestDamageInTheMiddle(t *testing.T) {
	content := whole(t, 150)
	for seed := range uint64(8) {
		r := rand.New(rand.NewPCG(seed, 1))
		c := bytes.Clone(content)
		from := 4096 * (1 + r.IntN(len(c)/4096/2))
		for i := from; i < from+len(c)/3; i++ {
			c[i] = byte(r.Uint32())
		}
		path := write(t, c)
		clock := newClock()
		s, opened := Open(t.Context(), path, Config{Now: clock.now})
		var errs []error
		errs = append(errs, opened)
		for i := range 150 {
			_, _, err := s.Departure(t.Context(), fmt.Sprint(i))
			errs = append(errs, err)
			_, _, err = s.Episode(t.Context(), int64(i), 0)
			errs = append(errs, err)
		}
		_, err := s.Departures(t.Context(), Filter{Limit: 1000})
		errs = append(errs, err, s.Check(t.Context()))
		met := 0
		for _, err := range errs {
			var u *Unavailable
			if errors.As(err, &u) && u.Problem == Broken {
				met++
			} else if err != nil {
				t.Errorf("seed %d: not said to be broken: %v", seed, err)
			}
		}
		if met == 0 {
			t.Errorf("seed %d: nobody noticed", seed)
		}
		size := s.Bytes()
		clock.advance(reopenEvery)
		err = s.Commit(t.Context(), Batch{Departures: []report.Departure{departure("new", 0)}})
		if err == nil || s.Err() == nil || s.Bytes() != size {
			t.Errorf("seed %d: written to a broken file: %v, %v", seed, err, s.Err())
		}
		for _, suffix := range []string{"", "-wal", "-shm"} {
			if err := os.Rename(path+suffix, path+".broken"+suffix); err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
		}
		clock.advance(reopenEvery)
		commit(t, s, Batch{Departures: []report.Departure{departure("new", 0)}})
		if _, found, err := s.Departure(t.Context(), "new"); !found || err != nil || s.Err() != nil {
			t.Errorf("seed %d: after it was moved away: %v %v", seed, err, s.Err())
		}
		if err := s.Close(t.Context()); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
	}
}

// A file that somebody deletes under the hub: what it is told from then on is in a new one.
func TestFileDeleted(t *testing.T) {
	s := open(t, newPath(t), Config{})
	put(t, s, 3)
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(s.path + suffix); err != nil {
			t.Fatal(err)
		}
	}
	commit(t, s, Batch{Departures: []report.Departure{departure("new", 0)}})
	if st, err := s.Stats(t.Context()); st.Departures != 1 || st.Bytes == 0 || err != nil {
		t.Error(st, err)
	}
}

// A log that ends anywhere, as if the machine had lost its power: the first batches are there, each whole.
func TestLogCutOff(t *testing.T) {
	s := open(t, newPath(t), Config{})
	const n = 20
	put(t, s, n)
	var parts [2][]byte
	for i, suffix := range []string{"", "-wal"} {
		var err error
		// The file is open, so this drops SQLite's locks; nobody else is there to need them.
		if parts[i], err = os.ReadFile(s.path + suffix); err != nil {
			t.Fatal(err)
		}
	}
	log := parts[1]
	r := rand.New(rand.NewPCG(11, 12))
	last := 0
	for i := range 40 {
		cut := len(log) * i / 40
		cut = min(cut+r.IntN(4096), len(log))
		path := write(t, parts[0])
		torn := append(bytes.Clone(log[:cut]), make([]byte, r.IntN(9000))...)
		if err := os.WriteFile(path+"-wal", torn, 0o644); err != nil {
			t.Fatal(err)
		}
		s, err := Open(t.Context(), path, Config{})
		if err != nil {
			t.Fatalf("cut at %d of %d: %v", cut, len(log), err)
		}
		st, err := s.Stats(t.Context())
		c, err2 := s.Cursors(t.Context())
		if err = errors.Join(err, err2, s.Check(t.Context())); err != nil {
			t.Fatal(err)
		}
		if st.Departures != st.Episodes || st.Departures != int(c["node-a"].Next) || st.Departures < last {
			t.Errorf("cut at %d: %d departures, %d episodes, cursor %d", cut, st.Departures, st.Episodes, c["node-a"].Next)
		}
		last = st.Departures
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}
	if last < n-2 {
		t.Errorf("%d of %d batches with almost the whole log", last, n)
	}
}

func TestProblemOf(t *testing.T) {
	for code, want := range map[int]Problem{
		lib.SQLITE_FULL: DiskFull, lib.SQLITE_IOERR_SHMSIZE: DiskFull,
		lib.SQLITE_IOERR: DiskFailed, lib.SQLITE_IOERR_WRITE: DiskFailed, lib.SQLITE_IOERR_FSYNC: DiskFailed,
		lib.SQLITE_READONLY: ReadOnly, lib.SQLITE_READONLY_DBMOVED: ReadOnly, lib.SQLITE_PERM: NoAccess,
		lib.SQLITE_CANTOPEN: NoFile, lib.SQLITE_CANTOPEN_ISDIR: NoFile, lib.SQLITE_BUSY: InUse, lib.SQLITE_BUSY_SNAPSHOT: InUse,
		lib.SQLITE_CORRUPT: Broken, lib.SQLITE_CORRUPT_INDEX: Broken, lib.SQLITE_NOTADB: Broken,
		lib.SQLITE_NOMEM: Failed, lib.SQLITE_CONSTRAINT_NOTNULL: Failed,
	} {
		if got := problemOfCode(code); got != want {
			t.Errorf("%d: %q, want %q", code, got, want)
		}
	}
	for errno, want := range map[syscall.Errno]Problem{
		syscall.ENOSPC: DiskFull, syscall.EDQUOT: DiskFull, syscall.EIO: DiskFailed, syscall.EROFS: ReadOnly,
		syscall.EACCES: NoAccess, syscall.ENOENT: NoFile, syscall.ENOTDIR: NoFile, syscall.EINVAL: Failed,
	} {
		if got := problemOf(&os.PathError{Op: "open", Path: "x", Err: errno}); got != want {
			t.Errorf("%v: %q, want %q", errno, got, want)
		}
	}
	for _, p := range []Problem{DiskFull, DiskFailed, ReadOnly, NoAccess, NoFile, InUse, Broken, Foreign, Newer, Failed} {
		if advice[p] == "" {
			t.Errorf("%s: no advice", p)
		}
	}
}
