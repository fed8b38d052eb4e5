package store

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/ledger"
)

const rowsPerBatch = 3

// A process that commits numbered batches is killed at random moments, over and over: while it makes the file, in the middle
// of a commit or of a checkpoint. Whatever it had been told is stored, is; nothing is there by half.
func TestKill(t *testing.T) {
	if dir := os.Getenv(childDir); dir != "" {
		commitUntilKilled(t, dir)
		return
	}
	const rounds = 25
	seed := uint64(time.Now().UnixNano())
	t.Log("seed", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	dir := t.TempDir()
	told, lost := 0, 0
	for round := range rounds {
		if round < 5 {
			dir = t.TempDir() // killed while it makes the file, or soon after
			told, lost = 0, 0
		}
		lines := 0
		if round >= 3 {
			lines = r.IntN(30)
		}
		told = max(told, killAfter(t, dir, lines, time.Duration(r.IntN(4000))*time.Microsecond))
		lost++
		verify(t, dir, told, lost)
		if t.Failed() {
			t.Fatalf("round %d", round)
		}
	}
	t.Logf("%d batches survived %d kills", told, rounds-5)
}

// killAfter runs the child, kills it some time after it has committed so many batches, and returns the number of the last batch
// that it was told is stored.
func killAfter(t *testing.T, dir string, lines int, then time.Duration) (told int) {
	t.Helper()
	cmd := child(t, "TestKill", dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	killed := false
	kill := func() {
		for began := time.Now(); time.Since(began) < then; { // what it is in the middle of is up to chance
		}
		cmd.Process.Kill()
		killed = true
	}
	sc := bufio.NewScanner(out)
	for n := 0; sc.Scan(); {
		line := sc.Text()
		if line == "opening" && lines == 0 && !killed {
			kill()
		}
		if number, ok := strings.CutPrefix(line, "committed "); ok {
			if told, err = strconv.Atoi(number); err != nil {
				t.Fatal(err)
			}
			if n++; n >= lines && !killed {
				kill()
			}
		} else if line != "opening" && !strings.HasPrefix(line, "=== ") {
			t.Error("the child:", line)
		}
	}
	cmd.Wait() // it was killed
	if !killed {
		t.Fatal("the child ended by itself")
	}
	return told
}

func verify(t *testing.T, dir string, told, kills int) {
	t.Helper()
	s, err := Open(t.Context(), filepath.Join(dir, "hub.db"), Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
	cursors, err := s.Cursors(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	stored := int(cursors["node-a"].Next)
	if stored < told || stored > told+1 {
		t.Errorf("told that %d batches are stored, the cursor says %d", told, stored)
	}
	st, err := s.Stats(t.Context())
	if err != nil || st.Departures != stored*rowsPerBatch || st.Episodes != stored {
		t.Errorf("%d departures, %d episodes of %d batches (%v)", st.Departures, st.Episodes, stored, err)
	}
	for i := max(1, stored-40); i <= stored; i++ { // those of this round; the counts speak for the others
		e, found, err := s.Episode(t.Context(), int64(i), rowsPerBatch)
		if err != nil || !found || len(e.Departures) != rowsPerBatch || len(e.Departures[0].Slowest) == 0 {
			t.Errorf("batch %d: %d rows (%v)", i, len(e.Departures), err)
		}
	}
	// The clock of the child moves on by a second with each batch: a kill costs the histograms of flushAfter, and a batch.
	p := summary(s)["node-a"]
	all := stored * rowsPerBatch
	if least := all - kills*rowsPerBatch*(int(flushAfter/time.Second)+1); p[0] < least || p[0] > all {
		t.Errorf("node-a has %d samples of %d departures, should have at least %d", p[0], all, least)
	}
}

// commitUntilKilled goes on where the file ends.
func commitUntilKilled(t *testing.T, dir string) {
	fmt.Println("opening")
	clock := newClock()
	s, err := Open(t.Context(), filepath.Join(dir, "hub.db"), Config{Now: clock.now})
	if err != nil {
		t.Fatal(err)
	}
	// With every third commit or so, not with every thirtieth.
	if _, err := s.file.write.Exec("PRAGMA wal_autocheckpoint = 100"); err != nil {
		t.Fatal(err)
	}
	cursors, err := s.Cursors(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(uint64(os.Getpid()), 2))
	for i := cursors["node-a"].Next + 1; i < 100_000; i++ { // if nobody kills it
		clock.advance(time.Second)
		b := Batch{Cursors: []Cursor{{"node-a", "boot", i}},
			Episodes: []report.Episode{{ID: int64(i), Begun: clock.now(), Ended: clock.now()}}}
		for j := range rowsPerBatch {
			d := large(r, clock.now())
			d.UID, d.Episode, d.Straggler = fmt.Sprint(i, "-", j), int64(i), nil
			b.Departures = append(b.Departures, d)
			b.Landings = append(b.Landings, Landings{d.UID, []PlaceSample{{"node-a", "kube-proxy", ledger.IPv4, 1}}})
		}
		if err := s.Commit(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		fmt.Println("committed", i)
	}
}
