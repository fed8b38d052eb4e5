package probes

import "github.com/lastcall-k8s/lastcall/ledger"

// Reachable looks once, in the calling thread's network namespace, which of the paths the kernel routes
// new connections to; Found must be of the same namespace. The reads are not tied to one generation: it is
// for rules that rest.
func (f Found) Reachable(paths []ledger.Removal) ([]bool, error) {
	sock, err := openNetfilter()
	if err != nil {
		return nil, err
	}
	defer sock.close()
	k := &KubeProxy{planes: f.planes(sock)}
	m := newMemo(f.baseChains)
	routed := make([]bool, len(paths))
	for i, r := range paths {
		if routed[i], err = k.reachable(m, r); err != nil {
			return nil, err
		}
	}
	return routed, nil
}
