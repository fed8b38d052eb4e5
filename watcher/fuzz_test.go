package watcher

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lastcall-k8s/lastcall/ledger"
)

// FuzzState applies arbitrary events, sane and hostile, and holds the state to its promises.
func FuzzState(f *testing.F) {
	f.Add([]byte("\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09"))
	f.Add([]byte("the quick brown fox jumps over the lazy dog, and back again over all of the others"))
	f.Add([]byte("\xff\xfe\x10\x20\x30\x40\x50\x60\x70\x80\x90\xa0\xb0\xc0\xd0\xe0\xf0\xff\xfe\x11\x21\x31\x41"))
	f.Fuzz(func(t *testing.T, data []byte) {
		in := &source{data: data}
		s := newState("n0")
		check := newPromises(t, s)
		at := epoch
		for range in.n(8) { // the baseline
			check.apply(s.set(in.object(at)))
		}
		check.apply(s.arm(at))
		for !in.empty() {
			at = at.Add(time.Duration(in.n(90)) * time.Second)
			switch in.n(8) {
			case 0:
				k := kind(in.n(4))
				var list []*object
				for range in.n(6) {
					if o := in.object(at); o.kind == k {
						list = append(list, o)
					}
				}
				check.apply(s.replace(k, list, at))
			case 1, 2:
				check.apply(s.drop(in.object(at)))
			default:
				check.apply(s.set(in.object(at)))
			}
		}
		for _, k := range []kind{endpointSlices, services, pods, nodes} {
			check.apply(s.replace(k, nil, at))
		}
		if len(s.services) != 0 || len(s.owners) != 0 || len(s.pods) != 0 || len(s.uids) != 0 {
			t.Errorf("left behind: %d services, %d slices, %d pods, %d uids", len(s.services), len(s.owners), len(s.pods), len(s.uids))
		}
	})
}

// promises is a ledger that believes nothing.
type promises struct {
	t        *testing.T
	s        *state
	departed map[string]bool
	pending  map[ledger.Key]bool
	retained map[ledger.Key]bool
}

func newPromises(t *testing.T, s *state) *promises {
	return &promises{t, s, map[string]bool{}, map[ledger.Key]bool{}, map[ledger.Key]bool{}}
}

func (p *promises) apply(changes []ledger.Change) {
	for _, c := range changes {
		set := 0
		for _, is := range []bool{c.Departed != nil, c.Farewell != nil, c.Left != nil, c.Retained != nil, c.Returned != nil, c.Superseded != nil, c.Excluded} {
			if is {
				set++
			}
		}
		if set != 1 || c.At.IsZero() {
			p.t.Errorf("malformed change: %+v", c)
		}
		switch {
		case c.Departed != nil:
			p.departed[c.Departed.Pod.UID] = true
			if c.Departed.Pod.UID == "" {
				p.t.Errorf("departure of nobody: %s", describe(c))
			}
		case c.Farewell != nil:
			if !p.departed[c.Farewell.Pod.UID] {
				p.t.Errorf("farewell without a departure: %s", describe(c))
			}
		case c.Left != nil:
			k := c.Left.Key
			if !p.departed[k.UID] {
				p.t.Errorf("left without a departure: %s", describe(c))
			}
			if p.pending[k] {
				p.t.Errorf("left twice: %s", describe(c))
			}
			if len(c.Left.Frontends) == 0 || !k.Path.Endpoint.IsValid() || c.Left.Seen.IsZero() {
				p.t.Errorf("incomplete: %s", describe(c))
			}
			p.pending[k] = true
			delete(p.retained, k)
		case c.Retained != nil:
			k := c.Retained.Key
			if !p.departed[k.UID] || p.pending[k] || p.retained[k] {
				p.t.Errorf("retained without a departure, while it is pending, or twice: %s", describe(c))
			}
			p.retained[k] = true
		case c.Returned != nil:
			if !p.pending[*c.Returned] {
				p.t.Errorf("returned without having left: %s", describe(c))
			}
			delete(p.pending, *c.Returned)
		case c.Superseded != nil:
			if !p.pending[*c.Superseded] {
				p.t.Errorf("superseded without having left: %s", describe(c))
			}
			delete(p.pending, *c.Superseded)
		}
	}
	if !p.s.armed {
		if len(changes) > 0 {
			p.t.Errorf("told before the baseline: %v", changes)
		}
		return
	}
	// What is expected is not pending, and is retained exactly if it terminates.
	for n, e := range p.s.services {
		for _, x := range e.expect(p.s.place) {
			for addr, ep := range x.endpoints {
				k := ledger.Key{Path: x.path(n, addr), UID: ep.uid}
				if p.pending[k] {
					p.t.Errorf("pending although expected: %s", describeKey(k))
				}
				if ep.terminating && !p.retained[k] {
					p.t.Errorf("terminating and expected, but not retained: %s", describeKey(k))
				}
			}
		}
	}
}

