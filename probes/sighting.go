package probes

import (
	"time"

	"github.com/lastcall-k8s/lastcall/ledger"
)

// sighting is what the reads of one path in one kind of dataplane showed, nf_tables or iptables-legacy.
type sighting struct {
	present   uint64    // last generation at which it was read as reachable; 0: never
	presentAt time.Time // when that read began
	absent    uint64    // first generation since then at which it was not; 0: none
	absentAt  time.Time // when that read had ended
	doubt     time.Time // since when it could not be read again with little; zero: the last read was whole
	due       time.Time // next read although nothing was committed
	back      bool      // of a path that landed: it was read as reachable again, once
}

// legacyGeneration stands for a generation where there is none.
const legacyGeneration = 1

func (s *sighting) read() bool { return s.present != 0 || s.absent != 0 }

func (s *sighting) reachable(gen uint64, began time.Time) {
	s.present, s.presentAt, s.absent, s.absentAt, s.doubt = gen, began, 0, time.Time{}, time.Time{}
}

func (s *sighting) unreachable(gen uint64, ended time.Time) {
	if s.absent == 0 {
		s.absent, s.absentAt = gen, ended
	}
}

// legacyLanding has nothing but reads as bounds: no commit is announced or numbered there. That the table's size did
// not change, or that nobody held the lock, proves nothing of the rules: an endpoint may take another's place,
// and a program need not take the lock.
func (s *sighting) legacyLanding() ledger.Landing {
	return ledger.Landing{Interval: ledger.Interval{Lo: s.presentAt, Hi: s.absentAt}}
}

// lastOf is the landing of a path that nf_tables and iptables-legacy may both have routed: it landed when the last of
// them let go. A lower bound counts only of one in which it was read as reachable, for the path need not
// have been in the other at all; an upper bound counts of both.
func lastOf(nft ledger.Landing, inNFT bool, legacy ledger.Landing, inLegacy bool) ledger.Landing {
	last := ledger.Landing{Interval: ledger.Interval{Hi: nft.Hi}}
	if legacy.Hi.After(last.Hi) {
		last.Hi = legacy.Hi
	}
	if inNFT {
		last.Lo = nft.Lo
		if last.Hi.Equal(nft.Hi) && (!inLegacy || !legacy.Lo.After(nft.Lo)) {
			last.Generation, last.Candidates = nft.Generation, nft.Candidates
		}
	}
	if inLegacy && legacy.Lo.After(last.Lo) {
		last.Lo = legacy.Lo
	}
	return last
}
