package hub

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"time"
	"unique"

	"github.com/lastcall-k8s/lastcall/ledger"
)

// Consumers are the kinds of places, besides kube-proxy, that agents know without being told. Config.Consumers adds those
// that a configuration declares. Kinds are values of labels: no others are taken from anybody.
var Consumers = []string{"traefik", "envoy", "ingress-nginx", "haproxy", "dns", "node-local-dns"}

// maxKinds is as many as a configuration of the agents may have.
const maxKinds = 16

// kindName is how agents let a kind be named.
var kindName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,30}$`)

// CheckConsumers says whether these kinds can be added.
func CheckConsumers(kinds []string) error {
	if len(kinds) > maxKinds {
		return fmt.Errorf("%d kinds: each is a value of labels, at most %d are taken", len(kinds), maxKinds)
	}
	for _, k := range kinds {
		if !kindName.MatchString(k) || k == kubeProxy {
			return fmt.Errorf("%q: want a name of lower-case letters, digits and -, such as kong", k)
		}
	}
	return nil
}

// Limits of what an agent can make the hub hold of consumers. It reads at most 32 replicas, in two families.
const (
	maxConsumers = 64  // replicas that one agent names
	maxOthers    = 128 // parts of a row that the agents of a node tell, however often they begin anew
	// othersWeigh is what a part in a map takes, in parts of a slice.
	othersWeigh = 3
)

// other is a place that is not a node's kube-proxy: a replica of a consumer on a node, in one family, as one boot of its
// agent tells of it. The next boot takes nothing up: it has not looked at the replica before, so it is another place.
type other struct {
	boot          *boot
	kind, replica string
	family        ledger.Family
}

// fact is what a kind's answers are worth.
type fact struct {
	fidelity string
	lag      float64
}

const kindUnknown = "the hub was not told of this kind of place: name it in --consumer-kinds"

// kindKnown reports whether the hub was told of a kind of place.
func (j *joiner) kindKnown(kind string) bool {
	return slices.Contains(Consumers, kind) || slices.Contains(j.kinds, kind)
}

// nowhere says what is wrong with the place that a line is about.
func (j *joiner) nowhere(n *node, e *ledger.Event) string {
	switch {
	case n.beside != "" && n.foreign(e):
		return "an agent beside a consumer tells of that replica alone"
	case e.Type != ledger.EventRemovals:
	case e.Place == kubeProxy && e.Replica == "":
	case e.Place == kubeProxy, e.Replica == "" || len(e.Replica) > 512, len(e.Backend) > 64:
		return "a place that is none"
	case !j.kindKnown(e.Place):
		return "a kind of place that this hub does not know" // it becomes the value of a label
	}
	return ""
}

// consumed takes in which replicas an agent reads or should.
func (n *node) consumed(told []ledger.Consumer) string {
	if len(told) > maxConsumers {
		return "too many consumers"
	}
	list := make([]ledger.Consumer, len(told))
	for i, c := range told {
		if c.Place == "" || c.Place == kubeProxy || len(c.Place) > 64 || c.Replica == "" || len(c.Replica) > 512 || !(c.Lag >= 0 && c.Lag < 1e6) {
			return "a consumer that is none"
		}
		if n.beside != "" && c.Replica != n.beside {
			return "an agent beside a consumer tells of others"
		}
		c.Fidelity, c.Unread = bound(c.Fidelity, 64), bound(c.Unread, 256)
		list[i] = c
	}
	n.consumers = list
	return ""
}

// other is the part of a replica, nil if its agent told of too many.
func (j *joiner) other(r *row, n *node, e *ledger.Event, now time.Time) *part {
	k := other{n.boot, e.Place, unique.Make(e.Replica).Value(), e.Family}
	if p := r.others[k]; p != nil {
		return p
	}
	if r.told[n] >= maxOthers {
		return nil
	}
	if r.others == nil {
		r.others, r.told, r.facts = map[other]*part{}, map[*node]int{}, map[string]fact{}
	}
	j.room(r, othersWeigh, now)
	p := &part{boot: n.boot}
	r.others[k] = p
	r.told[n]++
	j.held += othersWeigh
	f := fact{fidelity: e.Backend, lag: r.facts[k.kind].lag}
	for _, c := range n.consumers {
		if c.Place == k.kind {
			f.lag = max(f.lag, c.Lag)
		}
	}
	r.facts[k.kind] = f
	return p
}

// lookOthers copies the parts for a sight.
func (r *row) lookOthers() map[other]*part {
	all := maps.Clone(r.others)
	for k, p := range all {
		copied := p.copied()
		all[k] = &copied
	}
	return all
}

// spot says which place of its node a part is of.
type spot struct {
	kind, replica string // "" of kube-proxy
	family        ledger.Family
}

func (s spot) compare(o spot) int {
	return cmp.Or(cmp.Compare(s.kind, o.kind), cmp.Compare(s.replica, o.replica), cmp.Compare(s.family, o.family))
}
