package probes

import (
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lastcall-k8s/lastcall/ledger"
)

// event takes in what happened to a connection; at is when it was received.
func (ls *leavings) event(e flowEvent, at time.Time) {
	f := ls.flows[e.orig]
	switch {
	case e.kind == flowNew:
		if f != nil {
			ls.forget(f) // its end was not told
		}
		ls.began(e, at)
	case f != nil && f.path != nil:
		if e.kind == flowDestroy {
			f.path.datagrams.gone(at)
			ls.forget(f)
		}
	case e.kind == flowDestroy && f != nil:
		ls.destroyed(f, e, at)
	case e.kind == flowUpdate && e.tcpState == tcpSynRecv && e.status&ctAssured != 0:
		ls.revived(f, e, at)
	case e.kind == flowUpdate:
		ls.updated(f, e, at)
	}
}

// began: a connection passed the rules as a new one.
func (ls *leavings) began(e flowEvent, at time.Time) {
	l, path := ls.owner(e)
	if l == nil {
		return
	}
	if path != nil && l.landed(path.Endpoint) && len(ls.suspects) < maxSuspects {
		ls.suspects = append(ls.suspects, suspect{l, *path, at})
	}
	if path != nil && e.orig.proto == unix.IPPROTO_UDP {
		ls.datagram(l, l.paths[*path], e, at)
		return
	}
	// Nobody answers a datagram for certain. And what does not begin with a SYN had begun before, and its entry is lost: when
	// a pod's interface goes, nf_nat_masquerade wipes what was masqueraded to it, and the next segment makes an entry
	// anew (nf_conntrack_tcp_loose).
	if e.orig.proto != unix.IPPROTO_TCP || e.tcpState != tcpSynSent {
		return
	}
	if f := ls.track(l, e, at); f != nil {
		ls.waiting = append(ls.waiting, f)
	}
}

// track counts a connection and follows it, if there is room.
func (ls *leavings) track(l *leaving, e flowEvent, at time.Time) *flow {
	f := &flow{leaving: l, key: e.orig, at: at, dnat: e.orig.dst != e.reply.src}
	f.way().New++
	l.w.Last = at
	if l.w.Own {
		if l.w.Began == nil {
			l.w.Began = ledger.NewSeries(l.w.Since)
		}
		l.w.Began.Add(at)
	}
	if !ls.follow(f) {
		return nil
	}
	return f
}

// follow keeps a connection until its end, if there is room.
func (ls *leavings) follow(f *flow) bool {
	if len(ls.flows) >= maxFlows {
		f.missed(ledger.MissedCapacity)
		return false
	}
	ls.flows[f.key] = f
	f.tracked++
	return true
}

// destroyed: an entry is gone. The only answer to a connection having been a reset, it goes at once
// (nf_conntrack_proto_tcp.c, nf_conntrack_tcp_packet); under pressure, by a flush or with the pod's interface it goes in the
// state it was in. Where that is not told, only what goes within a round trip is taken for a reset.
func (ls *leavings) destroyed(f *flow, e flowEvent, at time.Time) {
	reset := e.tcpState == tcpClose || e.tcpState == 0 && at.Sub(f.at) < roundTrip
	if !f.answered && e.status&ctSeenReply == 0 && reset {
		f.way().Reset++
		f.refused()
	}
	ls.forget(f)
}

// revived: a SYN that reused the addresses and ports of an ended connection was answered. The entry keeps its
// translation, so the rules were not asked.
func (ls *leavings) revived(f *flow, e flowEvent, at time.Time) {
	l, path := ls.owner(e)
	if l == nil {
		return
	}
	if path != nil && l.landed(path.Endpoint) {
		l.w.Reused++
		ls.afterLanding(ledger.ReusedEntry)
	}
	if f != nil {
		ls.forget(f)
	}
	if f := ls.track(l, e, at); f != nil {
		f.answered = true
		f.accepted()
		if !l.w.Own {
			ls.forget(f)
		}
	}
}