// source reads choices from fuzz data.
type source struct{ data []byte }

func (s *source) empty() bool { return len(s.data) == 0 }

func (s *source) n(below int) int {
	if s.empty() {
		return 0
	}
	b := s.data[0]
	s.data = s.data[1:]
	return int(b) % below
}

func (s *source) maybe() *bool {
	switch s.n(3) {
	case 0:
		return new(true)
	case 1:
		return new(false)
	}
	return nil
}

func (s *source) pick(of ...string) string { return of[s.n(len(of))] }

func (s *source) object(at time.Time) *object {
	meta := metav1.ObjectMeta{Namespace: "ns", ResourceVersion: "1"}
	switch kind(s.n(5)) {
	case services:
		meta.Name = s.pick("a", "b")
		svc := &corev1.Service{ObjectMeta: meta}
		svc.Spec.ClusterIP = s.pick("10.96.0.1", "10.96.0.2", "None", "", "nonsense")
		if s.n(2) == 0 {
			svc.Spec.IPFamilies = []corev1.IPFamily{"IPv4", "IPv6"}
			svc.Spec.ClusterIPs = []string{"10.96.0.1", s.pick("fd00::1", "", "fd00::2")}
		}
		if s.n(4) == 0 {
			svc.Spec.InternalTrafficPolicy = new(corev1.ServiceInternalTrafficPolicyLocal)
		}
		if s.n(3) == 0 {
			svc.Spec.Type, svc.Spec.ExternalTrafficPolicy = corev1.ServiceTypeNodePort, corev1.ServiceExternalTrafficPolicyLocal
		}
		svc.Spec.ExternalIPs = []string{s.pick("", "192.0.2.1", "2001:db8::1", "?")}
		for range s.n(4) {
			svc.Spec.Ports = append(svc.Spec.Ports, corev1.ServicePort{Name: s.pick("", "x"), Port: int32(s.n(3) - 1),
				Protocol: corev1.Protocol(s.pick("", "TCP", "UDP", "GRE")), NodePort: int32(s.n(3)) * 30000})
		}
		return trim(svc, at).(*object)
	case pods:
		meta.Name = fmt.Sprint("p", s.n(4))
		meta.UID = types.UID(fmt.Sprint("u", s.n(5)))
		p := &corev1.Pod{ObjectMeta: meta}
		if s.n(2) == 0 {
			p.DeletionTimestamp = &metav1.Time{Time: at}
			p.DeletionGracePeriodSeconds = new(int64(s.n(3)))
		}
		p.Status.Phase = corev1.PodPhase(s.pick("Running", "Failed", "Succeeded", ""))
		if s.n(3) == 0 {
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.DisruptionTarget, Status: "True", Reason: s.pick("TerminationByKubelet", "x")}}
		}
		return trim(p, at).(*object)
	case nodes:
		meta.Labels = map[string]string{corev1.LabelTopologyZone: s.pick("z0", "z1")}
		meta.Namespace, meta.Name = "", "n0"
		return trim(&corev1.Node{ObjectMeta: meta}, at).(*object)
	}
	meta.Name = fmt.Sprint("s", s.n(3))
	meta.Labels = map[string]string{discoveryv1.LabelServiceName: s.pick("a", "a", "a", "b", "none", "")}
	es := &discoveryv1.EndpointSlice{ObjectMeta: meta, AddressType: discoveryv1.AddressType(s.pick("IPv4", "IPv4", "IPv6", "FQDN", "?"))}
	for range s.n(3) {
		p := discoveryv1.EndpointPort{Name: new(s.pick("", "x")), Port: new(int32(8080 + s.n(2)))}
		if s.n(8) == 0 {
			p = discoveryv1.EndpointPort{}
		}
		es.Ports = append(es.Ports, p)
	}
	for range s.n(5) {
		e := discoveryv1.Endpoint{Conditions: discoveryv1.EndpointConditions{Ready: s.maybe(), Serving: s.maybe(), Terminating: s.maybe()}}
		e.Addresses = []string{s.pick("10.0.0.1", "10.0.0.2", "010.0.0.2", "fd00:1::1", "::ffff:10.0.0.1", "fe80::1%eth0", "a.example", "")}
		if s.n(6) == 0 {
			e.Addresses = nil
		}
		if s.n(4) != 0 {
			e.TargetRef = &corev1.ObjectReference{UID: types.UID(fmt.Sprint("u", s.n(5)))}
		}
		if s.n(3) == 0 {
			e.Hints = &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: s.pick("z0", "z1", "")}}}
			e.NodeName = new("n0")
		} else if s.n(3) == 0 {
			e.NodeName = new(s.pick("n0", "n1"))
		}
		es.Endpoints = append(es.Endpoints, e)
	}
	return trim(es, at).(*object)
}
