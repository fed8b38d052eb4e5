//go:build linux

package e2e

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lastcall-k8s/lastcall/internal/nodeagent"
	"github.com/lastcall-k8s/lastcall/ledger"
)

func TestCluster(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct {
		name string
		run  func(*testing.T, *world)
	}{
		{"rollout", rollout},
		{"last endpoint is retained", lastEndpoint},
		{"policy Local is kept on the pod's own node", localPolicy},
		{"stuck kube-proxy expires, then lands late", stuck},
		{"unready and ready again is restored", restored},
		{"agent killed with a removal pending", killed},
		{"node leaves with a removal pending", nodeLeaves},
		{"iptables-legacy, and then nftables", legacy},
		{"API server restarts", apiServerRestarts},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, w) })
	}
}

// rollout: the main job. Every departure lands on every node; what landed is gone by the node's own tools.
func rollout(t *testing.T, w *world) {
	s := w.shop(t, "rollout", 3, 0)
	var agents []*nodeagent.Agent
	for _, n := range w.Nodes {
		agents = append(agents, w.agent(t, n.Name))
	}
	old := s.pods(t)
	before := time.Now()
	patch := `{"spec":{"template":{"metadata":{"annotations":{"restarted":"yes"}}}}}`
	if _, err := s.client.AppsV1().Deployments(s.namespace).Patch(t.Context(), "shop", "application/merge-patch+json", []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, p := range old {
		for i, a := range agents {
			e, settled := outcome(t, a, string(p.UID))
			if settled.Outcomes[ledger.Landed] != 1 || len(settled.Outcomes) != 1 {
				t.Errorf("%s on %s: %v, want one landed", p.Name, a.Node, settled.Outcomes)
			}
			if e.Hi.Before(before) || e.Hi.After(time.Now()) || settled.SeenFirst.Before(before) {
				t.Errorf("%s on %s: seen %v, landed by %v; the restart began %v", p.Name, a.Node, settled.SeenFirst, e.Hi, before)
			}
			if on, err := s.programmed(w.Nodes[i], p.Status.PodIP); err != nil || on {
				t.Errorf("%s on %s: landed, but its node's tool still shows %s: %v", p.Name, a.Node, p.Status.PodIP, err)
			}
			d := event(t, a, "departure", func(e ledger.Event) bool {
				return e.Type == ledger.EventDeparture && e.Pod.UID == string(p.UID)
			})
			if d.Reason != ledger.Delete || d.Pod.Name != p.Name || d.Pod.Node != p.Spec.NodeName {
				t.Errorf("%s on %s: departure %+v", p.Name, a.Node, d)
			}
			// Its own node learns of the deletion before the slices tell.
			if a.Node == p.Spec.NodeName {
				if d.T0Source != ledger.FromPod || d.Workload != "deployment/shop" || d.Grace == nil || *d.Grace != 30 {
					t.Errorf("%s on its own node: T0 from %s, workload %q, grace %v", p.Name, d.T0Source, d.Workload, d.Grace)
				}
				if d.T0.Before(before) || d.T0.After(settled.SeenFirst) {
					t.Errorf("%s: T0 %v, seen %v", p.Name, d.T0, settled.SeenFirst)
				}
			}
		}
	}
	for _, a := range agents {
		metric(t, a, `lastcall_removals_total{family="ipv4",outcome="landed",place="kube-proxy"} 3`)
		metric(t, a, `lastcall_removals_pending{family="ipv4",place="kube-proxy"} 0`)
		text, err := a.Metrics(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		own := 0
		for l := range strings.Lines(text) {
			if strings.HasPrefix(l, "lastcall_") && !strings.HasPrefix(l, "lastcall_build_info") {
				own++
			}
			if strings.Contains(l, "shop") || strings.Contains(l, "rollout") {
				t.Errorf("a name of the workload is in the metrics: %s", l)
			}
		}
		if own > 60 {
			t.Errorf("%s: %d series of our own, the budget is 60", a.Node, own)
		}
	}
}

// lastEndpoint: kube-proxy keeps the only endpoint of a Service while it terminates (KEP-1669). It is
// retained, not late, until another pod's readiness releases it.
func lastEndpoint(t *testing.T, w *world) {
	s := w.shop(t, "retained", 1, 20)
	a := w.agent(t, w.Nodes[0].Name)
	p := s.pods(t)[0]
	s.delete(t, p)
	event(t, a, "retained", func(e ledger.Event) bool {
		return slices.ContainsFunc(e.Departures, func(d ledger.Settled) bool { return d.UID == string(p.UID) && d.Retained == 1 && len(d.Outcomes) == 0 })
	})
	e, settled := outcome(t, a, string(p.UID)) // the Deployment's new pod becomes ready
	if settled.Outcomes[ledger.Landed] != 1 {
		t.Fatalf("outcomes %v, want landed", settled.Outcomes)
	}
	if settled.SeenFirst.After(e.Hi) {
		t.Errorf("seen %v after it landed %v", settled.SeenFirst, e.Hi)
	}
}

// stuck: a kube-proxy that does not react is a pending removal, then an expired one, and in the end a
// late landing.
func stuck(t *testing.T, w *world) {
	for _, node := range w.Nodes[:2] {
		s := w.shop(t, "stuck-"+node.Name, 2, 0)
		a := w.agent(t, node.Name, "--horizon", "3s")
		resume := w.stopKubeProxy(t, node.Name)
		p := s.pods(t)[0]
		s.delete(t, p)
		event(t, a, "pending", func(e ledger.Event) bool {
			return slices.ContainsFunc(e.Departures, func(d ledger.Settled) bool { return d.UID == string(p.UID) && d.Pending == 1 })
		})
		metric(t, a, `lastcall_removals_pending{family="ipv4",place="kube-proxy"} 1`)
		_, settled := outcome(t, a, string(p.UID))
		if settled.Outcomes[ledger.Expired] != 1 {
			t.Errorf("%s: outcomes %v, want expired", node.Name, settled.Outcomes)
		}
		before := time.Now()
		resume()
		late := event(t, a, "late landing", func(e ledger.Event) bool { return e.Type == ledger.EventLate && e.UID == string(p.UID) })
		if late.Hi.Before(before) {
			t.Errorf("%s: landed at %v, before kube-proxy went on at %v", node.Name, late.Hi, before)
		}
		metric(t, a, `lastcall_late_landings_total{place="kube-proxy"} 1`)
		metric(t, a, `lastcall_removals_total{family="ipv4",outcome="landed",place="kube-proxy"} 0`)
	}
}

// restored: a pod that is ready again before kube-proxy reacted has not left.
func restored(t *testing.T, w *world) {
	s := w.shop(t, "restored", 2, 0)
	a := w.agent(t, w.Nodes[0].Name)
	w.stopKubeProxy(t, w.Nodes[0].Name)
	p := s.pods(t)[0]
	client := &http.Client{Transport: &http.Transport{DialContext: w.Dialer(p.Spec.NodeName), DisableKeepAlives: true}}
	setReady := func(v string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://"+p.Status.PodIP+":8080/readyz", strings.NewReader(v))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("set ready to %s: %s", v, resp.Status)
		}
	}
	setReady("false")
	d := event(t, a, "departure", func(e ledger.Event) bool { return e.Type == ledger.EventDeparture && e.Pod.UID == string(p.UID) })
	if d.Reason != ledger.Unready {
		t.Errorf("reason %s, want unready", d.Reason)
	}
	setReady("true")
	if _, settled := outcome(t, a, string(p.UID)); settled.Outcomes[ledger.Restored] != 1 {
		t.Errorf("outcomes %v, want restored", settled.Outcomes)
	}
}

// killed: a restarted agent takes up what the old one had pending.
func killed(t *testing.T, w *world) {
	node := w.Nodes[1]
	s := w.shop(t, "killed", 2, 15)
	first, err := nodeagent.Start(t.Context(), w.Cluster, w.binary, node.Name, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	resume := w.stopKubeProxy(t, node.Name)
	p := s.pods(t)[0]
	s.delete(t, p)
	metric(t, first, `lastcall_removals_pending{family="ipv4",place="kube-proxy"} 1`)
	first.Kill()
	second := w.agent(t, node.Name)
	event(t, second, "re-armed", func(e ledger.Event) bool {
		return slices.ContainsFunc(e.Departures, func(d ledger.Settled) bool { return d.UID == string(p.UID) && d.Pending == 1 })
	})
	before := time.Now()
	resume()
	e, settled := outcome(t, second, string(p.UID))
	if settled.Outcomes[ledger.Landed] != 1 || !settled.Rearmed || e.Hi.Before(before) {
		t.Errorf("landed by %v, kube-proxy went on at %v: %+v", e.Hi, before, settled)
	}
	// When it had been seen is unknown, so no latency is claimed.
	metric(t, second, `lastcall_removal_program_duration_seconds_count{backend="iptables-nft",family="ipv4",place="kube-proxy"} 0`)
}

// nodeLeaves: a place that ends is excluded, not slow.
func nodeLeaves(t *testing.T, w *world) {
	thin := w.Nodes[len(w.Nodes)-1]
	if !thin.Thin {
		t.Fatalf("%s is not a thin node", thin.Name)
	}
	s := w.shop(t, "leaves", 2, 0)
	a := w.agent(t, thin.Name)
	w.stopKubeProxy(t, thin.Name)
	p := s.pods(t)[0]
	s.delete(t, p)
	metric(t, a, `lastcall_removals_pending{family="ipv4",place="kube-proxy"} 1`)
	nodes := w.client.CoreV1().Nodes()
	old, err := nodes.Get(t.Context(), thin.Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := nodes.Delete(t.Context(), thin.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		old.ResourceVersion, old.UID = "", ""
		if _, err := nodes.Create(context.Background(), old, metav1.CreateOptions{}); err != nil {
			t.Error("putting the node back: ", err)
		}
	})
	if _, settled := outcome(t, a, string(p.UID)); settled.Outcomes[ledger.Excluded] != 1 {
		t.Errorf("outcomes %v, want excluded", settled.Outcomes)
	}
}

// apiServerRestarts: what happened while nobody could watch is found by the relist.
func apiServerRestarts(t *testing.T, w *world) {
	s := w.shop(t, "restarts", 2, 0)
	a := w.agent(t, w.Nodes[0].Name)
	if err := w.RestartAPIServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	within(t, time.Minute, func() error {
		_, err := a.Get(t.Context(), "http://127.0.0.1:9747/readyz")
		return err
	})
	p := s.pods(t)[0]
	s.delete(t, p)
	if _, settled := outcome(t, a, string(p.UID)); settled.Outcomes[ledger.Landed] != 1 {
		t.Errorf("outcomes %v, want landed", settled.Outcomes)
	}
}
