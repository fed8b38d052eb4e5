package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// file is the open database: one connection that writes and a few that read. In WAL mode neither waits for
// the other (sqlite.org/wal.html 2.2).
type file struct {
	path  string
	is    os.FileInfo // which file it was when it was opened
	owned *os.File
	write *sql.DB
	read  *sql.DB
	put   statements
}

const (
	readers = 4
	// walLimit is what the log is cut back to after it had to grow beyond its usual 4 MiB, as while a reader was slow.
	walLimit = 16 << 20
)

// openFile opens the database, makes it if there is none, and brings its schema up to date.
func openFile(ctx context.Context, path string) (f *file, err error) {
	f = &file{path: path}
	defer func() {
		if err != nil {
			f.close() // err says more
			f = nil
		}
	}()
	if fi, err := os.Stat(path); err == nil && fi.IsDir() {
		return f, faultf(NoFile, "it is a directory")
	}
	if f.owned, err = own(path + "-lock"); err != nil {
		return f, err
	}
	// SQLite falls back to reading only, and says of the rest just that it cannot open the file. Nothing of it is open in
	// this process yet, so this close drops no lock of SQLite's.
	switch fd, err := os.OpenFile(path, os.O_RDWR, 0); {
	case err == nil:
		fd.Close()
	case !errors.Is(err, fs.ErrNotExist):
		return f, err
	}
	// The first connection may create the file; the others must not, or a reconnect after somebody deleted it would
	// make an empty one.
	first, err := sql.Open("sqlite", dsn(path, "rwc"))
	if err != nil {
		return f, err
	}
	first.SetMaxOpenConns(1)
	defer func() { err = errors.Join(err, first.Close()) }()
	if err := prepareSchema(ctx, first, migrations); err != nil {
		return f, err
	}

	if f.write, err = sql.Open("sqlite", dsn(path, "rw", "_txlock", "immediate")); err != nil {
		return f, err
	}
	f.write.SetMaxOpenConns(1)
	if f.read, err = sql.Open("sqlite", dsn(path, "rw", "_query_only", "1")); err != nil {
		return f, err
	}
	f.read.SetMaxOpenConns(readers)
	f.read.SetMaxIdleConns(readers)
	if f.put, err = prepareStatements(ctx, f.write); err != nil {
		return f, err
	}
	if err := f.read.PingContext(ctx); err != nil {
		return f, err
	}
	f.is, err = os.Stat(path)
	return f, err
}

// dsn names the database for the driver; more are pairs of keys and values.
func dsn(path, mode string, more ...string) string {
	q := url.Values{
		"mode":          {mode},
		"_busy_timeout": {"5000"}, // for a foreign program that has the file open, like the sqlite3 shell
		"_foreign_keys": {"1"},
		"_synchronous":  {"FULL"},
		"_defensive":    {"1"},
		"_dqs":          {"0"},
		"_error_rc":     {"1"},
		"_pragma": {
			fmt.Sprintf("journal_size_limit(%d)", walLimit),
			"cache_size(-8192)", // KiB
			"temp_store(2)",     // in memory: the root file system of the hub's pod is read-only
		},
	}
	for i := 0; i < len(more); i += 2 {
		q.Set(more[i], more[i+1])
	}
	return (&url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}).String()
}

// inPlace: the path still names the file that is open.
func (f *file) inPlace() bool {
	fi, err := os.Stat(f.path)
	return err == nil && os.SameFile(fi, f.is)
}

// close also moves the log into the file, so that one file is everything. It returns the first error: one full disk
// shows at every step.
func (f *file) close() (err error) {
	first := func(e error) { err = cmp.Or(err, e) }
	if f.read != nil {
		first(f.read.Close())
	}
	if f.write != nil {
		// The last connection does this too, but says nothing of an error.
		if f.is != nil && f.inPlace() {
			_, err := f.write.Exec("PRAGMA wal_checkpoint(TRUNCATE)")
			first(err)
		}
		first(f.put.close())
		first(f.write.Close())
	}
	if f.owned != nil {
		first(f.owned.Close())
	}
	return err
}

// transaction is a write in progress. Its statements run under a context that does not end: with one that can,
// the driver starts a goroutine for each statement, and a COMMIT that is interrupted leaves open what happened.
// Loops ask ended instead.
type transaction struct {
	ctx   context.Context // of the caller
	tx    *sql.Tx
	put   *statements
	never context.Context
	done  []func() // to run once it is committed
}

func (t *transaction) ended() error { return t.ctx.Err() }

// onCommit is for what memory may say only once the file says it.
func (t *transaction) onCommit(f func()) { t.done = append(t.done, f) }

func (t *transaction) exec(s *sql.Stmt, args ...any) (sql.Result, error) {
	return t.tx.StmtContext(t.never, s).ExecContext(t.never, args...)
}

func (t *transaction) queryRow(s *sql.Stmt, args ...any) *sql.Row {
	return t.tx.StmtContext(t.never, s).QueryRowContext(t.never, args...)
}

// transact runs do in a transaction, which is rolled back on an error. Only one at a time.
func (f *file) transact(ctx context.Context, do func(*transaction) error) error {
	t := &transaction{ctx: ctx, put: &f.put, never: context.WithoutCancel(ctx)}
	var err error
	if t.tx, err = f.write.BeginTx(t.never, nil); err != nil {
		return err
	}
	if err = do(t); err == nil {
		err = t.ended()
	}
	if err != nil {
		t.tx.Rollback() // SQLite has rolled back already after an error like SQLITE_FULL, and says so
		return err
	}
	if err := t.tx.Commit(); err != nil { // rolls back if it fails
		return err
	}
	for _, f := range t.done {
		f()
	}
	return nil
}
