package watcher

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/lastcall-k8s/lastcall/ledger"
)

// state is what the API said, and turns what it says next into changes. It does no I/O, reads no
// clock and starts nothing: every method takes the receipt of the event and returns what follows.
//
// Until arm is called the events of the first lists are only taken in: they are the baseline.
type state struct {
	place
	base  time.Time // of endpoint.since; set by arm
	armed bool
	// nodeKnown: the own Node exists.
	nodeKnown bool
	nodeUID   string

	services map[name]*entry
	owners   map[name]name // the service whose entry holds the slice
	pods     map[name]*ownPod
	uids     map[string]*ownPod // the same pods by UID

	departures departures
	left       leftPaths
	ready      readyPaths

	pass uint32
	out  []ledger.Change
}

// entry is a Service and its slices; either may come first.
type entry struct {
	service *service
	slices  []namedSlice // by name
}

type namedSlice struct {
	name string
	*slice
}

type ownPod struct {
	*pod
	name
	told   bool      // its departure was announced, or is over
	over   bool      // it had left before the agent started: nothing more is told
	exited int       // how many exits were told
	at     time.Time // of the event that told of its departure
}

func newState(node string) *state {
	return &state{
		place:      place{node: node},
		services:   map[name]*entry{},
		owners:     map[name]name{},
		pods:       map[name]*ownPod{},
		uids:       map[string]*ownPod{},
		departures: departures{known: map[string]departure{}},
		left:       leftPaths{byPath: map[ledger.Path]*leftPath{}},
		ready:      readyPaths{since: map[ledger.Path]time.Time{}, left: leftPaths{byPath: map[ledger.Path]*leftPath{}}},
	}
}

// cause is the event that is being applied.
type cause struct {
	at      time.Time
	version string // resourceVersion of the object that changed
	// relisted: a list had to bridge a hole in the watch, so at is only an upper bound.
	relisted bool
}

// set takes in an object that was added or modified.
func (s *state) set(o *object) []ledger.Change {
	return s.collect(func() { s.put(o, cause{at: o.at, version: o.version}) })
}

// drop takes in that an object is gone; o is its last state.
func (s *state) drop(o *object) []ledger.Change {
	return s.collect(func() { s.remove(o, cause{at: o.at, version: o.version}) })
}

// replace takes in the complete list of one kind.
func (s *state) replace(k kind, list []*object, at time.Time) []ledger.Change {
	c := cause{at: at, relisted: true}
	return s.collect(func() {
		switch k {
		case services:
			s.replaceServices(list, c)
		case endpointSlices:
			s.replaceSlices(list, c)
		case pods:
			listed := make(map[name]bool, len(list))
			for _, o := range list {
				listed[o.name] = true
			}
			for _, n := range sortedNames(s.pods) {
				if !listed[n] {
					s.dropPod(n, nil, c)
				}
			}
			for _, o := range list {
				c.version = o.version
				s.put(o, c)
			}
		case nodes:
			if len(list) == 0 {
				list = []*object{{kind: nodes}}
			}
			s.put(list[0], c)
		}
	})
}

func (s *state) collect(f func()) []ledger.Change {
	f()
	out := s.out
	s.out = nil
	return out
}

func (s *state) put(o *object, c cause) {
	switch o.kind {
	case services:
		s.touch(o.name, c, func(e *entry) { e.service = o.service })
	case endpointSlices:
		s.putSlice(o.name, o.slice, c)
	case pods:
		s.putPod(o.name, o.pod, c)
	case nodes:
		s.putNode(o.node, c)
	}
}

func (s *state) remove(o *object, c cause) {
	switch o.kind {
	case services:
		s.touch(o.name, c, func(e *entry) { e.service = nil })
	case endpointSlices:
		s.putSlice(o.name, nil, c)
	case pods:
		s.dropPod(o.name, o.pod, c)
	case nodes:
		s.putNode(nil, c)
	}
}

// touch changes one service and tells what that means for its paths.
func (s *state) touch(n name, c cause, change func(*entry)) {
	e := s.services[n]
	if e == nil {
		e = &entry{}
		s.services[n] = e
	}
	if !s.armed {
		change(e)
	} else {
		before := e.expect(s.place)
		var ready map[ledger.Path]*endpoint
		headless := e.service != nil && e.service.headless
		if s.ready.asked {
			ready = e.ready(n)
		}
		change(e)
		s.compare(n, e, before, e.expect(s.place), c)
		if s.ready.asked {
			s.compareReady(ready, e.ready(n), headless || e.service != nil && e.service.headless, c)
		}
	}
	if e.service == nil && len(e.slices) == 0 {
		delete(s.services, n)
	}
}

