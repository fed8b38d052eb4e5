// Package store keeps the hub's rows in SQLite.
//
// One file, one writer. Commit is one transaction: rows and the agents' cursors become durable together, so a hub
// that was killed resumes each agent's events exactly where its rows end, and what it reads twice changes nothing.
//
// What is guaranteed: when Commit has returned nil, its batch is whole in the file and survives kill -9, an
// OOM kill and a power loss (journal_mode=WAL with synchronous=FULL: the log is synced by every commit, SQLite's
// "PRAGMA synchronous"). With synchronous=NORMAL a power loss could take the newest commits, rows and cursors
// alike; the agents' rings would usually give them back, but not those of the node that lost its power.
// What is not: the histograms of Places are written up to 10 s later than the rows they count, so that a kill
// loses those seconds of them, and a disk that lies about fsync.
//
// A store that cannot be used is no reason to stop measuring: Open always returns a Store, every method of it
// answers, Err says what is wrong and what to do, and the next Commit tries again.
package store

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Config says how much is kept. The zero Config keeps everything.
type Config struct {
	// RetentionAge is how long departures and episodes are kept, 0 for ever.
	RetentionAge time.Duration
	// RetentionBytes bounds the file with its log; the oldest departures go first. The bound is never more than nine
	// tenths of the volume, and with 0 it is that. The log alone takes 4 to 16 MiB: less than 64 MiB makes little sense.
	RetentionBytes int64
	// Now is the clock, time.Now if nil.
	Now func() time.Time
	// Log gets what Run cannot return; nil discards it.
	Log *slog.Logger
}

// Store keeps rows in one file. Its methods may be called concurrently.
type Store struct {
	cfg  Config
	path string

	// writing is held by who writes; a channel, so that a wait for it ends with the context.
	writing chan struct{}
	codec   codec
	places  *places

	mu     sync.RWMutex
	file   *file        // nil while there is none
	err    *Unavailable // why rows are not kept at present, nil if they are
	tried  time.Time    // when the file was last tried to open
	closed bool
}

// reopenEvery is how often a Commit tries to open a file that could not be opened.
const reopenEvery = 10 * time.Second

var errClosed = errors.New("store is closed")

// Open opens or makes the file at path; its directory must exist.
//
// On an error it returns a Store nevertheless, one without a file: its Commits and reads return the error until
// a Commit, at most every 10 s, finds that the file can be opened. The error is an *Unavailable unless ctx ended.
func Open(ctx context.Context, path string, cfg Config) (*Store, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Store{cfg: cfg, path: path, writing: make(chan struct{}, 1), places: newPlaces(cfg.RetentionAge)}
	if abs, err := filepath.Abs(path); err == nil {
		s.path = abs // the working directory may change; if it is unknown already, opening will say so
	}
	var err error
	if s.codec, err = newCodec(); err != nil { // only for options that do not exist
		s.closed = true
		return s, s.note(ctx, "open", err)
	}
	return s, s.open(ctx)
}

// open opens the file and reads what is kept in memory. Nobody else may be writing.
func (s *Store) open(ctx context.Context) error {
	f, err := openFile(ctx, s.path)
	if err == nil {
		if err = s.places.load(ctx, f.read); err != nil {
			f.close() // err says more
			f = nil
		}
	}
	s.mu.Lock()
	s.file, s.tried = f, s.cfg.Now()
	s.mu.Unlock()
	return s.note(ctx, "open", err)
}

// Err returns why rows are not kept at present, or nil. It is the error of the last Commit or of Open; that the
// file is broken is remembered until it has been replaced, since writing on could spread the damage.
func (s *Store) Err() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.err == nil {
		return nil // not a nil *Unavailable inside an error
	}
	return s.err
}

// Bytes is the size of the file with its log, 0 if there is none.
func (s *Store) Bytes() int64 {
	return size(s.path) + s.logBytes()
}

func (s *Store) logBytes() int64 { return size(s.path + "-wal") }

// size asks Stat and never opens the file: closing any descriptor of it would drop all POSIX locks that SQLite holds
// on it in this process (sqlite.org/howtocorrupt.html 2.2).
func size(path string) int64 {
	fi, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return fi.Size()
}

// Close writes what is still in memory, moves the log into the file and closes it.
func (s *Store) Close(ctx context.Context) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.unlock()
	s.mu.Lock()
	f, broken := s.file, s.err != nil && s.err.Problem.sticky()
	s.file, s.closed = nil, true
	s.mu.Unlock()
	if f == nil {
		return nil
	}
	var flushed error
	if !broken {
		flushed = f.transact(ctx, func(t *transaction) error { return s.places.flush(t, s.places.changed) })
	}
	if err := cmp.Or(flushed, f.close()); err != nil {
		return newUnavailable("close", s.path, err)
	}
	return nil
}

// lock waits for its turn to write.
func (s *Store) lock(ctx context.Context) error {
	select {
	case s.writing <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *Store) unlock() { <-s.writing }

// writable returns the file for a write. It reopens one that was not there or that somebody replaced. Only
// between lock and unlock.
func (s *Store) writable(ctx context.Context) (*file, error) {
	s.mu.RLock()
	f, bad, tried, closed := s.file, s.err, s.tried, s.closed
	s.mu.RUnlock()
	switch {
	case closed:
		return nil, newUnavailable("write", s.path, errClosed)
	case f == nil && bad != nil && s.cfg.Now().Sub(tried) < reopenEvery:
		return nil, bad
	case f != nil && f.inPlace():
		if bad != nil && bad.Problem.sticky() {
			return nil, bad
		}
		return f, nil
	case f != nil:
		// The file was moved away or deleted, as the advice for a broken one says: what is written to it from now
		// on would be lost.
		f.close() // what it has to say is of a file that is no longer ours
	}
	if err := s.open(ctx); err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.file, nil
}

// readable returns the file for a read.
func (s *Store) readable() (*file, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	switch {
	case s.file != nil:
		return s.file, nil
	case s.err != nil:
		return nil, s.err
	}
	return nil, newUnavailable("read", s.path, errClosed)
}

// note remembers how a write ended and returns its error as an *Unavailable. An ended context says nothing of
// the store.
func (s *Store) note(ctx context.Context, what string, err error) error {
	if err != nil && ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.file == nil && s.err == nil {
			s.err = newUnavailable(what, s.path, err)
		}
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		if s.err != nil && s.err.Problem.sticky() && what != "open" {
			return nil // a reader has met damage meanwhile; this commit is stored
		}
		s.err = nil
		return nil
	}
	s.err = newUnavailable(what, s.path, err)
	return s.err
}

// noteRead returns a read's error. Only a broken file is remembered: other errors of reads do not keep rows from
// being stored.
func (s *Store) noteRead(ctx context.Context, what string, err error) error {
	if err == nil || ctx.Err() != nil {
		return err
	}
	u := newUnavailable(what, s.path, err)
	if u.Problem.sticky() {
		s.mu.Lock()
		s.err = u
		s.mu.Unlock()
	}
	return u
}
