package probes

import (
	"errors"
	"fmt"
	"time"

	"github.com/lastcall-k8s/lastcall/ledger"
)

const (
	// legacySlowest is the longest gap between two reads of a table while a removal stays pending. Lock and size
	// prompt a read before that; this one is for a commit that shows in neither.
	legacySlowest = 10 * time.Second
	// copyLife is how long a copy of a table is kept when nothing is pending any more: the next removal of
	// the same rollout has its first read in it.
	copyLife = 10 * time.Second
)

// legacyTable is iptables-legacy's nat table of one family, and when it is to be read. It can only be read whole, and
// the kernel holds off kube-proxy's own reads and commits meanwhile, so it is read while something is pending only, once
// for all that wait.
type legacyTable struct {
	iptablesNFT
	sock *xtablesSocket
	buf  tableBuffer
	copy *legacyRead // the last read; nil: none is kept

	info    tableInfo // last answer to the cheap question
	touched bool      // somebody was done with the lock, since the last read began
	fresh   bool      // something was armed that was not read yet
	// Earliest times of a read: after a sign that the table was replaced, and without one. After a read
	// of d the first is d later: who replaced it has spent more. The other is passShare x d later.
	nextChanged, next time.Time
	due               time.Time // next read without any sign
}

// legacyRead is one read of a table. What is reachable in it was so at some moment between before and after.
type legacyRead struct {
	memo          *memo
	before, after time.Time
}

func (t *legacyTable) close() {
	t.buf.release()
	t.sock.close()
}

func openLegacy(family uint8) (*legacyTable, error) {
	sock, err := openXtables(family)
	if err != nil {
		return nil, err
	}
	return &legacyTable{iptablesNFT: iptablesNFT{ruleset{family: family, table: nat}}, sock: sock}, nil
}

// read copies the table. A table that is gone has no rules.
func (t *legacyTable) read() (*legacyRead, error) {
	t.copy = nil // its memory is written over
	now := time.Now()
	c, err := t.sock.readTable(&t.buf)
	if errors.Is(err, errNoTable) {
		c = tableCopy{before: now, after: time.Now()}
	} else if err != nil {
		return nil, err
	}
	r := &legacyRead{memo: newMemo(nil), before: c.before, after: c.after}
	r.memo.legacy = &c
	for name := range legacyHooks {
		key := memoKey{t.family, t.table, ""}
		r.memo.hooks[key] = append(r.memo.hooks[key], name)
	}
	return r, nil
}

// turnLegacy asks the cheap questions, and reads the tables for which that is due. While somebody is at work no table is
// read: he would have to wait for the kernel to be done with us, and it is at the end that it shows what he did.
func (k *KubeProxy) turnLegacy() error {
	touched, err := k.lock.touched()
	if err != nil {
		return err
	}
	for _, t := range k.legacy {
		t.touched = t.touched || touched
		wanted := k.pending[t.family] > 0
		if !wanted && !k.lately(t.family) {
			t.touched = false
			t.forget(time.Now())
			continue
		}
		if t.info, err = t.sock.info(); err != nil && !errors.Is(err, errNoTable) {
			return fmt.Errorf("%w: %w", errSocket, err)
		}
		if t.fresh {
			if err := k.fromCopy(t); err != nil {
				return err
			}
		}
		if now := time.Now(); !k.lock.busy(now) && t.isDue(wanted, now) {
			if err := k.readLegacy(t); err != nil {
				return err
			}
		}
	}
	return nil
}

// isDue decides whether to read now. Without anything pending only a sign is a reason: a path that landed may be back.
func (t *legacyTable) isDue(wanted bool, now time.Time) bool {
	changed := t.copy != nil && t.copy.memo.legacy.info != t.info
	switch {
	case changed && !now.Before(t.nextChanged):
		return true
	case now.Before(t.next):
		return false
	}
	return changed || t.touched || wanted && (t.copy == nil || t.fresh || !now.Before(t.due))
}

// forget gives the memory of an idle table back.
func (t *legacyTable) forget(now time.Time) {
	if t.copy != nil && now.Sub(t.copy.after) > copyLife {
		t.copy = nil
		t.buf.release()
	}
}

// fromCopy looks for what was armed since the last read in that read: a path that is in it was routed then. One that is
// not may have been programmed since, and waits for the next read.
func (k *KubeProxy) fromCopy(t *legacyTable) error {
	t.fresh = false
	for _, w := range k.watched {
		if w.family() != t.family || w.legacy.read() {
			continue
		}
		in := false
		if t.copy != nil {
			var err error
			if in, err = t.reachable(t.copy.memo, w.Removal); err != nil && !errors.Is(err, errTableLayout) {
				return err
			}
		}
		if in {
			w.legacy.reachable(legacyGeneration, t.copy.before)
		} else {
			t.fresh = true
		}
	}
	return nil
}

// readLegacy reads the table and what every watched path of its family is in it.
func (k *KubeProxy) readLegacy(t *legacyTable) error {
	start := time.Now()
	t.touched = false
	read, err := t.read()
	switch {
	case errors.Is(err, errInterrupted):
		t.next, t.nextChanged = start.Add(passGap), start.Add(passGap)
		return nil
	case errors.Is(err, errTableLayout):
		k.legacyStrange.Store(&err)
		t.next, t.nextChanged = start.Add(passSlowest), start.Add(passSlowest)
		return nil
	case err != nil:
		return fmt.Errorf("%w: %w", errSocket, err)
	}
	t.copy, t.fresh = read, false
	t.info = read.memo.legacy.info
	var landings []ledger.Landing
	var strange *error
	for _, w := range k.watched {
		if w.family() != t.family {
			continue
		}
		in, err := t.reachable(read.memo, w.Removal)
		switch {
		case err != nil:
			strange = &err // it stays pending: nothing is claimed of what is not understood
			continue
		case in:
			w.legacy.reachable(legacyGeneration, read.before)
			continue
		}
		w.legacy.unreachable(legacyGeneration, read.after)
		landings = k.settle(landings, w)
	}
	if len(landings) > 0 {
		k.cfg.Land(landings)
	}
	k.legacyStrange.Store(strange)
	k.revisit(t.family, start, func(w *watched) (*sighting, bool, error) {
		in, err := t.reachable(read.memo, w.Removal)
		return &w.legacy, in, err
	}) //nolint:errcheck // nothing that is read from a copy is an error of the socket
	end := time.Now()
	t.nextChanged = end.Add(max(passGap, end.Sub(start)))
	t.next = end.Add(max(passGap, passShare*end.Sub(start)))
	t.due = start.Add(min(legacySlowest, max(passGap, start.Sub(k.lastArm)/8)))
	k.cfg.Verified(end.Sub(start))
	return nil
}

// lately reports whether a path of the family landed so recently that it may come back.
func (k *KubeProxy) lately(family uint8) (yes bool) {
	now := time.Now()
	for key, w := range k.landed {
		switch {
		case now.Sub(w.armedAt) > afterlife:
			delete(k.landed, key)
		case w.family() == family:
			yes = true
		}
	}
	return yes
}
