// Package consumer reads which endpoints a replica of an ingress controller, a DNS server or a mesh proxy
// sends new connections to, and times when it stops to.
//
// A [Kind] says how replicas are found, how one is read and what its answer is worth. Reading is a
// request and a pure parser, which names the ACTIVE addresses: one that drains is not among them. A
// [Poller] reads one replica while removals are pending there, and tells when they landed.
package consumer

import (
	"context"
	"net/netip"
	"time"

	"github.com/lastcall-k8s/lastcall/ledger"
)

// Fidelity says what an answer shows.
type Fidelity string

const (
	// ShowsDataplane: what decides where the next connection goes.
	ShowsDataplane Fidelity = "dataplane"
	// ShowsConfig: what the dataplane will follow, within the lag bound.
	ShowsConfig Fidelity = "config"
)

// Kind is one kind of consumer. Its name is the place kind, a label value everywhere.
type Kind struct {
	Name     string
	Fidelity Fidelity
	// Lag is how much later than what an answer shows new connections may still follow what was before.
	Lag time.Duration
	// LagGone is that of an address that is not in the answer at all, where Answer.Drains tells.
	LagGone time.Duration
	// Named: an answer covers the Services that were asked for, not everything.
	Named bool
	// Find tells its replicas among pods, by labels that its usual manifests set.
	Find []Finder
	// Open prepares to read a replica; it sends nothing.
	Open func(Source) (*Reader, error)
}

// Kinds are all that are built in. A configuration may add scrapes, which are declared (see Scrape).
var Kinds = []Kind{traefik, envoy, ingressNginx, haproxy, dnsServer, nodeLocalDNS}

// Reader reads one replica.
type Reader struct {
	// Read asks once, and calls active for every address that new connections are sent to, with the
	// Service it was found under if the kind is Named. Only if it returns nil is an address that
	// was not named not active.
	Read func(ctx context.Context, of []Want, active Active) (Answer, error)
	// Close drops connections that are kept.
	Close func()
}

// Active is told of an address. Port 0 stands for every port.
type Active func(under ledger.ServicePort, at netip.AddrPort)

// Want is what a Named kind is asked for.
type Want struct {
	Service ledger.ServicePort
	Family  ledger.Family
}

// Answer is what a complete reading says beyond who is active.
type Answer struct {
	// Age: what it shows may be that old.
	Age time.Duration
	// Lag is added to the kind's.
	Lag time.Duration
	// Drains are the addresses that are listed and not active; nil if the answer does not tell them from those that are gone.
	Drains map[netip.AddrPort]struct{}
	// Hold: it will show the same for that long, asking earlier teaches nothing.
	Hold time.Duration
	// Again: asking once more after this long teaches how the replica answers; zero if that is known.
	Again time.Duration
}

// lagOf is how much later than an answer new connections may still go to an address that is not active in it.
func (k Kind) lagOf(at netip.AddrPort, a Answer) time.Duration {
	if _, drains := a.Drains[at]; drains || a.Drains == nil {
		return k.Lag + a.Lag
	}
	return k.LagGone + a.Lag
}

func kindNamed(name string) (Kind, bool) {
	for _, k := range Kinds {
		if k.Name == name {
			return k, true
		}
	}
	return Kind{}, false
}
