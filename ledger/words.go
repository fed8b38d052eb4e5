// Package ledger pairs what the API says must go with what each place did about it.
//
// The watcher tells it that paths left the expected set ([Change]), the probes tell it when they
// landed ([Landing]); either may come first. Every removal ends in exactly one [Outcome], which the
// ledger counts in metrics and writes to a bounded ring of events. It knows neither Kubernetes
// nor netlink, and it never reads a clock: every value carries its own time.
package ledger

import (
	"net/netip"
	"strings"
	"time"
)

// Family is the IP family of a path: "ipv4" or "ipv6". kube-proxy runs one independent proxier per family.
type Family string

const (
	IPv4 Family = "ipv4"
	IPv6 Family = "ipv6"
)

// FamilyOf is the family of an address; IPv4-mapped IPv6 addresses count as ipv4.
func FamilyOf(a netip.Addr) Family {
	if a.Unmap().Is4() {
		return IPv4
	}
	return IPv6
}

// Policy is the set of endpoints a frontend chooses from: all of them, or those on its own node.
type Policy string

const (
	Cluster Policy = "cluster"
	Local   Policy = "local"
)

// ServicePort names one port of one Service.
type ServicePort struct {
	Namespace, Name string
	Port            string // the port's name in the Service; "" is a valid name
	Protocol        string // "tcp", "udp" or "sctp", in lower case as kube-proxy writes it
}

// String is kube-proxy's own spelling, "ns/name:port", or "ns/name" when the port has no name
// (k8s v1.36.3 pkg/proxy/types.go, ServicePortName.String).
func (s ServicePort) String() string {
	name := s.Namespace + "/" + s.Name
	if s.Port == "" {
		return name
	}
	return name + ":" + s.Port
}

// Path is one way a place can reach an endpoint. It is comparable and used as a key.
type Path struct {
	Service  ServicePort
	Policy   Policy
	Endpoint netip.AddrPort
}

// Family is the family of the path's endpoint.
func (p Path) Family() Family { return FamilyOf(p.Endpoint.Addr()) }

// Frontend is an address through which new connections enter a service port.
// A node port has no address of its own: Addr is the zero Addr then.
type Frontend struct {
	Addr netip.Addr
	Port uint16
}

// Key identifies a removal at one place: a path and the pod that leaves it. The UID is part of
// it because another pod may take the same address and port while the removal is pending.
type Key struct {
	Path Path
	UID  string
}

// Removal is one path of this node's place that should be given up because of a departure.
type Removal struct {
	Key
	// Frontends are those of the service port in the path's family just before the removal.
	Frontends []Frontend
	// ExpectedSince is when the path last entered the expected set of this node; the zero time if
	// that was before the agent started. A commit before it cannot have removed this path.
	ExpectedSince time.Time
	// Seen is receipt of the API event after which the expected set lacks the path.
	Seen time.Time
	// Rearmed is set for a terminating endpoint found in the baseline of a restarted agent, and for what a
	// list found gone after a hole in the watch: it left the expected set at an unknown time before Seen.
	Rearmed bool
}

// Reason says why a pod departs.
type Reason string

const (
	Delete       Reason = "delete"
	Evict        Reason = "evict"
	Preempt      Reason = "preempt"
	Force        Reason = "force"         // grace period 0: the object vanishes at once
	NodeShutdown Reason = "node-shutdown" // the API learns of it when containers are dead: T0 unknown
	KubeletEvict Reason = "kubelet-evict" // likewise
	NodeLost     Reason = "node-lost"
	Completed    Reason = "completed"
	Unready      Reason = "unready"  // no pod leaves
	Selector     Reason = "selector" // no pod leaves
	// Vanished: the endpoint left the slices and this agent does not watch its pod, so it
	// cannot tell force from selector. The agent on the pod's own node can.
	Vanished Reason = "vanished"
)

// T0Source says what a departure's T0 was read from.
type T0Source string

const (
	FromPod      T0Source = "pod"       // receipt of the deletion by the agent on the pod's own node
	FromSlice    T0Source = "slice"     // receipt of the first EndpointSlice that shows the pod leaving
	FromDeletion T0Source = "timestamp" // deletionTimestamp - deletionGracePeriodSeconds: true T0 in [x, x+1 s), API server's clock
	T0Unknown    T0Source = "unknown"
)

