package probes

import (
	"time"

	"github.com/lastcall-k8s/lastcall/ledger"
)

// datagrams are the UDP flows of one path. Their entries outlive its landing: kube-proxy deletes them once its rules are in
// place (pkg/proxy/conntrack/cleanup.go), and until then they lead to the pod.
type datagrams struct {
	began int
	// from is the earliest moment at which the path may have landed.
	from time.Time
	last time.Time // when the last entry went
	open int       // when the window ended
}

// datagram follows a UDP flow that this node's rules sent to a path.
func (ls *leavings) datagram(l *leaving, p *leavingPath, e flowEvent, at time.Time) {
	p.datagrams.began++
	ls.follow(&flow{leaving: l, key: e.orig, at: at, path: p})
}

func (d *datagrams) gone(at time.Time) { d.last = at }

// datagrams sums up the paths that are measured still.
func (l *leaving) datagrams() *ledger.Datagrams {
	var sum ledger.Datagrams
	for _, p := range l.paths {
		d := p.datagrams
		sum.New += d.began
		if p.landed.IsZero() {
			continue
		}
		sum.Open += d.open
		if d.last.After(d.from) && d.last.After(sum.Cleared) {
			sum.Cleared = d.last
		}
	}
	if sum.New == 0 {
		return nil
	}
	return &sum
}
