package probes

import "github.com/lastcall-k8s/lastcall/ledger"

// Reachable looks once, in the calling thread's network namespace, which of the paths the kernel routes
// new connections to; Found must be of the same namespace. The reads are not tied to one generation: it is
// for rules that rest.
func (f Found) Reachable(paths []ledger.Removal) ([]bool, error) {
	routed := make([]bool, len(paths))
	if len(f.backends) > 0 {
		sock, err := openNetfilter()
		if err != nil {
			return nil, err
		}
		defer sock.close()
		k := &KubeProxy{planes: f.planes(sock)}
		m := newMemo(f.baseChains)
		for i, r := range paths {
			if routed[i], err = k.reachable(m, r); err != nil {
				return nil, err
			}
		}
	}
	for _, family := range f.legacy {
		if err := reachableLegacy(family, paths, routed); err != nil {
			return nil, err
		}
	}
	return routed, nil
}

func reachableLegacy(family uint8, paths []ledger.Removal, routed []bool) error {
	t, err := openLegacy(family)
	if err != nil {
		return err
	}
	defer t.close()
	read, err := t.read()
	if err != nil {
		return err
	}
	for i, r := range paths {
		if routed[i] || protoFamily(r.Path.Family()) != family {
			continue
		}
		if routed[i], err = t.reachable(read.memo, r); err != nil {
			return err
		}
	}
	return nil
}
