//go:build linux

package expected

import (
	"context"
	"flag"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lastcall-k8s/lastcall/internal/testbed"
)

var (
	versions = flag.String("versions", testbed.DefaultVersion, "versions of kube-proxy for TestLive, with commas between them")
	update   = flag.Bool("update", false, "record the rules that TestLive saw in testdata")
)

// TestLive brings up nodes with the real kube-proxy of each version and holds what the watcher expects of each node
// against what the node's kernel routes, path by path, those that are not expected included.
func TestLive(t *testing.T) {
	for version := range strings.SplitSeq(*versions, ",") {
		t.Run(version, func(t *testing.T) { live(t, version) })
	}
}

func live(t *testing.T, version string) {
	spec := testbed.Spec{Name: "lastcall-expected", DualStack: true}
	for _, m := range modes {
		spec.Nodes = append(spec.Nodes, testbed.NodeSpec{Mode: m.mode, Version: version})
	}
	c := testbed.RequireCluster(t, spec)
	client := c.Client()
	for i, n := range c.Nodes {
		patch := fmt.Sprintf(`{"metadata":{"labels":{%q:%q}}}`, corev1.LabelTopologyZone, modes[i].zone)
		if _, err := client.CoreV1().Nodes().Patch(t.Context(), n.Name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	create(t.Context(), t, client)
	all := list(t.Context(), t, client, metav1.ListOptions{}, metav1.ListOptions{})
	watched := watched(t.Context(), t, client)
	for _, n := range c.Nodes {
		t.Run(string(n.Mode), func(t *testing.T) {
			node, err := client.CoreV1().Nodes().Get(t.Context(), n.Name, metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			s := site{mode: n.Mode, version: version, node: node,
				exec: func(name string, args ...string) (string, error) {
					out, err := c.Command(n.Name, name, args...).Output()
					if exit, ok := err.(*exec.ExitError); ok {
						err = fmt.Errorf("%s: %w: %s", name, err, exit.Stderr)
					}
					return string(out), err
				},
				enter: func(f func() error) error { return c.RunIn(n.Name, f) }}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			tick := time.NewTicker(200 * time.Millisecond) // nothing tells that kube-proxy is done with all of it
			defer tick.Stop()
			for {
				routed, not, err := s.check(all, watched)
				if err == nil {
					t.Logf("%d paths are routed, %d others are not", len(routed), len(not))
					if *update {
						s.record(t, routed, not)
					}
					return
				}
				select {
				case <-tick.C:
				case <-ctx.Done():
					t.Fatal(err)
				}
			}
		})
	}
}