// updated: a connection went on.
func (ls *leavings) updated(f *flow, e flowEvent, at time.Time) {
	ends := e.tcpState == tcpFinWait || e.tcpState == tcpClose
	if f == nil {
		if !ends || e.tcpState == tcpClose && !ls.older {
			return
		}
		// It began before the window.
		l, _ := ls.owner(e)
		if l == nil || !l.w.Own || len(ls.flows) >= maxFlows {
			return
		}
		f = &flow{leaving: l, key: e.orig, at: at, answered: true, established: true}
		ls.flows[f.key] = f
		l.tracked++
	}
	if e.status&ctSeenReply != 0 {
		f.answered = true
		if !f.w.Own {
			ls.forget(f)
			return
		}
	}
	if !ends {
		if e.tcpState >= tcpSynRecv && e.tcpState < tcpFinWait {
			f.accepted()
		}
		return
	}
	if f.closed {
		return
	}
	f.closed = true
	if f.established {
		f.ended(e.tcpState == tcpClose, at)
	}
	ls.closed = append(ls.closed, f)
	if len(ls.closed) > maxClosed {
		if old := ls.closed[0]; ls.flows[old.key] == old && old.closed {
			ls.forget(old)
		}
		ls.closed[0], ls.closed = nil, ls.closed[1:]
	}
}

func (l *leaving) ended(cut bool, at time.Time) {
	d := &l.drain
	if d.Ended == nil {
		d.Ended = ledger.NewSeries(l.w.Since)
	}
	d.Last = at
	d.Ended.Add(at)
	if !cut {
		d.Closed++
		return
	}
	if d.Resets == nil {
		d.Resets = ledger.NewSeries(l.w.Since)
	}
	d.Cut++
	d.Resets.Add(at)
}

func (f *flow) accepted() {
	f.established = true
	if f.at.After(f.drain.Accepted) {
		f.drain.Accepted = f.at
	}
}

func (ls *leavings) forget(f *flow) {
	if ls.flows[f.key] == f {
		delete(ls.flows, f.key)
		f.tracked--
	}
}

func (f *flow) way() *ledger.Flows {
	if f.dnat {
		return &f.w.DNAT
	}
	return &f.w.Direct
}

func (f *flow) refused() {
	if f.at.After(f.w.LastRefused) {
		f.w.LastRefused = f.at
	}
}

// owner is whose connection it is, and the path by which this node's rules sent it there, if they did.
func (ls *leavings) owner(e flowEvent) (*leaving, *ledger.Path) {
	at := ls.byAddr[e.reply.src.Addr()]
	for _, l := range slices.Backward(at) {
		if path := l.routed(e); path != nil {
			return l, path
		}
		if l.w.Own && !l.gone && l.serves(e.reply.src.Port()) && (e.orig.dst != e.reply.src || !l.here[e.orig.src.Addr()]) {
			return l, nil
		}
	}
	return nil, nil
}

// routed is the path by which the connection was sent to the pod: the frontend tells, another Service may lead to
// the same address.
func (l *leaving) routed(e flowEvent) *ledger.Path {
	for path, p := range l.paths {
		if path.Endpoint != e.reply.src || protoNumber(path.Service.Protocol) != e.orig.proto || e.orig.dst == e.reply.src {
			continue
		}
		if slices.ContainsFunc(p.frontends, func(f ledger.Frontend) bool {
			return f.Port == e.orig.dst.Port() && (!f.Addr.IsValid() || f.Addr == e.orig.dst.Addr())
		}) {
			return &path
		}
	}
	return nil
}

// serves reports whether connections to the port count: those that Services name; until one is known, those that are
// declared; without any, all.
func (l *leaving) serves(port uint16) bool {
	switch {
	case len(l.served) > 0:
		return l.served[port]
	case len(l.declared) > 0:
		return slices.Contains(l.declared, port)
	}
	return true
}

// landed reports whether every path to the endpoint has landed, and a connection that is received now began after that.
func (l *leaving) landed(endpoint netip.AddrPort) bool {
	for path, p := range l.paths {
		if path.Endpoint == endpoint && !p.sure {
			return false
		}
	}
	return true
}

func protoNumber(name string) uint8 {
	switch name {
	case "tcp":
		return unix.IPPROTO_TCP
	case "udp":
		return unix.IPPROTO_UDP
	case "sctp":
		return unix.IPPROTO_SCTP
	}
	return 0
}
