package probes

import (
	"time"

	"github.com/lastcall-k8s/lastcall/ledger"
)

const (
	// logAge is how long commits are remembered: longer than any watch outage that is worth bridging.
	logAge = 10 * time.Minute
	// logEntries bounds the log when somebody commits all the time. At 4,000 commits/s and one
	// GETGEN per millisecond it still spans 16 s at full resolution; older runs are coalesced.
	logEntries = 16384
)

// commitLog records when the kernel's rule set generation grew, as intervals: generation g was
// committed after the last moment at which the kernel was still asked and answered below g, and
// not later than the first answer of g or more.
type commitLog struct {
	entries []commits // oldest first, adjacent generations
	gen     uint64    // newest generation known, extended to 64 bit
	asked   time.Time // when it was last asked for with that answer
	start   time.Time // every commit since then is on record
}

// commits is a run of generations whose commits lie in one interval.
type commits struct {
	first, last uint64
	ledger.Interval
}

// observe records one answer of NFT_MSG_GETGEN: the id, and the times just before the
// request and just after the answer. ok is false if it went backwards: the namespace's rules are not the ones we knew, and the log starts anew.
//
// The id is a uint32 that skips 0 when it wraps (net/netfilter/nf_tables_api.c,
// nf_tables_commit); the log counts on in 64 bits.
func (l *commitLog) observe(id uint32, before, after time.Time) (ok bool) {
	delta := int32(id - uint32(l.gen))
	switch {
	case l.gen == 0, delta < 0:
		first := l.gen == 0
		*l = commitLog{gen: uint64(id) | 1<<32, asked: before, start: after}
		return first
	case delta == 0:
		l.asked = before
		return true
	}
	next := l.gen + uint64(delta)
	l.entries = append(l.entries, commits{first: l.gen + 1, last: next, Interval: ledger.Interval{Lo: l.asked, Hi: after}})
	l.gen, l.asked = next, before
	l.trim(after)
	return true
}

// since is when the newest generation was first seen.
func (l *commitLog) since() time.Time {
	if n := len(l.entries); n > 0 {
		return l.entries[n-1].Hi
	}
	return l.start
}

// trim forgets what is too old, and coalesces the older half when there is too much.
func (l *commitLog) trim(now time.Time) {
	n := 0
	for n < len(l.entries) && now.Sub(l.entries[n].Hi) > logAge {
		l.start = l.entries[n].Hi
		n++
	}
	l.entries = l.entries[n:]
	if len(l.entries) <= logEntries {
		return
	}
	half := len(l.entries) / 2
	merged := make([]commits, 0, logEntries)
	for i := 0; i < half; i += 2 {
		c := l.entries[i]
		if i+1 < half {
			c.last, c.Hi = l.entries[i+1].last, l.entries[i+1].Hi
		}
		merged = append(merged, c)
	}
	l.entries = append(merged, l.entries[half:]...)
}

// maxCandidates bounds the list of commits that a landing may have been; the newest are kept.
const maxCandidates = 32

// landing turns what the reads of a path showed into an interval.
//
// present is the last generation at which the path was read as reachable (0: never), absent the first
// at which it was not, read at the time at. since is when the path became expected here (the
// zero time: before this agent started): no earlier commit can have removed it.
//
// A path that was never read as reachable may have gone by any commit since then. All are listed as
// candidates: whoever knows T0 can drop the earlier ones.
//
// The kernel bumps the id and switches to the new rules in two steps, not at one instant
// (nf_tables_commit), so the same generation may be read as reachable, at lastPresent, and then not: the
// reads themselves are the bounds then.
func (l *commitLog) landing(present, absent uint64, since, lastPresent, at time.Time) ledger.Landing {
	ld := ledger.Landing{Generation: absent, Interval: ledger.Interval{Hi: at}}
	if present != 0 && absent <= present {
		ld.Lo = lastPresent
		return ld
	}
	var runs []commits
	for _, c := range l.entries {
		if c.last > present && c.first <= absent && (present != 0 || c.Hi.After(since)) {
			runs = append(runs, c)
		}
	}
	known := l.covers(since)
	if present != 0 {
		known = len(runs) > 0 && runs[0].first <= present+1
	}
	if len(runs) == 0 {
		// With the whole span on record, nothing was committed since the path was expected, and it
		// is not there. Otherwise: gone by the time we looked, and no more is known.
		ld.Absent = present == 0 && known
		return ld
	}
	ld.Hi = runs[len(runs)-1].Hi
	if known {
		ld.Lo = runs[0].Lo
	}
	if len(runs) > 1 || present == 0 {
		for _, c := range runs[max(0, len(runs)-maxCandidates):] {
			ld.Candidates = append(ld.Candidates, c.Interval)
		}
	}
	return ld
}

// covers reports whether every commit since t is on record.
func (l *commitLog) covers(t time.Time) bool { return !t.IsZero() && !t.Before(l.start) }
