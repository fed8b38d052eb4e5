package probes

import (
	"testing"
	"time"

	"github.com/lastcall-k8s/lastcall/ledger"
)

var epoch = time.Unix(1_700_000_000, 0)

func ms(n int) time.Time { return epoch.Add(time.Duration(n) * time.Millisecond) }

// TestCommitLog: answers of GETGEN at 10, 20, 30 ... ms, each taking 1 ms; then what the reads of one
// path give.
func TestCommitLog(t *testing.T) {
	const base = 1 << 32
	span := func(lo, hi int) ledger.Interval { return ledger.Interval{Lo: ms(lo), Hi: ms(hi)} }
	upTo := func(hi int) ledger.Interval { return ledger.Interval{Hi: ms(hi)} }
	for _, tt := range []struct {
		name            string
		ids             []uint32
		present, absent uint64
		since           time.Time
		want            ledger.Landing
	}{
		{"the very next commit", []uint32{5, 5, 6, 6}, base + 5, base + 6, ms(11),
			ledger.Landing{Interval: span(20, 31)}},
		{"one of several", []uint32{5, 6, 6, 8, 8}, base + 5, base + 8, ms(11),
			ledger.Landing{Interval: span(10, 41), Candidates: []ledger.Interval{span(10, 21), span(30, 41)}}},
		{"several at once", []uint32{5, 5, 9, 9}, base + 5, base + 9, ms(11),
			ledger.Landing{Interval: span(20, 31)}},
		{"several at once, the first read between them", []uint32{5, 5, 9, 9}, base + 7, base + 9, ms(11),
			ledger.Landing{Interval: span(20, 31)}},
		{"never read as reachable", []uint32{5, 6, 6, 7, 7}, 0, base + 7, ms(15),
			ledger.Landing{Interval: span(10, 41), Candidates: []ledger.Interval{span(10, 21), span(30, 41)}}},
		{"never read as reachable, expected since the last commit but one", []uint32{5, 6, 6, 7, 7}, 0, base + 7, ms(25),
			ledger.Landing{Interval: span(30, 41), Candidates: []ledger.Interval{span(30, 41)}}},
		{"nothing committed since it was expected", []uint32{5, 6, 6, 6}, 0, base + 6, ms(25),
			ledger.Landing{Interval: upTo(100), Absent: true}},
		{"expected before the record begins", []uint32{5, 6, 6}, 0, base + 6, time.Time{},
			ledger.Landing{Interval: upTo(21), Candidates: []ledger.Interval{span(10, 21)}}},
		{"no commit on record, expected before it begins", []uint32{5, 5}, 0, base + 5, time.Time{},
			ledger.Landing{Interval: upTo(100)}},
		{"the id wraps, skipping 0", []uint32{1<<32 - 1, 1, 1}, base + 1<<32 - 1, base + 1<<32 + 1, ms(11),
			ledger.Landing{Interval: span(10, 21)}},
		{"read both ways at one generation", []uint32{5, 6, 6}, base + 6, base + 6, ms(11),
			ledger.Landing{Interval: span(99, 100)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var l commitLog
			for i, id := range tt.ids {
				if ok := l.observe(id, ms(10*(i+1)), ms(10*(i+1)+1)); !ok {
					t.Fatalf("answer %d: went backwards", i)
				}
			}
			got := l.landing(tt.present, tt.absent, tt.since, ms(99), ms(100))
			if got.Interval != tt.want.Interval || got.Absent != tt.want.Absent {
				t.Errorf("landed in (%v, %v] absent=%v, want (%v, %v] absent=%v",
					got.Lo, got.Hi, got.Absent, tt.want.Lo, tt.want.Hi, tt.want.Absent)
			}
			if len(got.Candidates) != len(tt.want.Candidates) {
				t.Fatalf("candidates %v, want %v", got.Candidates, tt.want.Candidates)
			}
			for i, c := range tt.want.Candidates {
				if got.Candidates[i] != c {
					t.Errorf("candidate %d: %v, want %v", i, got.Candidates[i], c)
				}
			}
		})
	}
}

// TestCommitLogIsBounded: 4,000 commits/s for a quarter of an hour, asked for once a millisecond.
func TestCommitLogIsBounded(t *testing.T) {
	var l commitLog
	id := uint32(0)
	for i := range 900_000 {
		id += 4
		l.observe(id, ms(i), ms(i).Add(50*time.Microsecond))
		if len(l.entries) > logEntries+1 {
			t.Fatalf("%d entries after %d answers", len(l.entries), i)
		}
	}
	for i := 1; i < len(l.entries); i++ {
		if l.entries[i].first != l.entries[i-1].last+1 {
			t.Fatalf("hole between generations %d and %d", l.entries[i-1].last, l.entries[i].first)
		}
	}
	newest := l.entries[len(l.entries)-1]
	if slop, _ := newest.Slop(); slop > 2*time.Millisecond {
		t.Errorf("the newest commit lies within %v, want full resolution", slop)
	}
	if oldest := l.entries[0]; newest.Hi.Sub(oldest.Lo) < logAge-time.Minute {
		t.Errorf("the record spans %v, want about %v", newest.Hi.Sub(oldest.Lo), logAge)
	}
}

// TestCommitLogBackwards: another rule set than the one on record.
func TestCommitLogBackwards(t *testing.T) {
	var l commitLog
	l.observe(100, ms(0), ms(1))
	l.observe(101, ms(2), ms(3))
	if ok := l.observe(7, ms(4), ms(5)); ok {
		t.Error("an id that fell from 101 to 7 was taken for a commit")
	}
	if len(l.entries) != 0 || l.covers(ms(3)) || !l.covers(ms(5)) {
		t.Errorf("the record must begin anew: %+v", l)
	}
}
