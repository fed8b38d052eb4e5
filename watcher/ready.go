package watcher

import (
	"time"

	"github.com/lastcall-k8s/lastcall/ledger"
)

// readyPaths follows the paths that places other than kube-proxy use: every endpoint that is ready, of headless
// Services too, whatever the topology says and whether or not another is left. They are compared beside
// kube-proxy's set, and only where somebody asks (Config.Ready).
type readyPaths struct {
	asked bool
	// since is when a path became ready; not there if that was before the agent started.
	since map[ledger.Path]time.Time
	left  leftPaths
	out   []ledger.Change
}

// ready are the paths of a Service's ready endpoints.
func (e *entry) ready(n name) map[ledger.Path]*endpoint {
	if e.service == nil || len(e.slices) == 0 {
		return nil
	}
	sls := make([]*slice, len(e.slices))
	for i := range e.slices {
		sls[i] = e.slices[i].slice
	}
	paths := map[ledger.Path]*endpoint{}
	for _, family := range []ledger.Family{ledger.IPv4, ledger.IPv6} {
		for _, port := range e.service.ports {
			for at, ep := range candidates(sls, port, family) {
				if ep.ready {
					path := expectation{port: port}.path(n, at)
					path.Policy = ledger.Cluster
					paths[path] = ep
				}
			}
		}
	}
	return paths
}

// compareReady tells which of a Service's ready paths left and which entered.
func (s *state) compareReady(before, after map[ledger.Path]*endpoint, headless bool, c cause) {
	r := &s.ready
	tell := func(ch ledger.Change) {
		ch.At, ch.ResourceVersion, ch.Headless = c.at, c.version, headless
		r.out = append(r.out, ch)
	}
	for path, ep := range before {
		now := after[path]
		if now != nil && now.uid == ep.uid {
			continue
		}
		key := ledger.Key{Path: path, UID: ep.uid}
		tell(ledger.Change{Left: &ledger.Removal{Key: key, ExpectedSince: r.since[path], Seen: c.at, Rearmed: c.relisted}})
		delete(r.since, path)
		if now != nil {
			tell(ledger.Change{Superseded: &key})
		} else {
			r.left.add(key, c.at)
		}
	}
	for path, ep := range after {
		if was := before[path]; was != nil && was.uid == ep.uid {
			continue
		}
		r.since[path] = c.at
		key := ledger.Key{Path: path, UID: ep.uid}
		switch uid, ok := r.left.take(path); {
		case ok && uid == ep.uid:
			tell(ledger.Change{Returned: &key})
		case ok:
			tell(ledger.Change{Superseded: &ledger.Key{Path: path, UID: uid}})
		}
		tell(ledger.Change{Entered: &key})
	}
}

// baselineReady tells of the headless Services that are there when the baseline is complete: DNS is asked by name.
func (s *state) baselineReady(c cause) {
	if !s.ready.asked {
		return
	}
	for _, n := range sortedNames(s.services) {
		e := s.services[n]
		if e.service == nil || !e.service.headless {
			continue
		}
		for path, ep := range e.ready(n) {
			s.ready.out = append(s.ready.out, ledger.Change{At: c.at, Headless: true, Entered: &ledger.Key{Path: path, UID: ep.uid}})
		}
	}
}

// tellReady passes on what was learnt of ready paths.
func (w *Watcher) tellReady() {
	if out := w.state.ready.out; len(out) > 0 {
		w.state.ready.out = nil
		w.cfg.Ready(out)
	}
}
