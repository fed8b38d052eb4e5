//go:build linux

package manifests

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/lastcall-k8s/lastcall/internal/testbed"
	"github.com/lastcall-k8s/lastcall/manifests/image/artifact"
)

const system = "lastcall-system"

// bed is a cluster that can run what is released: the image's archive is on its nodes under the name that chart and
// install.yaml have by default.
type bed struct {
	*testbed.Cluster
	client kubernetes.Interface
	plugin string
}

// TestOnTestbed does what docs/install.md says, as it says it.
func TestOnTestbed(t *testing.T) {
	requireHelm(t)
	c := testbed.RequireCluster(t, testbed.Spec{Name: "lastcall-install", Audit: true})
	b := &bed{Cluster: c, client: c.Client()}
	b.build(t)
	before := b.objects(t)
	step := func(name string, f func(t *testing.T)) {
		t.Helper()
		if !t.Run(name, f) {
			t.FailNow()
		}
	}
	step("helm upgrade --install", func(t *testing.T) {
		var said bytes.Buffer
		if err := Install(t.Context(), b.Kubeconfig, "lastcall", system, &said); err != nil {
			t.Fatalf("%v\n%s", err, b.pods(t))
		}
		b.everywhere(t, "--log-level=info")
	})
	step("an upgrade out of one that got stuck", b.upgradeStuck)
	step("people may what kubectl lastcall takes, and nothing else", b.people)
	step("readers of v1 are asked for", b.readers)
	step("helm uninstall leaves the namespace", func(t *testing.T) {
		if err := Uninstall(t.Context(), b.Kubeconfig, "lastcall", system); err != nil {
			t.Fatal(err)
		}
		b.leaves(t, before, "/configmaps lastcall-system/kube-root-ca.crt", "/namespaces lastcall-system", "/serviceaccounts lastcall-system/default")
		if err := b.client.CoreV1().Namespaces().Delete(t.Context(), system, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		b.leaves(t, before)
	})
	step("kubectl apply -f install.yaml", func(t *testing.T) {
		b.apply(t)
		b.everywhere(t, "--log-level=info")
	})
	step("kubectl delete -f install.yaml leaves nothing", func(t *testing.T) {
		b.remove(t)
		b.leaves(t, before)
	})
}

// build loads the archive of `make image`, for this machine alone, and builds the plugin.
func (b *bed) build(t *testing.T) {
	t.Helper()
	root, err := artifact.Root(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	program, archive := filepath.Join(dir, "lastcall"), filepath.Join(dir, "lastcall.oci.tar")
	if err := artifact.Compile(t.Context(), root, runtime.GOARCH, program); err != nil {
		t.Fatal(err)
	}
	binary, err := artifact.Read(program)
	if err != nil {
		t.Fatal(err)
	}
	index, err := artifact.Index([]artifact.Binary{binary})
	if err != nil {
		t.Fatal(err)
	}
	// What a cluster of users would pull: it is there already, so Kubernetes does not ask.
	ref := get[appsv1.DaemonSet](t, render(t, "lastcall"), "DaemonSet lastcall-agent").Spec.Template.Spec.Containers[0].Image
	if err := artifact.WriteArchive(archive, ref, index); err != nil {
		t.Fatal(err)
	}
	if err := b.LoadArchive(t.Context(), archive); err != nil {
		t.Fatal(err)
	}
	b.plugin = filepath.Join(dir, "kubectl-lastcall")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", b.plugin, "./cmd/kubectl-lastcall")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build kubectl-lastcall: %v\n%s", err, out)
	}
}

// everywhere waits until a ready agent runs on every node and one hub, all with this flag, and nothing else of ours.
func (b *bed) everywhere(t *testing.T, flag string) {
	t.Helper()
	b.within(t, 2*time.Minute, func(ctx context.Context) error {
		list, err := b.client.CoreV1().Pods(system).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		var agents, want []string
		hubs := 0
		for _, p := range list.Items {
			if !ready(p) || p.DeletionTimestamp != nil {
				return fmt.Errorf("%s is not ready", p.Name)
			}
			if !slices.Contains(p.Spec.Containers[0].Args, flag) {
				return fmt.Errorf("%s runs with %q", p.Name, p.Spec.Containers[0].Args)
			}
			if p.Labels["app.kubernetes.io/component"] == "agent" {
				agents = append(agents, p.Spec.NodeName)
			} else {
				hubs++
			}
		}
		for _, n := range b.Nodes {
			want = append(want, n.Name)
		}
		if slices.Sort(agents); !slices.Equal(agents, want) || hubs != 1 {
			return fmt.Errorf("agents on %v, want %v, and %d hubs", agents, want, hubs)
		}
		return nil
	})
}

// upgradeStuck upgrades to an image that is nowhere, which stops at the first node, and then to one that is there.
func (b *bed) upgradeStuck(t *testing.T) {
	ctx := t.Context()
	var said bytes.Buffer
	if err := upgrade(ctx, b.Kubeconfig, "lastcall", system, &said, nil, []string{"image.tag=nowhere", "image.pullPolicy=Never"}); err != nil {
		t.Fatalf("%v\n%s", err, said.String())
	}
	b.within(t, time.Minute, func(ctx context.Context) error {
		list, err := b.client.CoreV1().Pods(system).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=agent"})
		if err != nil {
			return err
		}
		stuck, serving := 0, 0
		for _, p := range list.Items {
			switch s := p.Status.ContainerStatuses; {
			case ready(p) && p.DeletionTimestamp == nil:
				serving++
			case len(s) == 1 && s[0].State.Waiting != nil && s[0].State.Waiting.Reason == "ErrImageNeverPull":
				stuck++
			}
		}
		if stuck != 1 || serving != len(b.Nodes)-1 {
			return fmt.Errorf("%d agents wait for their image and %d serve", stuck, serving)
		}
		return nil
	})
	said.Reset()
	if err := Install(ctx, b.Kubeconfig, "lastcall", system, &said, "agent.logLevel=debug", "hub.logLevel=debug"); err != nil {
		t.Fatalf("%v\n%s\n%s", err, said.String(), b.pods(t))
	}
	b.everywhere(t, "--log-level=debug")
}

func ready(p corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue })
}

// pods says what is wrong with which pod, for a failed test.
func (b *bed) pods(t *testing.T) string {
	t.Helper()
	list, err := b.client.CoreV1().Pods(system).List(context.WithoutCancel(t.Context()), metav1.ListOptions{})
	if err != nil {
		return err.Error()
	}
	var text strings.Builder
	for _, p := range list.Items {
		fmt.Fprintf(&text, "%s on %s: %s ready=%t %+v\n", p.Name, p.Spec.NodeName, p.Status.Phase, ready(p), p.Status.ContainerStatuses)
		log, err := b.client.CoreV1().Pods(system).GetLogs(p.Name, &corev1.PodLogOptions{}).DoRaw(context.WithoutCancel(t.Context()))
		fmt.Fprintf(&text, "%s%v\n", log, err)
	}
	return text.String()
}

func (b *bed) within(t *testing.T, limit time.Duration, done func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	for {
		err := done(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatal(errors.Join(err, ctx.Err()))
		case <-time.After(200 * time.Millisecond):
		}
	}
}
