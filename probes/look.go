package probes

import (
	"errors"
	"fmt"
	"time"
)

// ErrDataplaneChanged: other backends or families program Services now than those that are measured.
var ErrDataplaneChanged = errors.New("kube-proxy's dataplane changed")

// detection is a look for the dataplane: the state in which it was made.
type detection struct {
	at    time.Time
	gen   uint32
	state legacyState
}

// lookAgain looks for the dataplane again, now and then if something was committed since: kube-proxy may have
// been restarted in another mode, or have programmed its second family after we looked.
func (k *KubeProxy) lookAgain(at time.Time) error {
	if !k.detected.at.IsZero() && at.Sub(k.detected.at) < k.lookGap {
		return nil
	}
	d := detection{at: at, state: k.found.legacyState()}
	if k.sock != nil {
		g, err := k.sock.generation()
		if err != nil {
			return err
		}
		d.gen = g.id
	}
	was := k.detected
	k.detected = d
	if k.mover != "" && k.mover != k.found.Backend && k.mover != k.found.mover {
		return fmt.Errorf("%w: removals land in %s, which had been taken for a leftover beside %s", ErrDataplaneChanged, k.mover, k.found.Backend)
	}
	if was.at.IsZero() || was.gen == d.gen && was.state == d.state {
		return nil
	}
	now, err := detect(k.sock, k.found)
	switch {
	case errors.Is(err, errSocket):
		return err
	case errors.Is(err, errNoKubeProxy):
		return nil // a flushed rule set; what comes next decides
	case errors.Is(err, errReplaced):
		return fmt.Errorf("%w: %w", ErrDataplaneChanged, err)
	case err != nil || now.same(k.found):
		return nil
	}
	return fmt.Errorf("%w from %s to %s", ErrDataplaneChanged, k.found, now)
}

// noteMover remembers in which of two hooked dataplanes a path was until it landed: that is the one kube-proxy programs.
func (k *KubeProxy) noteMover(w *watched) {
	switch {
	case w.nft.present != 0 && w.legacy.present == 0:
		k.mover = k.found.nftBackend
	case w.nft.present == 0 && w.legacy.present != 0:
		k.mover = iptablesLegacy
	}
}

// Mover is the backend in which removals were seen to land while another was hooked as well; "" if there was none.
// Call it when Run has returned.
func (k *KubeProxy) Mover() string { return k.mover }
