//go:build linux

package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/internal/browser"
	"github.com/lastcall-k8s/lastcall/internal/testbed"
	"github.com/lastcall-k8s/lastcall/manifests"
)

const system = "lastcall-system"

// installed is a cluster with lastcall as users install it.
type installed struct {
	*world
	plugin string
}

// minSync is kube-proxy's minSyncPeriod on the cluster of TestInstalled: with its default of 1s what it proves would take longer.
const minSync = "200ms"

// TestInstalled: what users install answers what users ask.
func TestInstalled(t *testing.T) {
	// A kube-proxy that was stopped may need two syncs: with a second between them, as by default, 9 episodes are too few for all
	// restarts of recommendsRight to stay within what they showed.
	c := testbed.RequireCluster(t, testbed.Spec{Name: "lastcall-installed", Audit: true,
		KubeProxy: []string{"nftables.minSyncPeriod=" + minSync, "iptables.minSyncPeriod=" + minSync}})
	i := &installed{world: &world{Cluster: c, client: c.Client()}}
	i.install(t)
	p := i.prometheus(t, besides)
	late := i.shop(t, "watched", 2, 0)
	t.Run("two departures are late", func(t *testing.T) { lateTwice(t, late, p) })
	t.Run("a rollout is explained", func(t *testing.T) { explainRollout(t, i) })
	t.Run("a straggler is named, and is stuck before", func(t *testing.T) { explainStraggler(t, i) })
	t.Run("it works, says check", func(t *testing.T) { checkWorks(t, i) })
	t.Run("the hub begins anew", func(t *testing.T) { hubRestarts(t, i) })
	t.Run("pages of real departures", func(t *testing.T) { realPages(t, i) })
	t.Run("every panel shows what happened", func(t *testing.T) { watched(t, p) })
	t.Run("a StatefulSet and a DaemonSet", func(t *testing.T) { otherKinds(t, i) })
	t.Run("measured by a canary, before any rollout", func(t *testing.T) { canaries(t, i) })
	t.Run("its rights are those it uses", func(t *testing.T) { rights(t, i) })
	t.Run("no token, no answer", func(t *testing.T) { refused(t, i) })
	t.Run("its books balance", func(t *testing.T) { inBalance(t, i) })
	edge := i.namespace(t, "edge") // goes after what is installed there
	t.Run("consumers that listen on localhost", func(t *testing.T) { onLocalhost(t, i, edge) })
	t.Run("upgraded in the middle of a rollout", func(t *testing.T) { upgraded(t, i) })
	t.Run("what it recommends is right", func(t *testing.T) { recommendsRight(t, i) })
	t.Run("uninstalled", func(t *testing.T) { uninstalled(t, i) })
}

func (i *installed) install(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	build := func(name, pkg string) string {
		binary := filepath.Join(dir, name)
		cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, pkg)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH="+runtime.GOARCH)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", pkg, err, out)
		}
		return binary
	}
	image, err := testbed.ImageFromBinary("testbed.local/lastcall:e2e", build("lastcall", "github.com/lastcall-k8s/lastcall/cmd/lastcall"))
	if err != nil {
		t.Fatal(err)
	}
	if err := i.LoadImage(t.Context(), image); err != nil {
		t.Fatal(err)
	}
	i.plugin = build("kubectl-lastcall", "github.com/lastcall-k8s/lastcall/cmd/kubectl-lastcall")
	i.upgrade(t)
}

func (i *installed) upgrade(t *testing.T, sets ...string) {
	t.Helper()
	sets = append(sets, "image.repository=testbed.local/lastcall", "image.tag=e2e", "image.pullPolicy=Never")
	if err := manifests.Install(t.Context(), i.Kubeconfig, "lastcall", system, t.Output(), sets...); err != nil {
		t.Fatal(err)
	}
}

// ask runs kubectl lastcall.
func (i *installed) ask(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), i.plugin, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+i.Kubeconfig)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	err = cmd.Run()
	return out.String(), said.String(), err
}

