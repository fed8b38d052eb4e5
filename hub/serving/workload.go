package serving

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// Index answers for workloads. Nothing in it changes.
type Index struct {
	services map[string][]reached // by namespace
	other    []string             // kinds of places that are led elsewhere, see Reference.Other
	serves   []Served
}

type reached struct {
	Service
	ways []Way
}

// Served is a way with how many Services it leads to.
type Served struct {
	Way
	Services int
	Example  Name
}

// Serves says how a workload is reached.
type Serves struct {
	Ways []Way
	// Maybe: which Services select it is not known; these are the ways to all of its namespace.
	Maybe bool
	// Other are kinds of places whose routes name something that is no Service: they may lead to anybody.
	Other []string
	// Unknown is why nothing is known, "" if something is.
	Unknown string
}

// Index prepares the objects for questions.
func (o Objects) Index() *Index {
	x := &Index{services: map[string][]reached{}}
	ways := o.Ways()
	served := map[Way]*Served{}
	for _, s := range o.Services {
		ws := ways[s.Name]
		if len(ws) == 0 {
			continue
		}
		x.services[s.Namespace] = append(x.services[s.Namespace], reached{s, ws})
		for _, w := range ws {
			if served[w] == nil {
				served[w] = &Served{Way: w, Example: s.Name}
			}
			n := served[w]
			n.Services++
			if byName(s.Name, n.Example) < 0 {
				n.Example = s.Name
			}
		}
	}
	for _, w := range slices.SortedFunc(maps.Keys(served), byWay) {
		x.serves = append(x.serves, *served[w])
	}
	for _, r := range o.References {
		if !r.Other {
			continue
		}
		for _, w := range o.through(r) {
			if w.Place != "" && !slices.Contains(x.other, w.Place) {
				x.other = append(x.other, w.Place)
			}
		}
	}
	slices.Sort(x.other)
	return x
}

// Served are all ways that lead to some Service, sorted.
func (x *Index) Served() []Served { return x.serves }

// Serves says how the pods of a namespace with these labels are reached. Labels nil: which they have is not known.
func (x *Index) Serves(namespace string, labels map[string]string) Serves {
	s := Serves{Maybe: labels == nil, Other: x.other}
	for _, r := range x.services[namespace] {
		if labels != nil && !selects(r.Selector, labels) {
			continue
		}
		for _, w := range r.ways {
			if !slices.Contains(s.Ways, w) {
				s.Ways = append(s.Ways, w)
			}
		}
	}
	slices.SortFunc(s.Ways, byWay)
	return s
}

// given are labels that controllers give to the pods of a workload, beside those of its template: they differ from pod to pod.
var given = []string{"pod-template-hash", "controller-revision-hash", "pod-template-generation", "statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index"}

// selects reports whether a selector takes some pod of a workload. Without a selector, whoever fills the slices is not known
// here; what that leads to is passed over.
func selects(selector, labels map[string]string) bool {
	for k, v := range selector {
		if got, ok := labels[k]; (!ok || got != v) && !slices.Contains(given, k) {
			return false
		}
	}
	return len(selector) > 0
}

// Reaches reports whether a way, or a route that leads elsewhere, is through this kind of places.
func (s Serves) Reaches(place string) bool {
	return slices.Contains(s.Other, place) || slices.ContainsFunc(s.Ways, func(w Way) bool { return w.Place == place })
}

// declared are the kinds of places to which nothing leads but what is looked at here. Of the others, some take what they do
// from elsewhere: a mesh's Envoy from every Service there is, an HAProxy from its own file.
var declared = []string{"ingress-nginx", "traefik", "dns", "node-local-dns"}

// Declared reports whether a kind of places that a workload is not reached by surely does not send to it.
func Declared(place string) bool { return slices.Contains(declared, place) }

func byWay(a, b Way) int {
	return cmp.Or(strings.Compare(a.Place, b.Place), strings.Compare(a.Controller, b.Controller))
}

func byName(a, b Name) int {
	return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
}
