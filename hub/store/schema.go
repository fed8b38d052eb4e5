package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// applicationID marks the file as ours: "LCal" (PRAGMA application_id).
const applicationID = 0x4c43616c

// migrations[n] takes a database from version n to n+1, PRAGMA user_version counts. What has been released
// never changes; testdata has a database of every version.
var migrations = []string{rowsSchema, placesSchema}

// Departures are three tables deep: what is filtered and sorted by is narrow, the row as JSON is read for what is
// listed, and its places only for a departure that is looked at. 100,000 of a cluster of 5,000 nodes are 370 MB, and
// a page of any filter takes 3 to 13 ms on average after the file has been dropped from the kernel's cache.
const rowsSchema = `
CREATE TABLE departures (
	id        INTEGER PRIMARY KEY,
	uid       TEXT NOT NULL UNIQUE,
	at        INTEGER NOT NULL, -- T0 in ns since 1970; of an unknown T0, when the row was first stored
	namespace TEXT NOT NULL,
	workload  TEXT NOT NULL,
	pod       TEXT NOT NULL,
	node      TEXT NOT NULL,
	reason    TEXT NOT NULL,
	episode   INTEGER,
	complete  INTEGER NOT NULL,
	pending   INTEGER NOT NULL,
	settled   INTEGER NOT NULL, -- removals with an outcome: how much the row knows
	last_call REAL,             -- upper end in seconds
	last_node TEXT, last_kind TEXT, last_family TEXT, last_stage TEXT -- the straggler, if there is one
) STRICT;
CREATE INDEX departures_at        ON departures (at);
CREATE INDEX departures_namespace ON departures (namespace, at, reason); -- a reason is filtered without a look at the row
CREATE INDEX departures_workload  ON departures (workload, at, namespace);
CREATE INDEX departures_pod       ON departures (pod, at);
CREATE INDEX departures_node      ON departures (node, at);
CREATE INDEX departures_reason    ON departures (reason, at);
CREATE INDEX departures_last_node ON departures (last_node, at) WHERE last_node IS NOT NULL;
CREATE INDEX departures_episode   ON departures (episode) WHERE episode IS NOT NULL;
CREATE INDEX departures_open      ON departures (at) WHERE complete = 0;

CREATE TABLE departure_rows (
	id   INTEGER PRIMARY KEY REFERENCES departures ON DELETE CASCADE,
	json BLOB NOT NULL -- without the places, zstd
) STRICT;
CREATE TABLE departure_places (
	id   INTEGER PRIMARY KEY REFERENCES departures ON DELETE CASCADE,
	json BLOB -- zstd, NULL if there are none
) STRICT;

CREATE TABLE episodes (
	id        INTEGER PRIMARY KEY AUTOINCREMENT, -- the number of a deleted episode never comes back
	namespace TEXT NOT NULL,
	workload  TEXT NOT NULL,
	begun     INTEGER NOT NULL,
	ended     INTEGER NOT NULL,
	open      INTEGER NOT NULL,
	json      BLOB NOT NULL
) STRICT;
CREATE INDEX episodes_begun     ON episodes (begun);
CREATE INDEX episodes_namespace ON episodes (namespace, begun);
CREATE INDEX episodes_workload  ON episodes (namespace, workload, begun);
CREATE INDEX episodes_ended     ON episodes (ended);
CREATE INDEX episodes_open      ON episodes (begun) WHERE open = 1;

CREATE TABLE cursors (
	node    TEXT PRIMARY KEY,
	boot    TEXT NOT NULL,
	next    INTEGER NOT NULL,
	updated INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
`

// The rows have the slowest places only, so what each place did is summed up apart, in spans of time that are
// dropped whole.
const placesSchema = `
CREATE TABLE places (
	id     INTEGER PRIMARY KEY,
	node   TEXT NOT NULL,
	kind   TEXT NOT NULL,
	family TEXT NOT NULL,
	UNIQUE (node, kind, family)
) STRICT;
CREATE TABLE place_spans (
	place   INTEGER NOT NULL REFERENCES places ON DELETE CASCADE,
	since   INTEGER NOT NULL, -- s since 1970
	until   INTEGER NOT NULL,
	landed  BLOB NOT NULL,    -- a histogram
	max     REAL NOT NULL,
	last    INTEGER NOT NULL, -- how often it was the straggler
	api     INTEGER NOT NULL, -- of these, mostly by this stage
	watch   INTEGER NOT NULL,
	program INTEGER NOT NULL,
	PRIMARY KEY (place, since)
) STRICT, WITHOUT ROWID;
ALTER TABLE departures ADD COLUMN counted INTEGER NOT NULL DEFAULT 0; -- its places are in place_spans
`

// prepareSchema makes a new database ready or brings an older one up to date. It changes nothing in a file that
// is not ours or newer.
func prepareSchema(ctx context.Context, db *sql.DB, steps []string) error {
	c, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	var version, app, tables int
	for q, to := range map[string]*int{
		"PRAGMA user_version":                &version,
		"PRAGMA application_id":              &app,
		"SELECT count(*) FROM sqlite_schema": &tables,
	} {
		if err := c.QueryRowContext(ctx, q).Scan(to); err != nil {
			return fmt.Errorf("%s: %w", q, err)
		}
	}
	switch {
	case tables > 0 && app != applicationID:
		return faultf(Foreign, "it is a database of another program (application_id %#x)", app)
	case version > len(steps):
		return faultf(Newer, "its schema is version %d and this lastcall knows %d", version, len(steps))
	}
	if tables == 0 {
		// Both are settled by the first page that is written (sqlite.org/pragma.html#pragma_auto_vacuum).
		if _, err := c.ExecContext(ctx, "PRAGMA auto_vacuum = INCREMENTAL"); err != nil {
			return err
		}
	}
	var mode string
	if err := c.QueryRowContext(ctx, "PRAGMA journal_mode = WAL").Scan(&mode); err != nil {
		return fmt.Errorf("switch to WAL mode: %w", err)
	}
	if mode != "wal" {
		return faultf(Failed, "its file system cannot share memory, which WAL mode needs (journal mode stays %q)", mode)
	}
	for ; version < len(steps); version++ {
		if err := migrate(ctx, c, version, steps[version]); err != nil {
			return fmt.Errorf("migrate schema from version %d: %w", version, err)
		}
	}
	return nil
}

// migrate takes one step, whole or not at all.
func migrate(ctx context.Context, c *sql.Conn, version int, step string) error {
	tx, err := c.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	marks := fmt.Sprintf("PRAGMA user_version = %d; PRAGMA application_id = %d", version+1, applicationID)
	for _, q := range []string{step, marks} {
		if _, err := tx.ExecContext(ctx, q); err != nil {
			return errors.Join(err, tx.Rollback())
		}
	}
	return tx.Commit()
}
