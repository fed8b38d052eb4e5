package probes

import (
	"testing"
	"time"
)

// FuzzCommitLog plays commits, answers of the kernel and reads of a path in any order, and holds each landing against the
// moment at which the path really went. The generation begins near its largest value: it wraps, and skips 0.
func FuzzCommitLog(f *testing.F) {
	f.Add([]byte{0, 2, 4, 0, 1, 3, 2, 4, 2, 4}, uint8(3), true)
	f.Add([]byte("\x02\x00\x02\x00\x00\x00\x02\x04\x02\x04"), uint8(2), false)
	f.Fuzz(func(t *testing.T, choices []byte, goes uint8, early bool) {
		in := &chooser{choices}
		now := time.Unix(1_800_000_000, 0)
		next := func() time.Time { now = now.Add(time.Duration(1+in.n(200)) * time.Millisecond); return now }
		var l commitLog
		id, commits := uint32(1<<32-3), 0
		commit := func() {
			if id++; id == 0 {
				id = 1
			}
			commits++
		}
		l.observe(id, next(), next())
		since := time.Time{} // expected since before we began
		if early {
			since = next()
		}
		var went time.Time
		var present uint64
		var presentAt time.Time
		gone := func() bool { return commits > int(goes%16) }
		for range 200 {
			switch in.n(5) {
			case 0, 1:
				was := gone()
				next()
				if commit(); gone() && !was {
					went = now
				}
			case 2, 3: // the kernel is asked; a commit may come between question and answer, before or after its moment
				before := next()
				answer := id
				if in.n(4) == 0 {
					next()
					was := gone()
					if commit(); gone() && !was {
						went = now
					}
					if in.n(2) == 0 {
						answer = id
					}
				}
				if !l.observe(answer, before, next()) {
					t.Fatal("the generation went back, and it did not")
				}
			case 4: // a pass: two answers with the read between them, thrown away if they differ
				if !l.observe(id, next(), next()) {
					t.Fatal("the generation went back, and it did not")
				}
				at := next()
				if gone() {
					next()
					if !l.observe(id, next(), next()) {
						t.Fatal("the generation went back, and it did not")
					}
					ld := l.landing(present, l.gen, since, presentAt, now)
					if ld.Absent {
						t.Fatalf("it went at %v, and is said never to have been there", went)
					}
					if !ld.Lo.Before(went) || ld.Hi.Before(went) {
						t.Fatalf("it went at %v, and is said to have gone in (%v, %v]", went, ld.Lo, ld.Hi)
					}
					if len(ld.Candidates) > maxCandidates {
						t.Fatalf("%d candidates", len(ld.Candidates))
					}
					return
				}
				present, presentAt = l.gen, at
			}
		}
	})
}