// explained waits until all n departures of a shop are complete.
func (i *installed) explained(t *testing.T, namespace string, n int) (x report.Explanation) {
	t.Helper()
	within(t, time.Minute, func() error {
		out, said, err := i.ask(t, "-n", namespace, "explain", "deploy/shop", "-o", "json")
		if err != nil {
			return fmt.Errorf("%w: %s", err, said)
		}
		x = report.Explanation{}
		if err := json.Unmarshal([]byte(out), &x); err != nil {
			return err
		}
		if len(x.Departures) != n {
			return fmt.Errorf("%d departures, want %d", len(x.Departures), n)
		}
		for _, d := range x.Departures {
			if !d.Complete || d.Containers[0].ExitCode == nil {
				return fmt.Errorf("%s is not complete: answered %d of %d, %+v", d.Pod, d.Answered, d.Expected, d.Missing)
			}
		}
		return nil
	})
	return x
}

func (i *installed) restart(t *testing.T, s *shop) {
	t.Helper()
	patch := fmt.Sprintf(`{"spec":{"template":{"metadata":{"annotations":{"restarted":%q}}}}}`, time.Now())
	if _, err := s.client.AppsV1().Deployments(s.namespace).Patch(t.Context(), "shop", "application/merge-patch+json", []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

// explainRollout: every pod of a rollout has one row that adds up.
func explainRollout(t *testing.T, i *installed) {
	s := i.shop(t, "rolled", 3, 0)
	i.restart(t, s)
	x := i.explained(t, s.namespace, 3)
	if x.Episode.Tag != report.Rollout || x.Episode.Left != 3 || x.Episode.Workload != "deployment/shop" {
		t.Errorf("episode %+v", x.Episode)
	}
	for _, d := range x.Departures {
		switch {
		case d.Expected != len(i.Nodes) || d.Answered != d.Expected || len(d.Missing) > 0:
			t.Errorf("%s: %d of %d places, missing %+v", d.Pod, d.Answered, d.Expected, d.Missing)
		case d.LastCall == nil || d.LastCall.Hi <= 0 || d.LastCall.Hi > 30 || d.LastCall.Lo > d.LastCall.Hi:
			t.Errorf("%s: last call %+v", d.Pod, d.LastCall)
		// Another node may learn it from the slice before the pod's own node learns it from the pod.
		case d.T0Source != "pod" && d.T0Source != "slice" || d.Grace == nil || *d.Grace != 30 || !d.Containers[0].Serves:
			t.Errorf("%s: T0 from %s, grace %v, containers %+v", d.Pod, d.T0Source, d.Grace, d.Containers)
		case d.Told == nil || d.Told.Lo != 0 || d.Told.Hi > 1:
			t.Errorf("%s: told to stop %+v (%s)", d.Pod, d.Told, d.ToldWhy)
		}
		for _, l := range d.Slowest {
			if st := l.Stages; st == nil || st.API+st.Watch+st.Program-l.Landed.Hi > 1e-6 {
				t.Errorf("%s on %s: stages %+v of %+v", d.Pod, l.Node, l.Stages, l.Landed)
			}
		}
	}
	recommended(t, i, s)
}

// explainStraggler: a kube-proxy that does nothing for a while is pending, and then the one that was last.
func explainStraggler(t *testing.T, i *installed) {
	s := i.shop(t, "straggling", 3, 0)
	resume := i.stopKubeProxy(t, "node-1")
	s.delete(t, s.pods(t)[0])
	within(t, 30*time.Second, func() error {
		out, said, err := i.ask(t, "places", "-o", "json")
		if err != nil {
			return fmt.Errorf("%w: %s", err, said)
		}
		var list struct{ Items []report.Place }
		if err := json.Unmarshal([]byte(out), &list); err != nil {
			return err
		}
		ps := list.Items
		at := slices.IndexFunc(ps, func(p report.Place) bool { return p.Node == "node-1" && p.Family == "ipv4" })
		if at < 0 || ps[at].Pending == 0 || ps[at].Oldest == nil || *ps[at].Oldest < 2 {
			return fmt.Errorf("node-1 is not pending for 2 s: %+v", ps)
		}
		return nil
	})
	resume()
	x := i.explained(t, s.namespace, 1)
	d := x.Departures[0]
	if d.Straggler == nil || d.Straggler.Node != "node-1" || d.LastCall.Lo < 1 || d.Late != report.Yes {
		t.Errorf("straggler %+v, last call %+v, late %s", d.Straggler, d.LastCall, d.Late)
	}
	if st := d.Straggler; st != nil && (st.Stages == nil || st.Stages.Program < st.Stages.API+st.Stages.Watch) {
		t.Errorf("stages %+v: it was kube-proxy that did not program", st.Stages)
	}
	out, said, err := i.ask(t, "explain", "node/node-1")
	if err != nil || !strings.Contains(out, d.Pod) {
		t.Errorf("explain node/node-1: %v %s\n%s", err, said, out)
	}
	if out, _, err := i.ask(t, "-n", s.namespace, "explain", "pod/"+d.Pod); err != nil || !strings.Contains(out, "node-1") {
		t.Errorf("explain pod: %v\n%s", err, out)
	}
}

func checkWorks(t *testing.T, i *installed) {
	out, said, err := i.ask(t, "check")
	if err != nil || !strings.Contains(out, "2 of 2 nodes") {
		t.Errorf("check: %v %s\n%s", err, said, out)
	}
	if out, said, err := i.ask(t, "check", "--pre"); err != nil {
		t.Errorf("check --pre: %v %s\n%s", err, said, out)
	}
}

// hubRestarts: what was stored is answered by the next hub, which goes on following.
func hubRestarts(t *testing.T, i *installed) {
	s := i.shop(t, "restarting", 2, 0)
	ctx := t.Context()
	pods := i.client.CoreV1().Pods(system)
	list, err := pods.List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=hub"})
	if err != nil || len(list.Items) != 1 {
		t.Fatalf("%d hubs: %v", len(list.Items), err)
	}
	if err := pods.Delete(ctx, list.Items[0].Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	s.delete(t, s.pods(t)[0]) // while there is no hub
	d := i.explained(t, s.namespace, 1).Departures[0]
	if d.Answered != 2 || d.LastCall == nil || d.LastCall.Hi > 30 {
		t.Errorf("what left while the hub was away: %d answered, last call %+v", d.Answered, d.LastCall)
	}
}

// forward leads to a port of the hub's pod until the test ends.
func (i *installed) forward(t *testing.T, port int) string {
	t.Helper()
	list, err := i.client.CoreV1().Pods(system).List(t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=hub", FieldSelector: "status.phase=Running"})
	if err != nil || len(list.Items) == 0 {
		t.Fatalf("no hub: %v", err)
	}
	transport, upgrader, err := spdy.RoundTripperFor(i.RESTConfig())
	if err != nil {
		t.Fatal(err)
	}
	to := i.client.CoreV1().RESTClient().Post().Resource("pods").Namespace(system).Name(list.Items[0].Name).SubResource("portforward").URL()
	stop, ready := make(chan struct{}), make(chan struct{})
	f, err := portforward.New(spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, to), []string{fmt.Sprintf("0:%d", port)}, stop, ready, io.Discard, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	failed := make(chan error, 1)
	go func() { failed <- f.ForwardPorts() }()
	t.Cleanup(func() { close(stop); <-failed })
	select {
	case <-ready:
	case err := <-failed:
		failed <- err
		t.Fatal(err)
	}
	ports, err := f.GetPorts()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", ports[0].Local)
}

// realPages: the pages of what really happened are right in a real browser.
func realPages(t *testing.T, i *installed) {
	s := i.shop(t, "paged", 2, 0)
	s.delete(t, s.pods(t)[0])
	x := i.explained(t, s.namespace, 1)
	d := x.Departures[0]
	base := "http://" + i.forward(t, 9752)
	b := browser.Start(t)
	for _, path := range []string{"/", "/places", fmt.Sprintf("/episodes/%d", x.Episode.ID), "/departures/" + d.UID, "/workloads", "/workloads/" + s.namespace + "/deployment/shop?still"} {
		views := browser.Views
		if strings.HasPrefix(path, "/workloads") {
			views = []browser.View{views[0], views[3]} // all four in hub/pages
		}
		for _, v := range views {
			p := b.Open(t, base+path, v)
			if p.Status != http.StatusOK {
				t.Errorf("%s: %d", path, p.Status)
			}
			for _, problem := range p.Problems(t) {
				t.Errorf("%s at %+v: %s", path, v, problem)
			}
			if strings.Contains(path, d.UID) && !strings.Contains(p.Text(t), d.Pod) {
				t.Errorf("%s does not name %s", path, d.Pod)
			}
		}
	}
}

// refused: /v1 of hub and agents is for tokens with our audience only.
func refused(t *testing.T, i *installed) {
	at := i.forward(t, 9750)
	client := insecureClient(i.Dialer("node-1"))
	viaHub := insecureClient(nil)
	for _, tt := range []struct {
		client *http.Client
		url    string
	}{{viaHub, "https://" + at + "/v1/status"}, {client, "https://" + i.Nodes[0].IP + ":9748/v1/events"}} {
		for _, c := range []struct {
			what, token string
			want        int
		}{
			{"none", "", http.StatusUnauthorized},
			{"nonsense", "nonsense", http.StatusUnauthorized},
			{"one for the API server", i.token(t, "default", "default"), http.StatusUnauthorized},
			{"one of somebody who may not", i.token(t, "default", "default", "lastcall"), http.StatusForbidden},
			{"a reader's", i.token(t, system, "lastcall-viewer", "lastcall"), http.StatusOK},
		} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, tt.url, nil)
			if err != nil {
				t.Fatal(err)
			}
			if c.token != "" {
				req.Header.Set("Authorization", "Bearer "+c.token)
			}
			resp, err := tt.client.Do(req)
			if err != nil {
				t.Errorf("%s: %v", tt.url, err)
				continue
			}
			io.Copy(io.Discard, resp.Body) //nolint:errcheck // an answer that is cut off would end the port-forward
			resp.Body.Close()
			if resp.StatusCode != c.want {
				t.Errorf("%s with a token: %s: %s, want %d", tt.url, c.what, resp.Status, c.want)
			}
		}
	}
}

// token asks for a service account's token, for the audiences, or without any for the API server itself.
func (i *installed) token(t *testing.T, namespace, account string, audiences ...string) string {
	t.Helper()
	r, err := i.client.CoreV1().ServiceAccounts(namespace).CreateToken(t.Context(), account,
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: audiences}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return r.Status.Token
}

// insecureClient speaks TLS to whoever answers: the test knows who it is.
func insecureClient(dial func(context.Context, string, string) (net.Conn, error)) *http.Client {
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
}

// upgraded: an upgrade that comes while agents are being replaced ends well, and what leaves after it is seen everywhere.
func upgraded(t *testing.T, i *installed) {
	s := i.shop(t, "upgraded", 2, 0)
	patch := `{"spec":{"template":{"metadata":{"annotations":{"restarted":"yes"}}}}}`
	if _, err := i.client.AppsV1().DaemonSets(system).Patch(t.Context(), "lastcall-agent", "application/merge-patch+json", []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	i.upgrade(t, "agent.eventsMiB=4", "hub.episodeGap=1s") // recommendsRight counts on it
	within(t, time.Minute, func() error {
		out, said, err := i.ask(t, "check")
		if err != nil || !strings.Contains(out, "2 of 2 nodes") {
			return fmt.Errorf("check: %v %s\n%s", err, said, out)
		}
		return nil
	})
	s.delete(t, s.pods(t)[0])
	if d := i.explained(t, s.namespace, 1).Departures[0]; d.Answered != 2 || d.LastCall == nil {
		t.Errorf("after the upgrade: %d answered, last call %+v, missing %+v", d.Answered, d.LastCall, d.Missing)
	}
}

// uninstalled: nothing of ours is left, in the namespace or outside.
func uninstalled(t *testing.T, i *installed) {
	if err := manifests.Uninstall(t.Context(), i.Kubeconfig, "lastcall", system); err != nil {
		t.Fatal(err)
	}
	_, lists, err := i.client.Discovery().ServerGroupsAndResources()
	if err != nil {
		t.Fatal(err)
	}
	client, err := dynamic.NewForConfig(i.RESTConfig())
	if err != nil {
		t.Fatal(err)
	}
	kinds := 0
	for _, l := range lists {
		gv, err := schema.ParseGroupVersion(l.GroupVersion)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range l.APIResources {
			// Events tell of what was; they go by themselves.
			if !slices.Contains(r.Verbs, "list") || r.Name == "events" {
				continue
			}
			kinds++
			within(t, time.Minute, func() error {
				objects, err := client.Resource(gv.WithResource(r.Name)).List(t.Context(), metav1.ListOptions{})
				if err != nil {
					return err
				}
				for _, o := range objects.Items {
					if strings.HasPrefix(o.GetName(), "lastcall") && o.GetName() != system {
						return fmt.Errorf("%s %s/%s is left", r.Name, o.GetNamespace(), o.GetName())
					}
				}
				return nil
			})
		}
	}
	if kinds < 30 {
		t.Errorf("looked at %d kinds only", kinds)
	}
}
