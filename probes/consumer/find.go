package consumer

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Finder tells the replicas of a consumer among pods.
type Finder struct {
	// Product names what has these labels, for people.
	Product   string
	Namespace string // "" for any
	Labels    map[string]string
	// Container is the one that routes, "" for the one that has the port, or else the first.
	Container string
	// The port of its pod: that of the container's port with PortName, or else Port.
	PortName string
	Port     uint16
	// Unread is why a replica cannot be read from its node, "" if it can.
	Unread string
	// Local is the port where it listens on its pod's localhost: it can be read by who enters the pod's network namespace.
	Local uint16

	tls, skipVerify bool
	path            string
}

// Pod is what of a pod tells whether it is a replica.
type Pod struct {
	UID, Namespace, Name string
	Labels               map[string]string
	IPs                  []netip.Addr
	Terminating          bool
	Containers           []Container
}

// Container is one of a pod's. Its ID is another after a restart.
type Container struct {
	Name, ID string
	Running  bool
	Ports    []Port
}

// Port is one that a container declares.
type Port struct {
	Name   string
	Number uint16
}

// Replica is one process that routes.
type Replica struct {
	Kind string
	// Name is "namespace/pod".
	Name string
	// Instance is the pod's UID and the container's ID: with another, it is another place.
	Instance string
	Source   Source
	// Unread is why it cannot be read, "" if it can.
	Unread string
}

const (
	// maxReplicas bounds how many replicas of a kind are read on one node: more are labels that are too wide.
	maxReplicas = 16
	// maxAllReplicas bounds those of all kinds.
	maxAllReplicas = 32
)

// Find tells the replicas among the pods of a node, sorted by kind and name, and what is wrong with that.
// A pod that terminates is none any more.
func (c Config) Find(pods []Pod) (replicas []Replica, notes []string) {
	pods = slices.Clone(pods)
	slices.SortFunc(pods, func(a, b Pod) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	taken := map[string]bool{} // a pod is of one kind: the first that is told
	for _, f := range c.finders() {
		matches, read := 0, 0
		for _, p := range pods {
			name := p.Namespace + "/" + p.Name
			if p.Terminating || taken[name] || !f.matches(p) {
				continue
			}
			r, up := f.replica(f.kind, p, c.domain(), c.Namespaces)
			if !up {
				continue
			}
			taken[name] = true
			if matches++; read >= maxReplicas || len(replicas) >= maxAllReplicas {
				continue
			}
			read++
			replicas = append(replicas, r)
		}
		if matches > read {
			why := fmt.Sprintf("the labels %s match %d pods on this node, of which %d are read; narrow them", labelText(f.Labels), matches, read)
			notes = append(notes, f.kind+": "+why)
			// Whom they send to nobody knows: they are replicas that are not read, all of them one.
			replicas = append(replicas, Replica{Kind: f.kind, Name: fmt.Sprintf("%d more", matches-read), Unread: why})
		}
	}
	for _, s := range c.beside {
		replicas = append(replicas, Replica{Kind: s.kind, Name: cmp.Or(c.Self, "beside"), Instance: s.source.String(), Source: s.source})
	}
	return replicas, notes
}

var localhost = netip.AddrFrom4([4]byte{127, 0, 0, 1})

func (f Finder) matches(p Pod) bool {
	if len(f.Labels) == 0 || f.Namespace != "" && f.Namespace != p.Namespace {
		return false
	}
	for k, v := range f.Labels {
		if got, ok := p.Labels[k]; !ok || got != v {
			return false
		}
	}
	return true
}

// replica is the pod as one; ok is false while its container does not run or it has no address.
func (f Finder) replica(kind string, p Pod, domain, namespaces string) (r Replica, ok bool) {
	c, port := f.container(p.Containers)
	if c == nil || !c.Running || len(p.IPs) == 0 {
		return r, false
	}
	r = Replica{Kind: kind, Name: p.Namespace + "/" + p.Name, Instance: p.UID + "/" + c.ID, Unread: f.Unread}
	if f.Local != 0 && namespaces != "" {
		r.Unread, r.Source = "", Source{Addr: netip.AddrPortFrom(localhost, f.Local), TLS: f.tls, SkipVerify: f.skipVerify, Path: f.path, Pod: p.IPs[0].Unmap(), Namespaces: namespaces}
		return r, true
	}
	if r.Unread != "" {
		r.Unread += ": run `lastcall agent` beside it, see docs/consumers.md"
		return r, true
	}
	r.Source = Source{Addr: netip.AddrPortFrom(p.IPs[0].Unmap(), port), TLS: f.tls, SkipVerify: f.skipVerify, Path: f.path, Domain: domain}
	return r, true
}

func (f Finder) container(cs []Container) (*Container, uint16) {
	for i := range cs {
		for _, p := range cs[i].Ports {
			if f.Container == "" && f.PortName != "" && p.Name == f.PortName {
				return &cs[i], p.Number
			}
		}
	}
	for i := range cs {
		named := f.Container != "" && cs[i].Name == f.Container
		if named || f.Container == "" && slices.ContainsFunc(cs[i].Ports, func(p Port) bool { return p.Number == f.Port }) {
			return &cs[i], f.Port
		}
	}
	if f.Container != "" || len(cs) == 0 {
		return nil, 0
	}
	return &cs[0], f.Port // a port need not be declared
}

func labelText(labels map[string]string) string {
	var kv []string
	for k, v := range labels {
		kv = append(kv, k+"="+v)
	}
	slices.Sort(kv)
	return strings.Join(kv, ",")
}
