package consumer

import (
	"net/netip"
	"time"

	"github.com/lastcall-k8s/lastcall/ledger"
)

// reading is one request and what came of it.
type reading struct {
	why            Why
	of             []Want
	by             map[netip.Addr][]*watched // what is looked for
	called         *roll                     // who is active, if that is asked
	started, ended time.Time
	answer         Answer
	err            error
}

func (p *Poller) begin(why Why) *reading {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := &reading{why: why, by: map[netip.Addr][]*watched{}, started: time.Now()}
	wanted := map[Want]bool{}
	for _, w := range p.watched {
		w.sighted = false
		a := w.Path.Endpoint.Addr()
		r.by[a] = append(r.by[a], w)
		wanted[w.want()] = true
	}
	if why == Look {
		for _, w := range p.looks.at {
			wanted[w] = true
		}
	}
	if p.cfg.Kind.Named {
		for w := range wanted {
			r.of = append(r.of, w)
		}
	}
	if why == Look {
		r.called = newRoll(p.cfg.Kind.Named, r.of, r.started)
	}
	return r
}

// active takes one address of the answer.
func (r *reading) active(under ledger.ServicePort, at netip.AddrPort) {
	a := at.Addr().Unmap().WithZone("")
	for _, w := range r.by[a] {
		if (at.Port() == 0 || at.Port() == w.Path.Endpoint.Port()) && (under == ledger.ServicePort{} || under == w.Path.Service) {
			w.sighted = true
		}
	}
	if r.called != nil {
		r.called.add(under, netip.AddrPortFrom(a, at.Port()))
	}
}
