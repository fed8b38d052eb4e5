package store

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"
)

// Unavailable says why the store cannot be used, and what to do.
type Unavailable struct {
	Problem Problem
	Path    string
	Doing   string // "commit", "open", "read departures"
	Err     error
}

func (u *Unavailable) Error() string {
	return fmt.Sprintf("store unavailable: %s: %s %s: %v; %s", u.Problem, u.Doing, u.Path, u.Err, advice[u.Problem])
}

func (u *Unavailable) Unwrap() error { return u.Err }

// Problem is what is wrong with the store.
type Problem string

const (
	DiskFull   Problem = "disk full"
	DiskFailed Problem = "disk failed"
	ReadOnly   Problem = "read-only"
	NoAccess   Problem = "no access"
	NoFile     Problem = "no file"
	InUse      Problem = "in use"
	Broken     Problem = "file is broken"
	Foreign    Problem = "not a store"
	Newer      Problem = "made by a newer lastcall"
	Failed     Problem = "failed"
)

// advice: what a person does about it. Nothing here is ever deleted or moved by us.
var advice = map[Problem]string{
	DiskFull: "free space on its volume; measuring goes on, and rows are stored again as soon as there is space",
	DiskFailed: "look at the node's kernel log, the volume's quota and its free space; " +
		"measuring goes on, and every commit tries again",
	ReadOnly: "mount its volume writable; measuring goes on, and rows are stored again as soon as it is",
	NoAccess: "let the hub's user write the file and its directory (in a pod: fsGroup); " +
		"measuring goes on, and opening is tried again",
	NoFile: "name a file in a directory that exists; measuring goes on, and opening is tried again",
	InUse: "only one hub may use a store: end the other one, or the program that has the file open, or name another file; " +
		"measuring goes on, and opening is tried again",
	Broken: "move it away with its -wal and -shm files and a new one is made within seconds, without a restart " +
		"(what can be saved of the old one: sqlite3 OLD .recover | sqlite3 NEW); measuring goes on, without storing rows",
	Foreign: "name another file, or move this one away; measuring goes on, without storing rows",
	Newer:   "run that version of lastcall, or name another file; measuring goes on, without storing rows",
	Failed:  "measuring goes on, and every commit tries again",
}

// sticky problems end only with another file: trying again on the same one cannot help and may harm.
func (p Problem) sticky() bool { return p == Broken }

// fault is an error whose problem is known where it happens.
type fault struct {
	problem Problem
	err     error
}

func (f *fault) Error() string { return f.err.Error() }
func (f *fault) Unwrap() error { return f.err }

func faultf(p Problem, format string, args ...any) error {
	return &fault{p, fmt.Errorf(format, args...)}
}

func newUnavailable(doing, path string, err error) *Unavailable {
	var u *Unavailable
	if errors.As(err, &u) {
		return u
	}
	return &Unavailable{Problem: problemOf(err), Path: path, Doing: doing, Err: err}
}

// problemOf sorts an error by what a person has to do about it.
func problemOf(err error) Problem {
	var known *fault
	var fromSQLite *sqlite.Error
	switch {
	case errors.As(err, &known):
		return known.problem
	case errors.As(err, &fromSQLite):
		return problemOfCode(fromSQLite.Code())
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return DiskFull
	case errors.Is(err, syscall.EROFS):
		return ReadOnly
	case errors.Is(err, fs.ErrPermission):
		return NoAccess
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.EISDIR), errors.Is(err, syscall.ENOTDIR):
		return NoFile
	case errors.Is(err, syscall.EIO):
		return DiskFailed
	}
	return Failed
}

// problemOfCode sorts SQLite's result codes (sqlite.org/rescode.html). A write that meets ENOSPC is SQLITE_FULL
// already; only the index of the log is grown in another way, and its failure has a code of its own.
func problemOfCode(code int) Problem {
	switch code {
	case lib.SQLITE_IOERR_SHMSIZE:
		return DiskFull
	case lib.SQLITE_CANTOPEN_ISDIR:
		return NoFile
	case lib.SQLITE_CORRUPT, lib.SQLITE_NOTADB:
		return Broken
	}
	switch code & 0xff {
	case lib.SQLITE_FULL:
		return DiskFull
	case lib.SQLITE_IOERR:
		return DiskFailed
	case lib.SQLITE_READONLY:
		return ReadOnly
	case lib.SQLITE_PERM, lib.SQLITE_AUTH:
		return NoAccess
	case lib.SQLITE_CANTOPEN:
		return NoFile
	case lib.SQLITE_BUSY, lib.SQLITE_LOCKED:
		return InUse
	case lib.SQLITE_CORRUPT, lib.SQLITE_NOTADB:
		return Broken
	}
	return Failed
}
