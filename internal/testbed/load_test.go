//go:build linux

package testbed

import (
	"net/netip"
	"testing"
)

func TestLoadSliceHoldsItsShareOfEndpoints(t *testing.T) {
	nodes := []Node{{Name: "node-1"}, {Name: "node-2"}}
	spec := LoadSpec{Namespace: "load", Services: 3, Endpoints: 150}
	seen := map[string]bool{}
	for i := range spec.Services {
		for first, want := range map[int]int{0: 100, 100: 50} {
			slice := loadSlice(spec, nodes, i, first)
			if len(slice.Endpoints) != want {
				t.Errorf("slice %s has %d endpoints, want %d", slice.Name, len(slice.Endpoints), want)
			}
			for _, e := range slice.Endpoints {
				if seen[e.Addresses[0]] || seen[string(e.TargetRef.UID)] {
					t.Fatalf("endpoint %v of %s appears twice", e.Addresses, slice.Name)
				}
				seen[e.Addresses[0]], seen[string(e.TargetRef.UID)] = true, true
			}
		}
	}
}

func TestLoadAddressesStayInTheirRange(t *testing.T) {
	thinPods := netip.MustParsePrefix("10.248.0.0/16")
	for _, n := range []int{0, 1, 99_999, 458_751, 458_752, 5_000_000} {
		a := loadAddress(n)
		if !loadNetwork.Contains(a) || thinPods.Contains(a) {
			t.Errorf("loadAddress(%d) = %s, outside %s or inside %s", n, a, loadNetwork, thinPods)
		}
	}
	if loadAddress(0) != loadAddress(458_752) {
		t.Error("addresses do not wrap around where the range ends")
	}
}