// Pod is who departs.
type Pod struct {
	UID       string `json:"uid"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Node      string `json:"node,omitempty"`
}

// Departure is one pod that starts to leave, as far as this agent knows. An unready pod that is
// then deleted is announced again with the better reason and keeps its removals.
type Departure struct {
	Pod    Pod
	Reason Reason
	// T0 is a lower bound of preStop's start as seen from here; the hub takes the earliest of all agents.
	T0     time.Time
	Source T0Source
	// Grace is deletionGracePeriodSeconds of the first deletion seen; -1 if unknown.
	Grace int64
	// Workload is "type/name" of the owner (type in lower case), "" if unknown.
	Workload string
	// Revision is the hash of the pod template it was made from, "" if unknown.
	Revision string
	// Containers of the pod, as its own node's agent saw them; nil elsewhere.
	Containers []Container
	// Addrs are the pod's addresses, as its own node's agent saw them; nil elsewhere.
	Addrs []netip.Addr
	// ResourceVersion of the object that showed it.
	ResourceVersion string
}

// Farewell is what a departing pod's own node tells of its end.
type Farewell struct {
	Pod   Pod
	Exits []Exit // all containers that have ended
	Gone  bool   // the pod's object is gone
}

// Change is one thing the watcher learnt. Exactly one field is set.
type Change struct {
	// At is receipt of the API event that caused the change.
	At time.Time
	// ResourceVersion of the object whose event it was; "" for a list.
	ResourceVersion string
	// Headless: it is of a Service without cluster IP.
	Headless bool
	// Departed announces a departure, before the removals it causes.
	Departed *Departure
	// Farewell tells how a departing pod ended, after its Departed.
	Farewell *Farewell
	// Left: the path is no longer expected, the removal is pending from now on.
	Left *Removal
	// Retained: the pod departs and the place keeps the path on purpose (KEP-1669: no other usable
	// endpoint; publishNotReadyAddresses). Followed by Left when that ends.
	Retained *Removal
	// Returned: the same pod is expected on the path again.
	Returned *Key
	// Entered: the pod is expected on the path from now on. The ledger takes no note of it.
	Entered *Key
	// Superseded: a live pod with another UID took the same path.
	Superseded *Key
	// Excluded: this node (the place itself) is going: everything open ends.
	Excluded bool
}

// Interval is a half-open span (Lo, Hi]. The zero Lo means that there is no lower bound.
type Interval struct {
	Lo time.Time `json:"lo,omitzero"`
	Hi time.Time `json:"hi,omitzero"`
}

// Slop is the interval's width, and ok is false if it has no lower bound.
func (i Interval) Slop() (d time.Duration, ok bool) {
	if i.Lo.IsZero() {
		return 0, false
	}
	return i.Hi.Sub(i.Lo), true
}

// Landing is a probe's word that no new connection entering the place can take the path any more.
type Landing struct {
	Key
	Interval
	// Seen is that of the removal it was read for: the same path may have been opened anew since.
	Seen time.Time
	// Generation is the kernel's rule set generation by which the path was gone; 0 where there is none.
	Generation uint64
	// Candidates are the commits it may have been, oldest first, if more than one.
	Candidates []Interval
	// Absent: no commit since the path was expected can have removed it, and it is not there:
	// it was never programmed here.
	Absent bool
	// Unknown: it is not there, and nobody had looked before: whether it ever was cannot be said. It ends as gap.
	Unknown bool
}

// Outcome is how a removal ended. Every removal has exactly one.
type Outcome string

const (
	Landed   Outcome = "landed"
	Restored Outcome = "restored"   // ready again before it was removed
	Replaced Outcome = "superseded" // a live pod took the same address and port
	Absent   Outcome = "absent"     // expected, but never programmed here
	Expired  Outcome = "expired"    // still routed after the horizon
	Excluded Outcome = "excluded"   // the place itself ended
	Gap      Outcome = "gap"        // we were not watching and can give no bound
)

// Outcomes lists every outcome, in the order they are documented.
var Outcomes = []Outcome{Landed, Restored, Replaced, Absent, Expired, Excluded, Gap}

// ParseFamily accepts "ipv4"/"IPv4" and "ipv6"/"IPv6", as in EndpointSlice.addressType.
func ParseFamily(s string) (Family, bool) {
	switch f := Family(strings.ToLower(s)); f {
	case IPv4, IPv6:
		return f, true
	}
	return "", false
}
