//go:build linux

package e2e

import (
	"net/netip"
	"testing"

	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lastcall-k8s/lastcall/internal/handmade"
)

// byHand is a Service whose slices the test writes.
type byHand struct {
	*world
	namespace, name string
	vip             netip.AddrPort
	template        *discoveryv1.EndpointSlice
}

func (w *world) byHand(t *testing.T, namespace, name string) *byHand {
	t.Helper()
	vip, err := handmade.Service(t.Context(), w.client, namespace, name, nil)
	if err != nil {
		t.Fatal(err)
	}
	slice, err := handmade.Slice(t.Context(), w.client, namespace, name)
	if err != nil {
		t.Fatal(err)
	}
	return &byHand{w, namespace, name, vip, slice}
}

// write writes a slice of the Service; the first is named like it.
func (b *byHand) write(t *testing.T, slice string, endpoints ...discoveryv1.Endpoint) {
	t.Helper()
	s := b.template.DeepCopy()
	s.Name, s.Endpoints = slice, endpoints
	slices := b.client.DiscoveryV1().EndpointSlices(b.namespace)
	_, err := slices.Update(t.Context(), s, metav1.UpdateOptions{})
	if apierrors.IsNotFound(err) {
		_, err = slices.Create(t.Context(), s, metav1.CreateOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
}

func ready(addr netip.Addr, uid string) discoveryv1.Endpoint { return handmade.Endpoint(addr, uid) }

func terminating(addr netip.Addr, uid string) discoveryv1.Endpoint {
	e := handmade.Endpoint(addr, uid)
	e.Conditions = handmade.Terminating()
	return e
}

// address n of a block that no node has.
func address(block, n int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 200, byte(block*8 + n/256), byte(n)})
}

func to(addrs ...netip.Addr) (at []netip.AddrPort) {
	for _, a := range addrs {
		at = append(at, netip.AddrPortFrom(a, handmade.Port))
	}
	return at
}
