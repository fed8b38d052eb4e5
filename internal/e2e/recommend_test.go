//go:build linux

package e2e

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/hub/sizing"
	"github.com/lastcall-k8s/lastcall/internal/testbed"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// recommended: one rollout of three pods is too little for a number, and what is known is said: of the workload as it is now, by the
// regime of the nodes.
func recommended(t *testing.T, i *installed, s *shop) {
	t.Helper()
	out, said, err := i.ask(t, "-n", s.namespace, "recommend", "deploy/shop", "-o", "json")
	var a sizing.Advice
	if err != nil || json.Unmarshal([]byte(out), &a) != nil {
		t.Fatalf("recommend: %v %s\n%s", err, said, out)
	}
	var modes []string
	for _, n := range i.Nodes {
		modes = append(modes, string(n.Mode))
	}
	switch d := a.Departures; {
	case !a.Live || a.Seconds != nil || a.Basis != sizing.BasisNone || a.Episodes.Used != 1 || d.Entered != 3 || d.Late+d.InTime+d.Unknown != 3:
		t.Errorf("%+v", a)
	case a.Regime.Dataplane == "" || a.Regime.Nodes != len(i.Nodes) || a.Regime.Places != "kube-proxy",
		a.Regime.Version != testbed.DefaultVersion || a.Regime.MinSync != minSync:
		t.Errorf("regime %+v of nodes in modes %v", a.Regime, modes)
	case a.Present.PreStop == nil || *a.Present.PreStop != 0 || a.Present.Grace == nil || *a.Present.Grace != 30 || len(a.Containers) == 0 || !a.Containers[0].Serves:
		t.Errorf("configuration %+v, containers %+v", a.Present, a.Containers)
	case a.Stopping.Ended != 3 || a.Drain.N == 0:
		t.Errorf("stopping %+v, drain %+v", a.Stopping, a.Drain)
	}
	if out, said, err := i.ask(t, "-n", s.namespace, "recommend", "deploy/shop"); err != nil || !strings.Contains(out, "a number takes 19") {
		t.Errorf("recommend: %v %s\n%s", err, said, out)
	} else {
		t.Log("\n" + out)
	}
	// Who may not read the workload has it as the hub read it while its pods left.
	out, said, err = i.ask(t, "-n", s.namespace, "explain", "deploy/shop", "-o", "json")
	var x report.Explanation
	if err != nil || json.Unmarshal([]byte(out), &x) != nil {
		t.Fatalf("explain: %v %s\n%s", err, said, out)
	}
	if p := x.Episode.Template; p == nil || p.At.Before(x.Episode.Begun) || len(p.Containers) != 1 || p.Containers[0].PreStop.Kind != ledger.NoPreStop || p.Grace == nil || *p.Grace != 30 || p.Replicas == nil || *p.Replicas != 3 {
		t.Errorf("template %+v of an episode that began at %v", p, x.Episode.Begun)
	}
	if out, said, err := i.ask(t, "-n", s.namespace, "recommend", "deploy/shop", "-o", "patch"); err == nil || out != "" || !strings.Contains(said, "there is no recommendation") {
		t.Errorf("a patch of nothing: %v %s\n%s", err, said, out)
	}
}
