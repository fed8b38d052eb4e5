package store

import (
	"database/sql"
	"fmt"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lastcall-k8s/lastcall/hub/report"
)

// raw opens a database as any program would.
func raw(t testing.TB, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	return db
}

// script makes a database from SQL text.
func script(t testing.TB, text string) (path string) {
	t.Helper()
	path = newPath(t)
	db := raw(t, path)
	if _, err := db.Exec(text); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// testdata has a database of every schema there has been, each with the same rows.
func TestMigrations(t *testing.T) {
	for version := 1; version <= len(migrations); version++ {
		t.Run(fmt.Sprint("from ", version), func(t *testing.T) {
			text, err := os.ReadFile(fmt.Sprintf("testdata/schema%d.sql", version))
			if err != nil {
				t.Fatal("every schema needs a database in testdata:", err)
			}
			path := script(t, string(text))
			s := open(t, path, Config{})
			want := departure("whole", 0)
			want.Episode = 7
			got, found, err := s.Departure(t.Context(), "whole")
			if d := cmp.Diff(want, got); d != "" || !found || err != nil {
				t.Fatal(d, found, err)
			}
			if rows, err := s.Incomplete(t.Context()); len(rows) != 1 || rows[0].UID != "open" || err != nil {
				t.Error(rows, err)
			}
			if e, found, err := s.Episode(t.Context(), 7, 0); len(e.Departures) != 2 || !found || err != nil {
				t.Error(e, err)
			}
			if c, err := s.Cursors(t.Context()); c["node-a"] != (Cursor{"node-a", "boot-1", 42}) || err != nil {
				t.Error(c, err)
			}
			if id, err := s.NextEpisodeID(t.Context()); id != 8 || err != nil {
				t.Error(id, err)
			}
			if version >= 2 {
				if d := cmp.Diff(map[string][2]int{"node-b": {1, 1}}, summary(s)); d != "" {
					t.Error(d)
				}
			}
			completed := departure("open", 1)
			commit(t, s, Batch{Departures: []report.Departure{completed}, Landings: []Landings{landings("open", 2, 1)}})
			if got, _, err := s.Departure(t.Context(), "open"); !got.Complete || err != nil {
				t.Error(got, err)
			}
			if err := s.Trim(t.Context()); err != nil {
				t.Error(err)
			}
			if err := s.Check(t.Context()); err != nil {
				t.Error(err)
			}
			if err := s.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			db := raw(t, path)
			defer db.Close()
			var now int
			if err := db.QueryRow("PRAGMA user_version").Scan(&now); now != len(migrations) || err != nil {
				t.Error(now, err)
			}
		})
	}
}

func TestMigrationIsWholeOrNotAtAll(t *testing.T) {
	path := newPath(t)
	db := raw(t, path)
	defer db.Close()
	steps := []string{
		"CREATE TABLE a (x); INSERT INTO a VALUES (1)",
		"UPDATE a SET x = 2; CREATE TABLE a (y)", // fails half way
	}
	if err := prepareSchema(t.Context(), db, steps); err == nil {
		t.Fatal("a table twice")
	}
	is := func(wantVersion, wantX int) {
		t.Helper()
		var version, x int
		err := db.QueryRow("SELECT user_version, x FROM pragma_user_version, a").Scan(&version, &x)
		if version != wantVersion || x != wantX || err != nil {
			t.Fatal(version, x, err)
		}
	}
	is(1, 1)
	steps[1] = "UPDATE a SET x = 3"
	for range 2 {
		if err := prepareSchema(t.Context(), db, steps); err != nil {
			t.Fatal(err)
		}
	}
	is(2, 3)
}
