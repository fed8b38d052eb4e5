package hub

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/hub/serving"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// reading is which replicas of consumers are known, and which of them are read.
type reading struct {
	kinds   map[string]*readKind
	strange string // a kind that this hub was not told of
}

type readKind struct {
	of, unread int
	example    string // one that is not read, and why
}

// toldBy is a replica and whose agent tells of it.
type toldBy struct {
	ledger.Consumer
	node *node
}

// told are the replicas of which agents tell, each once: of those that an agent is beside, that one's word counts.
func told(nodes, besides []*node) iter.Seq[toldBy] {
	return func(yield func(toldBy) bool) {
		beside := map[[2]string]bool{}
		for _, n := range slices.Concat(besides, nodes) {
			for _, c := range n.reads() {
				of := [2]string{c.Place, c.Replica}
				if n.beside != "" {
					beside[of] = true
				} else if len(beside) > 0 && beside[of] {
					continue
				}
				if !yield(toldBy{c, n}) {
					return
				}
			}
		}
	}
}

// reading sums up what agents say of the replicas on their nodes.
func (j *joiner) reading(nodes, besides []*node) reading {
	r := reading{kinds: map[string]*readKind{}}
	for c := range told(nodes, besides) {
		if c.Place != besideUnknown && !j.kindKnown(c.Place) {
			if r.strange == "" || c.Place < r.strange {
				r.strange = c.Place
			}
			continue
		}
		k := r.kinds[c.Place]
		if k == nil {
			k = &readKind{}
			r.kinds[c.Place] = k
		}
		k.of++
		if c.Unread == "" {
			continue
		}
		k.unread++
		if example := c.Replica + ": " + c.Unread; k.example == "" || example < k.example {
			k.example = example
		}
	}
	return r
}

// known reports whether some replica of a way's kind of places is known. DNS is CoreDNS, and a cache before it.
func (r reading) known(place string) bool {
	return r.kinds[place] != nil || place == "dns" && r.kinds["node-local-dns"] != nil
}

// served is what of a workload's ways nobody reads.
type served struct {
	unread []report.Missing
	soon   bool // in a moment more may be known
}

// served says it of a row's workload, once for all rows of a census.
func (j *joiner) served(c census, k workloadKey) served {
	s, ok := c.serving[k]
	if !ok {
		s = j.ways(c.reading, k)
		c.serving[k] = s
	}
	return s
}

func (j *joiner) ways(r reading, k workloadKey) served {
	if j.serves == nil {
		return served{unread: r.missing(serving.Serves{Other: Consumers})}
	}
	ways, soon := j.serves(k.namespace, k.workload)
	return served{r.missing(ways), soon}
}

// missing names the kinds of places that serve a workload, or may, and of which a replica is not read or none is known.
func (r reading) missing(s serving.Serves) (ms []report.Missing) {
	add := func(kind, why string, args ...any) {
		ms = append(ms, report.Missing{Place: kind, Kind: kind, Why: fmt.Sprintf(why, args...)})
	}
	sure := map[bool]string{false: "it serves this workload", true: "it may serve this workload"}[s.Maybe]
	for _, name := range slices.Sorted(maps.Keys(r.kinds)) {
		k := r.kinds[name]
		reached := s.Reaches(name) || name == "node-local-dns" && s.Reaches("dns")
		replicas := report.Plural(k.of, "replica")
		switch {
		case k.unread == 0:
		case reached && !s.Maybe && !slices.Contains(s.Other, name):
			add(name, "it serves this workload, and %d of %s cannot be read (%s)", k.unread, replicas, k.example)
		case reached, s.Unknown != "", !serving.Declared(name):
			add(name, "%d of %s cannot be read, and whether they send to this pod is not known (%s)", k.unread, replicas, k.example)
		}
	}
	for _, w := range s.Ways {
		switch {
		case w.Place == kubeProxy:
		case w.Place == "":
			add(w.Controller, "%s, and lastcall does not know how to read it", sure)
		case !r.known(w.Place):
			add(w.Place, "%s%s, and no agent reads a replica of it", sure, through(w))
		}
	}
	if r.strange != "" {
		add(r.strange, kindUnknown)
	}
	if s.Unknown != "" {
		add("consumers", "which of them serve this workload is not known: %s", s.Unknown)
	}
	slices.SortStableFunc(ms, func(a, b report.Missing) int { return cmp.Compare(a.Place, b.Place) })
	return ms
}

func through(w serving.Way) string {
	switch {
	case w.Place == "dns":
		return " by a headless Service"
	case w.Controller == "":
		return ""
	}
	return " (" + w.Controller + ")"
}

// notMeasured names the kinds of places that serve a workload and that nobody reads now.
func (h *Hub) notMeasured(k workloadKey) []report.Missing {
	if h.cfg.Serves == nil {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.cfg.Now()
	return h.join.ways(h.join.census(now, now.Add(joinSlack)).reading, k).unread
}

// unserved are kinds of places that lead to some Service and of which no agent knows a replica: they are places too.
func (h *Hub) unserved(r reading) (ps []report.Place) {
	if h.cfg.Served == nil {
		return nil
	}
	for _, s := range h.cfg.Served() {
		name := cmp.Or(s.Place, s.Controller)
		if s.Place == kubeProxy || s.Place != "" && r.known(s.Place) || slices.ContainsFunc(ps, func(p report.Place) bool { return p.Kind == name }) {
			continue
		}
		why := "no agent reads a replica of it"
		if s.Place == "" {
			why = "lastcall does not know how to read it"
		}
		ps = append(ps, report.Place{Kind: name, State: report.PlaceNotMeasured,
			Why: fmt.Sprintf("it serves %s, such as %s/%s, and %s", report.Plural(s.Services, "Service"), s.Example.Namespace, s.Example.Name, why)})
	}
	return ps
}

// NoRoutes is Config.Serves where nobody looks at routes: which consumers serve a workload is said to be unknown.
func NoRoutes(string, string) (s serving.Serves, soon bool) {
	return serving.Serves{Unknown: "the hub was told not to look at routes (--routes=false)"}, false
}
