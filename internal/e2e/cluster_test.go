//go:build linux

package e2e

import (
	"context"
	"flag"
	"os"
	"testing"
	"time"

	"github.com/lastcall-k8s/lastcall/internal/nodeagent"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// Scenarios wait for the cluster, hardly for the CPU: more of them at once than there are cores.
func TestMain(m *testing.M) {
	flag.Parse()
	flag.Set("test.parallel", "12") //nolint:errcheck // it is a number
	os.Exit(m.Run())
}

// everywhere is a cluster with an agent on every node that many scenarios watch at once, each for its own pods.
type everywhere struct {
	*world
	agents []*nodeagent.Agent
}

func TestCluster(t *testing.T) {
	w := newWorld(t)
	t.Run("watched everywhere", func(t *testing.T) {
		e := &everywhere{world: w}
		for _, n := range w.Nodes {
			e.agents = append(e.agents, w.agent(t, n.Name))
		}
		for _, tt := range []struct {
			name string
			run  func(*testing.T, *everywhere)
		}{
			{"rollout", rollout},
			{"the last endpoint is retained until another pod is ready", released},
			{"the last endpoint is kept until it stops serving", kept},
			{"publishNotReadyAddresses keeps it until the pod is gone", published},
			{"unready", unready},
			{"no selector matches it any more", deselected},
			{"another pod takes the address in the same write", takenAtOnce},
			{"an endpoint moves between slices", moved},
			{"a pod in 50 Services", fiftyServices},
			{"30 pods in one sync", thirtyAtOnce},
			{"names at the length limit", longNames},
			{"slices without targetRef", noTargetRef},
			{"somebody puts a landed path back", resurrected},
			{"hostNetwork pods share an address", hostNetwork},
			{"forced deletion", forced},
			{"eviction", evicted},
			{"preemption", preempted},
			{"the node is lost", nodeLost},
			{"containers that are dead when the API learns of it", deadContainers},
		} {
			t.Run(tt.name, func(t *testing.T) {
				t.Parallel()
				tt.run(t, e)
			})
		}
	})
	// Each of these has the agent and the kube-proxy of one node for itself.
	nft, ipt, thin, xt := w.Nodes[0].Name, w.Nodes[1].Name, w.Nodes[2].Name, w.Nodes[3].Name
	t.Run("one node", func(t *testing.T) {
		for _, tt := range []struct {
			name, node string
			run        func(t *testing.T, w *world, node string)
		}{
			{"stuck kube-proxy expires, then lands late, nftables", nft, stuck},
			{"stuck kube-proxy expires, then lands late, iptables-nft", ipt, stuck},
			{"unready and ready again is restored", nft, restored},
			{"another pod takes the address", thin, taken},
			{"agent killed with a removal pending", ipt, killed},
			{"agent killed, and it lands before the next one", nft, killedMeanwhile},
			{"agent stopped with a removal pending", ipt, stopped},
			{"agent gets no CPU", ipt, starved},
			{"kube-proxy restarts, nftables", thin, kubeProxyRestarts},
			{"kube-proxy restarts, iptables-nft", ipt, kubeProxyRestarts},
			{"node leaves with a removal pending", thin, nodeLeaves},
			{"rules of another mode are left hooked", thin, leftovers},
			{"stuck kube-proxy expires, then lands late, iptables-legacy", xt, stuck},
			{"iptables-legacy, and then nftables", xt, legacy},
		} {
			t.Run(tt.name, func(t *testing.T) {
				t.Parallel()
				tt.run(t, w, tt.node)
			})
		}
	})
	t.Run("policy Local is kept on the pod's own node", func(t *testing.T) { localPolicy(t, w) })
	// These disturb everybody.
	t.Run("API server restarts", func(t *testing.T) { apiServerRestarts(t, w) })
	t.Run("relist after compaction", func(t *testing.T) { compacted(t, w) })
	t.Run("1,001 endpoints", func(t *testing.T) { largeCluster(t, w) })
}

// ended waits until n removals of the pod have ended on the agent's node, and returns how, and the lines that say so.
func ended(t *testing.T, a *nodeagent.Agent, uid string, n int) (map[ledger.Outcome]int, []ledger.Event) {
	t.Helper()
	got, sum := map[ledger.Outcome]int{}, 0
	var lines []ledger.Event
	event(t, a, "outcomes of "+uid, func(e ledger.Event) bool {
		for _, d := range e.Departures {
			if d.UID != uid || len(d.Outcomes) == 0 {
				continue
			}
			lines = append(lines, e)
			for o, k := range d.Outcomes {
				got[o] += k
				sum += k
			}
		}
		return sum >= n
	})
	return got, lines
}

// ends waits for the n removals of a pod on every node, and holds that all of them ended so.
func (e *everywhere) ends(t *testing.T, uid string, n int, want ledger.Outcome) {
	t.Helper()
	for _, a := range e.agents {
		if got, _ := ended(t, a, uid, n); got[want] != n || len(got) != 1 {
			t.Errorf("%s: %v, want %d %s", a.Node, got, n, want)
		}
	}
}

// departed waits for the announcement of a pod's departure for a reason.
func departed(t *testing.T, a *nodeagent.Agent, uid string, why ledger.Reason) ledger.Event {
	t.Helper()
	told := func(e ledger.Event) bool { return e.Type == ledger.EventDeparture && e.Pod.UID == uid }
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	e, err := a.Await(ctx, func(e ledger.Event) bool { return told(e) && e.Reason == why })
	if err != nil {
		var instead []string
		for _, e := range a.Events() {
			if told(e) {
				instead = append(instead, string(e.Reason))
			}
		}
		t.Fatalf("no departure of %s with reason %s, but %v: %v", uid, why, instead, err)
	}
	return e
}

// settledOf waits for a line about the pod.
func settledOf(t *testing.T, a *nodeagent.Agent, what, uid string, f func(ledger.Settled) bool) (ledger.Event, ledger.Settled) {
	t.Helper()
	var s ledger.Settled
	e := event(t, a, what+" "+uid, func(e ledger.Event) bool {
		for _, d := range e.Departures {
			if d.UID == uid && f(d) {
				s = d
				return true
			}
		}
		return false
	})
	return e, s
}

func isPending(s ledger.Settled) bool  { return s.Pending > 0 && len(s.Outcomes) == 0 }
func isRetained(s ledger.Settled) bool { return s.Retained > 0 && len(s.Outcomes) == 0 }

// silent holds that an agent has said nothing of a pod's removals so far.
func silent(t *testing.T, a *nodeagent.Agent, uid string) {
	t.Helper()
	for _, e := range a.Events() {
		for _, d := range e.Departures {
			if d.UID == uid {
				t.Errorf("%s: %+v, want nothing of %s", a.Node, d, uid)
			}
		}
	}
}

// soon is how long what a test waits for may take on a machine that does much else.
const soon = time.Minute
