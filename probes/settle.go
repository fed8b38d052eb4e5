package probes

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/lastcall-k8s/lastcall/ledger"
)

// pass reads every watched path that is due, each between two answers of the same generation; those that
// were never read only, if onlyFresh.
func (k *KubeProxy) pass(onlyFresh bool) (err error) {
	start := time.Now()
	p := k.newPass()
	defer func() {
		// Whatever went wrong later in the pass: what landed has been taken off the list.
		if len(p.landings) > 0 {
			k.cfg.Land(p.landings)
		}
	}()
	for _, w := range k.inOrder() {
		switch {
		case !k.inNFTables(w.family()):
			continue
		case onlyFresh && w.armedAt.Before(k.lastPass):
			continue
		case max(w.nft.present, w.nft.absent) == k.log.gen && start.Before(w.nft.due):
			continue // read at this generation already
		}
		if err := k.readOne(p, w); err != nil {
			return err
		}
	}
	if !onlyFresh {
		err := k.revisit(0, start, func(w *watched) (*sighting, bool, error) {
			read, err := p.read(w.Removal, 0)
			return &w.nft, read.reachable, err
		})
		if err != nil {
			return err
		}
		k.strange.Store(p.strange)
		k.passedGen = p.gen
	}
	k.reckonDue()
	end := time.Now()
	k.lastPass, k.fresh = end, false
	k.nextPass = end.Add(max(passGap-end.Sub(start), passShare*end.Sub(start)))
	k.cfg.Verified(end.Sub(start))
	return nil
}

// readOne reads one path in nf_tables.
func (k *KubeProxy) readOne(p *pass, w *watched) error {
	now := time.Now()
	// What a generation shows can change only between the two steps of its commit (see landing): again soon after it was
	// first seen, then ever more rarely.
	w.nft.due = now.Add(min(passSlowest, max(passGap, 4*now.Sub(k.log.since()))))
	// Read again at the same generation it is for the second of those steps alone, and that can wait.
	known := w.nft.present
	if !w.nft.doubt.IsZero() && now.Sub(w.nft.doubt) >= passPatience {
		known = 0
	}
	read, err := p.read(w.Removal, known)
	switch {
	case errors.Is(err, errPreparing):
		if w.nft.doubt.IsZero() {
			w.nft.doubt = now
		}
		return nil
	case errors.Is(err, errInterrupted):
		return nil // the next pass tries again; until then the interval grows
	case errors.Is(err, errSocket):
		return fmt.Errorf("verify %s -> %s: %w", w.Path.Service, w.Path.Endpoint, err)
	case err != nil:
		p.strange = &err // it stays pending: nothing is claimed of what is not understood
	case read.reachable:
		w.nft.reachable(read.gen, read.before)
	default:
		w.nft.unreachable(read.gen, read.after)
		p.landings = k.settle(p.landings, w)
	}
	return nil
}

// settle adds the path's landing and takes it off the list, if no hooked dataplane of its family reaches it any more.
func (k *KubeProxy) settle(landings []ledger.Landing, w *watched) []ledger.Landing {
	inNFTables, inLegacy := k.inNFTables(w.family()), k.legacyTable(w.family()) != nil
	if inNFTables && w.nft.absent == 0 || inLegacy && w.legacy.absent == 0 {
		return landings
	}
	var ld ledger.Landing
	if inNFTables {
		ld = k.log.landing(w.nft.present, w.nft.absent, w.ExpectedSince, w.nft.presentAt, w.nft.absentAt)
	}
	switch legacy := w.legacy.legacyLanding(); {
	case inNFTables && inLegacy:
		ld = lastOf(ld, w.nft.present != 0, legacy, w.legacy.present != 0)
		k.noteMover(w)
	case inLegacy:
		ld = legacy
	}
	ld.Key, ld.Seen = w.Key, w.Seen
	k.drop(w.Key)
	if len(k.landed) < maxAfterlife {
		now := time.Now()
		w.armedAt = now
		w.nft.due, w.legacy.due = now.Add(passSlowest), now.Add(passSlowest)
		k.landed[w.Key] = w
	}
	return append(landings, ld)
}

func (k *KubeProxy) inNFTables(family uint8) bool {
	return slices.ContainsFunc(k.planes, func(p familyPlane) bool { return p.family == family })
}

func (k *KubeProxy) legacyTable(family uint8) *legacyTable {
	for _, t := range k.legacy {
		if t.family == family {
			return t
		}
	}
	return nil
}

// reckonDue finds when the next read of nf_tables is due although nothing is committed.
func (k *KubeProxy) reckonDue() {
	k.nextDue = time.Time{}
	for _, m := range []map[ledger.Key]*watched{k.watched, k.landed} {
		for _, w := range m {
			if k.inNFTables(w.family()) && (k.nextDue.IsZero() || w.nft.due.Before(k.nextDue)) {
				k.nextDue = w.nft.due
			}
		}
	}
}

// inOrder lists what is watched, the never read first.
func (k *KubeProxy) inOrder() []*watched {
	return slices.SortedFunc(maps.Values(k.watched), func(a, b *watched) int {
		return a.nft.presentAt.Compare(b.nft.presentAt)
	})
}

// revisit looks again at paths that landed a while ago, of one family or of those in nf_tables (0): at +1 s and then
// at twice the age. look says what one shows now.
func (k *KubeProxy) revisit(family uint8, now time.Time, look func(*watched) (*sighting, bool, error)) error {
	var back []ledger.Key
	for key, w := range k.landed {
		if family == 0 && !k.inNFTables(w.family()) || family != 0 && w.family() != family {
			continue
		}
		age, due := now.Sub(w.armedAt), w.nft.due
		if family != 0 {
			due = w.legacy.due
		}
		switch {
		case age > afterlife:
			delete(k.landed, key)
		case !now.Before(due):
			s, reachable, err := look(w)
			if errors.Is(err, errSocket) {
				return err
			}
			s.due = now.Add(max(passSlowest, age))
			switch {
			case err != nil || !reachable:
				s.back = false
			case !s.back:
				// It may be expected again, by an event that is still on its way to us.
				s.back, s.due = true, now.Add(passSlowest)
			default:
				back = append(back, key)
				delete(k.landed, key)
			}
		}
	}
	if len(back) > 0 {
		k.cfg.Resurrected(back, now)
	}
	return nil
}