func (e *entry) expect(at place) []expectation {
	if e.service == nil || len(e.slices) == 0 {
		return nil
	}
	sls := make([]*slice, len(e.slices))
	for i := range e.slices {
		sls[i] = e.slices[i].slice
	}
	return expect(e.service, sls, at)
}

// putSlice stores a slice, or takes it out if sl is nil. A slice may be relabelled to another Service.
func (s *state) putSlice(n name, sl *slice, c cause) {
	owner, held := s.owners[n]
	if held && (sl == nil || sl.service != owner.name) {
		delete(s.owners, n)
		s.touch(owner, c, func(e *entry) { e.put(n.name, nil) })
	}
	if sl != nil {
		owner = name{n.namespace, sl.service}
		s.owners[n] = owner
		s.touch(owner, c, func(e *entry) { e.put(n.name, sl) })
	}
}

func (e *entry) put(n string, sl *slice) {
	i, found := slices.BinarySearchFunc(e.slices, n, func(x namedSlice, n string) int { return cmp.Compare(x.name, n) })
	switch {
	case found && sl == nil:
		e.slices = slices.Delete(e.slices, i, i+1)
	case found:
		e.slices[i].slice = sl
	case sl != nil:
		e.slices = slices.Insert(e.slices, i, namedSlice{n, sl})
	}
}

func (s *state) replaceServices(list []*object, c cause) {
	listed := make(map[name]*object, len(list))
	for _, o := range list {
		listed[o.name] = o
	}
	for _, n := range sortedNames(s.services) {
		if listed[n] == nil && s.services[n].service != nil {
			s.touch(n, c, func(e *entry) { e.service = nil })
		}
	}
	for _, o := range list {
		c.version = o.version
		s.put(o, c)
	}
}

// replaceSlices takes the slices of a service together, lest an endpoint that moved between two of
// them meanwhile seems to have been gone.
func (s *state) replaceSlices(list []*object, c cause) {
	byService := map[name]map[string]*slice{}
	for n, owner := range s.owners {
		if byService[owner] == nil {
			byService[owner] = map[string]*slice{}
		}
		byService[owner][n.name] = nil
	}
	clear(s.owners)
	for _, o := range list {
		if o.slice == nil {
			continue
		}
		owner := name{o.namespace, o.slice.service}
		if byService[owner] == nil {
			byService[owner] = map[string]*slice{}
		}
		if other, twice := s.owners[o.name]; twice {
			byService[other][o.name.name] = nil
		}
		byService[owner][o.name.name] = o.slice
		s.owners[o.name] = owner
	}
	for _, owner := range sortedNames(byService) {
		s.touch(owner, c, func(e *entry) {
			for n, sl := range byService[owner] {
				e.put(n, sl)
			}
		})
	}
}

// putNode takes in the own node, nil if it does not exist. Its zone decides which hints count.
func (s *state) putNode(n *node, c cause) {
	now := s.place
	if n == nil {
		// kube-proxy keeps the labels it knows of a node that is gone.
		if s.armed && s.nodeKnown {
			s.out = append(s.out, ledger.Change{At: c.at, Excluded: true})
			if s.ready.asked {
				s.ready.out = append(s.ready.out, ledger.Change{At: c.at, Excluded: true})
			}
		}
		s.nodeKnown = false
		return
	}
	s.nodeKnown, s.nodeUID = true, n.uid
	now.zone = n.zone
	if now == s.place {
		return
	}
	was := s.place
	s.place = now
	if !s.armed {
		return
	}
	for _, sn := range sortedNames(s.services) {
		e := s.services[sn]
		if e.hinted() {
			s.compare(sn, e, e.expect(was), e.expect(now), c)
		}
	}
}

func (e *entry) hinted() bool {
	for _, sl := range e.slices {
		for i := range sl.endpoints {
			if !sl.endpoints[i].zones.empty() {
				return true
			}
		}
	}
	return false
}

func sortedNames[V any](m map[name]V) []name {
	return slices.SortedFunc(maps.Keys(m), func(a, b name) int {
		return cmp.Or(cmp.Compare(a.namespace, b.namespace), cmp.Compare(a.name, b.name))
	})
}
