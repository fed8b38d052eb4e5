//go:build linux

package e2e

import (
	"context"
	"fmt"
	"testing"

	"github.com/lastcall-k8s/lastcall/internal/nodeagent"
	"github.com/lastcall-k8s/lastcall/internal/restarts"
	"github.com/lastcall-k8s/lastcall/internal/testbed"
)

// TestConsumers: what agents say of Contour's Envoy, of CoreDNS and of HAProxy holds against what their clients see, while pods
// restart. bench/consumers does the same for hours.
func TestConsumers(t *testing.T) {
	c := testbed.RequireCluster(t, restarts.Spec("lastcall-consumers"))
	binary, err := nodeagent.Build(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	const pods = 4
	b, err := restarts.Up(t.Context(), c, binary, pods, 100, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := b.Down(); err != nil {
			t.Error(err)
		}
	}()
	for _, tt := range []struct {
		name     string
		do       func(context.Context) error
		times    int
		removals int // at each replica
	}{
		{"one pod", b.One, 2, 2},
		{"all pods", b.All, 1, pods},
	} {
		for range tt.times {
			if err := tt.do(t.Context()); err != nil {
				t.Fatalf("%s: %v", tt.name, err)
			}
		}
		all, err := b.Compare(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		compared := map[string]int{}
		for _, s := range all.Samples {
			compared[s.Place+" "+s.Replica]++
			said := fmt.Sprintf("%s: %s %s: landed (%v, %v], error %v, slop %v, truth's resolution %v", tt.name, s.Place, s.Replica,
				s.Landed.Lo.Format("05.000"), s.Landed.Hi.Format("05.000"), s.Error(), s.Slop(), s.Resolution())
			if !s.Inside() || s.After > 0 {
				t.Errorf("%s: the last request through was started at %v, %d after the landing", said, s.Last.Format("05.000"), s.After)
			}
			t.Log(said)
		}
		if len(compared) != 4 {
			t.Errorf("%s: compared %v; want Envoy, HAProxy, and both replicas of CoreDNS; not compared: %v", tt.name, compared, all.Without)
		}
		for at, n := range compared {
			if n != tt.removals {
				t.Errorf("%s: %d of %d removals at %s were compared; not compared: %v", tt.name, n, tt.removals, at, all.Without)
			}
		}
	}
	for _, client := range b.Clients() {
		if client.Failed > 0 {
			t.Errorf("%+v: pods answer for longer than anybody sends to them", client)
		}
	}
}
