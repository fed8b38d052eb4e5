//go:build linux

package e2e

import (
	"testing"
	"time"

	"github.com/lastcall-k8s/lastcall/internal/proof"
)

// recommendsRight: a workload whose pods lose requests, since a kube-proxy is 3 s late each time, is told to sleep for that long and loses none
// then; and of four ways to stop that no sleep mends each gets its own verdict. bench/proof does it at length; here 0.9 is
// promised, which 9 episodes are enough for.
func recommendsRight(t *testing.T, i *installed) {
	b := &proof.Bed{Cluster: i.Cluster, Plugin: i.plugin, Gap: time.Second}
	node := i.Nodes[0].Name
	s, err := b.Stopping(t.Context(), node)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	ds, err := b.Delays(t.Context(), proof.Delays{Node: node, Delays: []time.Duration{proof.LeastDelay}, Quantile: 0.9, Restarts: 3, Beside: s.Shops, Log: t.Logf})
	for _, d := range ds {
		t.Logf("%+v", d)
		for _, p := range d.Problems() {
			t.Error(p)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	vs, err := s.Verdicts(t.Context(), 40*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range vs {
		if !v.Right() {
			t.Errorf("%s: %v, want %s: %+v", v.Namespace, v.Got, v.Want, v.Stopping)
		}
		t.Logf("%s: %s", v.Namespace, v.Says)
	}
}
