//go:build linux

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/hub/sizing"
)

// canaries: measure measures, cleans up however it ends, and changes nothing else in the cluster.
func canaries(t *testing.T, i *installed) {
	spaces := []string{"measured", "interrupted", "killed"}
	for _, ns := range spaces {
		i.namespace(t, ns)
		label := `{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"restricted"}}}`
		if _, err := i.client.CoreV1().Namespaces().Patch(t.Context(), ns, types.MergePatchType, []byte(label), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		within(t, time.Minute, func() error { // what every namespace gets comes some time after it
			_, err := i.client.CoreV1().ServiceAccounts(ns).Get(t.Context(), "default", metav1.GetOptions{})
			if err == nil {
				_, err = i.client.CoreV1().ConfigMaps(ns).Get(t.Context(), "kube-root-ca.crt", metav1.GetOptions{})
			}
			return err
		})
	}
	before := i.objects(t)
	t.Run("at once", func(t *testing.T) {
		for _, tt := range []struct {
			name string
			run  func(*testing.T, *installed, string)
		}{
			{"measured", canaryMeasured}, {"interrupted", canaryInterrupted}, {"killed", canaryKilled},
		} {
			t.Run(tt.name, func(t *testing.T) {
				t.Parallel()
				tt.run(t, i, tt.name)
			})
		}
	})
	after := i.objects(t)
	if len(before) < 50 {
		t.Errorf("only %d objects were looked at", len(before))
	}
	for name, was := range before {
		if is, ok := after[name]; !ok || is != was {
			t.Errorf("%s was %s and is %s", name, was, is)
		}
	}
	for name := range after {
		if _, ok := before[name]; !ok {
			t.Errorf("%s was made", name)
		}
	}
}

// objects are all objects of the cluster that somebody could have changed, without their status. What goes with a namespace of another
// test is none of them, and neither is what changes all the time.
func (i *installed) objects(t *testing.T) map[string]string {
	t.Helper()
	client, err := dynamic.NewForConfig(i.RESTConfig())
	if err != nil {
		t.Fatal(err)
	}
	spaces, err := i.client.CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ends := map[string]bool{}
	for _, ns := range spaces.Items {
		ends[ns.Name] = ns.DeletionTimestamp != nil
	}
	_, lists, err := i.client.Discovery().ServerGroupsAndResources()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, l := range lists {
		gv, err := schema.ParseGroupVersion(l.GroupVersion)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range l.APIResources {
			if !slices.Contains(r.Verbs, "list") || slices.Contains([]string{"events", "leases"}, r.Name) {
				continue
			}
			objects, err := client.Resource(gv.WithResource(r.Name)).List(t.Context(), metav1.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range objects.Items {
				of := o.GetNamespace()
				if r.Name == "ipaddresses" { // it goes after its Service, which may go with a namespace
					of, _, _ = unstructured.NestedString(o.Object, "spec", "parentRef", "namespace")
					if _, there := ends[of]; !there {
						continue
					}
				}
				if !ends[of] && !(r.Name == "namespaces" && ends[o.GetName()]) {
					all[strings.Join([]string{r.Name, gv.Group, o.GetNamespace(), o.GetName()}, " ")] = lasting(t, o)
				}
			}
		}
	}
	return all
}

func lasting(t *testing.T, o unstructured.Unstructured) string {
	content := maps.Clone(o.Object)
	delete(content, "status")
	meta := maps.Clone(content["metadata"].(map[string]any))
	delete(meta, "managedFields")
	delete(meta, "resourceVersion")
	content["metadata"] = meta
	text, err := json.Marshal(content)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// canaryMeasured: an answer that adds up.
func canaryMeasured(t *testing.T, i *installed, ns string) {
	out, said, err := i.ask(t, "-n", ns, "measure", "--for", "40s", "-o", "json")
	if err != nil {
		t.Fatalf("measure: %v %s\n%s", err, said, out)
	}
	t.Log("\n" + said)
	if !strings.Contains(said, "is removed.") {
		t.Errorf("it does not say that it has cleaned up: %s", said)
	}
	i.nothingOf(t, ns)
	var m struct {
		Canary string
		Kinds  []struct {
			Kind    string
			N       int
			Within  *float64 `json:"within_seconds"`
			Longest float64  `json:"longest_seconds"`
		}
		Places []struct {
			Node, Kind, Backend string
			N                   int
			Longest             float64 `json:"longest_seconds"`
		}
		Stages []struct {
			Stage   string
			N       int
			Longest float64 `json:"longest_seconds"`
		}
		Trials []struct {
			Kind       string
			Ended      bool
			Begun      time.Time
			Unheard    int
			Seconds    float64
			Departures []report.Departure
		}
		Recommendation sizing.Recommendation
	}
	if err := json.Unmarshal([]byte(out), &m); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	seen := map[string]bool{}
	var last time.Time // by the hub's clock, which is this machine's
	for n, tr := range m.Trials {
		want := map[string]int{"single": 1, "burst": 3}[tr.Kind]
		if tr.Unheard > 0 || !tr.Ended || len(tr.Departures) != want {
			t.Errorf("trial %d, %s: ended %v, %d departures, %d unheard", n, tr.Kind, tr.Ended, len(tr.Departures), tr.Unheard)
		}
		first, landed := time.Time{}, last
		for _, d := range tr.Departures {
			if seen[d.UID] {
				t.Errorf("%s is in two trials", d.Pod)
			}
			seen[d.UID] = true
			if d.Reason != "delete" || d.Kept || !d.Complete || d.Answered != len(i.Nodes) || d.LastCall == nil || d.LastCall.Hi <= 0 || d.LastCall.Hi > 30 || d.Workload != m.Canary {
				t.Errorf("trial %d: %+v", n, d)
				continue
			}
			if first.IsZero() || d.T0.Before(first) {
				first = d.T0
			}
			if at := d.T0.Add(time.Duration(d.LastCall.Hi * float64(time.Second))); at.After(landed) {
				landed = at
			}
		}
		if !last.IsZero() && first.Sub(last) < 2*time.Second {
			t.Errorf("trial %d begins %v after the last landing before it", n, first.Sub(last))
		}
		last = landed
	}
	if len(m.Trials) < 8 || len(m.Kinds) != 2 || len(m.Places) != len(i.Nodes) {
		t.Errorf("%d trials of %d kinds, %d places: %s", len(m.Trials), len(m.Kinds), len(m.Places), out)
	}
	for _, k := range m.Kinds {
		t.Logf("%s: n = %d, longest %.3f s", k.Kind, k.N, k.Longest)
		if (k.Within != nil) != (k.N >= 19) {
			t.Errorf("%s: a bound %v with n = %d", k.Kind, k.Within, k.N)
		}
	}
	for _, p := range m.Places {
		if p.N < len(seen)/2 || p.Kind != "kube-proxy" || p.Backend == "" || p.Longest <= 0 {
			t.Errorf("place %+v of %d pods", p, len(seen))
		}
	}
	staged := 0
	for _, s := range m.Stages {
		if s.Stage == "program" && s.Longest > 0 {
			staged += s.N
		}
	}
	if staged < len(m.Trials)/2 {
		t.Errorf("stages %+v of %d trials", m.Stages, len(m.Trials))
	}
	if r := m.Recommendation; r.Regime.Dataplane != "iptables-nft+nftables" || r.Regime.Nodes != len(i.Nodes) || r.Regime.Places != "kube-proxy" || (r.Seconds == nil) != (r.Basis == sizing.BasisNone) {
		t.Errorf("%+v", r)
	}
	// The hub knows it as one episode, and does not take it for a workload.
	within(t, time.Minute, func() error {
		out, said, err := i.ask(t, "-n", ns, "explain", m.Canary, "-o", "json")
		if err != nil {
			return fmt.Errorf("%w: %s", err, said)
		}
		var x report.Explanation
		if err := json.Unmarshal([]byte(out), &x); err != nil || x.Episode.Left < len(seen) {
			return fmt.Errorf("%v: %d pods left, want %d at least", err, x.Episode.Left, len(seen))
		}
		return nil
	})
	if out, said, err := i.ask(t, "-n", ns, "recommend", "-o", "name"); err != nil || strings.Contains(out, "lastcall-measure") {
		t.Errorf("recommend: %v %s\n%s", err, said, out)
	}
}

// running is a measure that goes on.
type running struct {
	cmd  *exec.Cmd
	mu   sync.Mutex
	said bytes.Buffer
	done chan error
}

func (r *running) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.said.Write(p)
}

func (r *running) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.said.String()
}

func (i *installed) measuring(t *testing.T, ns string) *running {
	t.Helper()
	r := &running{cmd: exec.Command(i.plugin, "-n", ns, "measure", "--for", "10m", "--headless"), done: make(chan error, 1)}
	r.cmd.Env = append(os.Environ(), "KUBECONFIG="+i.Kubeconfig)
	r.cmd.Stdout, r.cmd.Stderr = r, r
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { r.done <- r.cmd.Wait() }()
	t.Cleanup(func() { r.cmd.Process.Kill() }) //nolint:errcheck // it has ended, mostly
	return r
}

// leaving waits until it deletes pods.
func (r *running) leaving(t *testing.T, i *installed, ns string) {
	t.Helper()
	within(t, 2*time.Minute, func() error {
		list, err := i.client.CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, p := range list.Items {
			if p.DeletionTimestamp != nil {
				return nil
			}
		}
		return fmt.Errorf("of %d pods none leaves: %s", len(list.Items), r.text())
	})
}

// canaryInterrupted: Ctrl-C in the middle of it.
func canaryInterrupted(t *testing.T, i *installed, ns string) {
	r := i.measuring(t, ns)
	r.leaving(t, i, ns)
	if err := r.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	<-r.done
	if code := r.cmd.ProcessState.ExitCode(); code != 130 || !strings.Contains(r.text(), "is removed.") {
		t.Errorf("ended with %d: %s", code, r.text())
	}
	i.nothingOf(t, ns)
}

// canaryKilled: what it has left goes by itself, or by --cleanup.
func canaryKilled(t *testing.T, i *installed, ns string) {
	kill := func() string {
		r := i.measuring(t, ns)
		r.leaving(t, i, ns)
		if err := r.cmd.Process.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		<-r.done
		jobs, err := i.client.BatchV1().Jobs(ns).List(t.Context(), metav1.ListOptions{})
		if err != nil || len(jobs.Items) != 1 {
			t.Fatalf("%d Jobs are left: %v", len(jobs.Items), err)
		}
		return jobs.Items[0].Name
	}
	job := kill()
	_, said, err := i.ask(t, "-n", ns, "measure")
	if err == nil || !strings.Contains(said, job+" has been in namespace "+ns) {
		t.Errorf("another one beside it: %v %s", err, said)
	}
	// Its deadline is minutes away: have it now. Nothing of ours runs that could clean up.
	if _, err := i.client.BatchV1().Jobs(ns).Patch(t.Context(), job, types.MergePatchType, []byte(`{"spec":{"activeDeadlineSeconds":1}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	within(t, time.Minute, func() error { return i.left(t, ns) })

	job = kill()
	if _, said, err := i.ask(t, "-n", ns, "measure", "--cleanup"); err != nil || !strings.Contains(said, job+" in namespace "+ns+" is removed.") {
		t.Errorf("--cleanup: %v %s", err, said)
	}
	i.nothingOf(t, ns)
}

// left says what of a measure is in the namespace.
func (i *installed) left(t *testing.T, ns string) error {
	client, err := dynamic.NewForConfig(i.RESTConfig())
	if err != nil {
		return err
	}
	for _, r := range []schema.GroupVersionResource{{Group: "batch", Version: "v1", Resource: "jobs"}, {Version: "v1", Resource: "services"}, {Version: "v1", Resource: "pods"}, {Group: "networking.k8s.io", Version: "v1", Resource: "ingresses"}} {
		list, err := client.Resource(r).Namespace(ns).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		if n := len(list.Items); n > 0 {
			return fmt.Errorf("%d %s are left, such as %s", n, r.Resource, list.Items[0].GetName())
		}
	}
	return nil
}

func (i *installed) nothingOf(t *testing.T, ns string) {
	t.Helper()
	if err := i.left(t, ns); err != nil {
		t.Error(err)
	}
}
