//go:build linux

package e2e

import (
	"context"
	"net/netip"
	"slices"
	"testing"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lastcall-k8s/lastcall/internal/handmade"
	"github.com/lastcall-k8s/lastcall/internal/nodeagent"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// localPolicy: on the pod's own node the path of the cluster lands while that of the node, externalTrafficPolicy
// Local, is kept, because no other endpoint is there; it lands when the pod stops to serve. Elsewhere there is one
// path. In either backend.
func localPolicy(t *testing.T, w *world) {
	to := netip.MustParseAddrPort("10.248.200.1:8080")
	agents := []*nodeagent.Agent{w.agent(t, w.Nodes[0].Name), w.agent(t, w.Nodes[1].Name)}
	for i, own := range w.Nodes[:2] {
		name := "local-" + own.Name
		if _, err := handmade.Service(t.Context(), w.client, name, name, nil); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := w.client.CoreV1().Namespaces().Delete(context.Background(), name, metav1.DeleteOptions{}); err != nil {
				t.Error(err)
			}
		})
		patch := []byte(`{"spec":{"type":"NodePort","externalTrafficPolicy":"Local"}}`)
		if _, err := w.client.CoreV1().Services(name).Patch(t.Context(), name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		slice, err := handmade.Slice(t.Context(), w.client, name, name)
		if err != nil {
			t.Fatal(err)
		}
		*slice.Ports[0].Port = 8080
		uid := name + "-leaves"
		set := func(conditions discoveryv1.EndpointConditions) {
			t.Helper()
			leaves := handmade.Endpoint(to.Addr(), uid)
			leaves.NodeName, leaves.Conditions = &own.Name, conditions
			stays := handmade.Endpoint(netip.MustParseAddr("10.248.200.2"), name+"-stays")
			stays.NodeName = &w.Nodes[1-i].Name
			slice.Endpoints = []discoveryv1.Endpoint{leaves, stays}
			if _, err := w.client.DiscoveryV1().EndpointSlices(name).Update(t.Context(), slice, metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		yes, no := true, false
		set(discoveryv1.EndpointConditions{Ready: &yes, Serving: &yes})
		w.routed(t, to) // on both: what a node had not programmed yet would be absent there, and not landed
		here, there := agents[i], agents[1-i]
		set(handmade.Terminating())
		landed(t, here, uid, ledger.Open{Retained: 1})
		landed(t, there, uid, ledger.Open{})
		if on, err := w.routes(own, to); err != nil || !on {
			t.Errorf("%s: kept for Local, but its node's tool does not show it: %v", own.Name, err)
		}
		set(discoveryv1.EndpointConditions{Ready: &no, Serving: &no, Terminating: &yes})
		landed(t, here, uid, ledger.Open{})
		if on, err := w.routes(own, to); err != nil || on {
			t.Errorf("%s: landed, but its node's tool still shows it: %v", own.Name, err)
		}
	}
}

// landed waits until one removal of the pod landed and leaves that much open.
func landed(t *testing.T, a *nodeagent.Agent, uid string, open ledger.Open) {
	t.Helper()
	event(t, a, "landing", func(e ledger.Event) bool {
		return slices.ContainsFunc(e.Departures, func(d ledger.Settled) bool {
			return d.UID == uid && d.Outcomes[ledger.Landed] == 1 && d.Open == open
		})
	})
}
