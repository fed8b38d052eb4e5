package probes

import (
	"errors"
	"time"

	"github.com/lastcall-k8s/lastcall/ledger"
)

// plane is one of kube-proxy's backends in one family.
type plane interface {
	reachable(m *memo, r ledger.Removal) (bool, error)
}

// pass is one verify pass: it ties every read to a generation.
type pass struct {
	k        *KubeProxy
	memo     *memo
	gen      uint64 // generation of everything in memo
	landings []ledger.Landing
	strange  *error // a path whose rules could not be understood
}

func (k *KubeProxy) newPass() *pass {
	return &pass{k: k, memo: newMemo(k.baseChains), gen: k.log.gen}
}

// reading is what one path showed at one generation.
type reading struct {
	reachable     bool
	gen           uint64
	before, after time.Time
}

// read reads one path between two answers of the same generation. The id only grows, so
// everything read between them is of that generation, and what the memo holds of it may be used again. If the id
// changed, the read is thrown away: errInterrupted after readTries. At the generation known, at which the path was read already, it may say
// errPreparing.
func (p *pass) read(r ledger.Removal, known uint64) (reading, error) {
	for range readTries {
		p.memo.hasty = p.gen == known
		rd := reading{gen: p.gen, before: time.Now()}
		var err error
		rd.reachable, err = p.k.reachable(p.memo, r)
		g, genErr := p.k.generation()
		if genErr != nil {
			return rd, genErr
		}
		changed := p.gen != p.k.log.gen
		if changed || err != nil && !errors.Is(err, errPreparing) {
			p.memo, p.gen = newMemo(p.k.baseChains), p.k.log.gen
		}
		switch {
		case err != nil && !errors.Is(err, errInterrupted) && !changed:
			return rd, err
		case err == nil && !changed:
			rd.after = g.after
			return rd, nil
		}
	}
	return reading{}, errInterrupted
}

// reachable asks every backend that is hooked: leftovers of another mode route connections too.
func (k *KubeProxy) reachable(m *memo, r ledger.Removal) (bool, error) {
	for _, p := range k.planes {
		if p.family != protoFamily(r.Path.Family()) {
			continue
		}
		if ok, err := p.plane.reachable(m, r); ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}
