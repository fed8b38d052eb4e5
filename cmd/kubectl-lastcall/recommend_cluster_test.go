//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"

	"github.com/lastcall-k8s/lastcall/hub/sizing"
	"github.com/lastcall-k8s/lastcall/internal/apiserver"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// shape is a workload, as the pod spec of its template, and what -o patch makes of it: the serving containers with the seconds that each
// must sleep after it, and the grace period; or a part of the error.
type shape struct {
	name, kind, pod string
	serves          string // containers that serve, by a blank; "server" if empty
	want            string // "server 12 grace 30"
	refused         string
}

var shapes = []shape{
	{name: "no-hook", pod: `containers: [{name: server, image: i}]`, want: "server 12 grace 30"},
	{name: "no-hook-sts", kind: "statefulset", pod: `containers: [{name: server, image: i}]`, want: "server 12 grace 30"},
	{name: "no-hook-ds", kind: "daemonset", pod: `containers: [{name: server, image: i}]`, want: "server 12 grace 30"},
	{name: "ports-probes", pod: `containers: [{name: server, image: i, ports: [{containerPort: 8080, name: http}], readinessProbe: {httpGet: {path: /, port: http}}, env: [{name: A, value: b}]}]`, want: "server 12 grace 30"},
	{name: "sleep-short", pod: `containers: [{name: server, image: i, lifecycle: {preStop: {sleep: {seconds: 5}}}}]`, want: "server 12 grace 30"},
	{name: "sleep-enough", pod: `containers: [{name: server, image: i, lifecycle: {preStop: {sleep: {seconds: 15}}}}]`, refused: "nothing has to change"},
	{name: "sleep-long", pod: `{terminationGracePeriodSeconds: 90, containers: [{name: server, image: i, lifecycle: {preStop: {sleep: {seconds: 60}}}}]}`, want: "server 12 grace 90"},
	{name: "exec-sleep", pod: `containers: [{name: server, image: i, lifecycle: {preStop: {exec: {command: [sleep, "5"]}}}}]`, want: "server 12 grace 30"},
	{name: "exec-and-more", pod: `containers: [{name: server, image: i, lifecycle: {preStop: {exec: {command: [/bin/sh, -c, 'sleep 5 && echo "<bye>" && nginx -s quit']}}}}]`, want: "server 12 grace 30"},
	{name: "exec-minutes", pod: `{terminationGracePeriodSeconds: 150, containers: [{name: server, image: i, lifecycle: {preStop: {exec: {command: [sleep, 2m]}}}}]}`, want: "server 12 grace 150"},
	{name: "exec-other", pod: `containers: [{name: server, image: i, lifecycle: {preStop: {exec: {command: [/drain.sh]}}}}]`, refused: "server runs a command, and a hook has one handler"},
	{name: "http-hook", pod: `containers: [{name: server, image: i, lifecycle: {preStop: {httpGet: {path: /drain, port: 8080}}}}]`, refused: "server calls an HTTP hook"},
	{name: "tcp-hook", pod: `containers: [{name: server, image: i, lifecycle: {preStop: {tcpSocket: {port: 8080}}}}]`, refused: "server has a preStop of another kind"},
	{name: "post-start", pod: `containers: [{name: server, image: i, lifecycle: {postStart: {exec: {command: ["true"]}}}}]`, want: "server 12 grace 30"},
	{name: "two-one-serves", pod: `containers: [{name: logger, image: i}, {name: server, image: i}]`, want: "server 12 grace 30"},
	{name: "two-serve", pod: `containers: [{name: server, image: i}, {name: admin, image: i, lifecycle: {preStop: {exec: {command: [sleep, "3"]}}}}]`, serves: "server admin", want: "server 12 admin 12 grace 30"},
	{name: "one-cannot", pod: `containers: [{name: server, image: i}, {name: admin, image: i, lifecycle: {preStop: {httpGet: {port: 80}}}}]`, serves: "server admin", refused: "admin calls an HTTP hook"},
	{name: "native-sidecar", pod: `{initContainers: [{name: setup, image: i}, {name: envoy, image: i, restartPolicy: Always}], containers: [{name: server, image: i}]}`, serves: "envoy", want: "envoy 12 grace 30"},
	{name: "sidecar-both", kind: "statefulset", pod: `{initContainers: [{name: envoy, image: i, restartPolicy: Always, lifecycle: {preStop: {sleep: {seconds: 4}}}}], containers: [{name: server, image: i}]}`, serves: "envoy server", want: "envoy 12 server 12 grace 30"},
	{name: "grace-short", pod: `{terminationGracePeriodSeconds: 10, containers: [{name: server, image: i}]}`, want: "server 12 grace 19"},
	{name: "grace-one", kind: "daemonset", pod: `{terminationGracePeriodSeconds: 1, containers: [{name: server, image: i}]}`, want: "server 12 grace 19"},
	{name: "grace-below-sleep", pod: `{terminationGracePeriodSeconds: 4, containers: [{name: server, image: i, lifecycle: {preStop: {exec: {command: [sleep, "5"]}}}}]}`, want: "server 12 grace 19"},
	{name: "renamed", pod: `containers: [{name: newserver, image: i}, {name: logger, image: i}]`, refused: "which container serves is not known"},
	{name: "applied", pod: `containers: [{name: server, image: i, lifecycle: {preStop: {sleep: {seconds: 5}}}}]`, want: "server 12 grace 30"},
	{name: "recreate", pod: `containers: [{name: server, image: i}]`, want: "server 12 grace 30"},
}

// TestPatchTried: -o patch against a real API server, with workloads of all shapes. What is printed is then applied as people do, and the
// whole object looked at: it does what was said, and nothing else.
func TestPatchTried(t *testing.T) {
	api := apiserver.Start(t)
	config := api.AdminConfig()
	config.QPS = -1 // client-go's own limit is a request in 200 ms
	k, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	at := office(t, api)
	ctx := t.Context()
	kubelet := func(version string) {
		t.Helper()
		n, err := k.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node" + strings.ReplaceAll(version, ".", "-")}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		n.Status.NodeInfo.KubeletVersion = version
		if _, err := k.CoreV1().Nodes().UpdateStatus(ctx, n, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	kubelet("v1.30.1")
	for _, s := range shapes {
		t.Run(s.name, func(t *testing.T) {
			s.make(t, k)
			before := s.spec(t, k)
			out, errs, err := at.run("recommend", s.kindOf()+"/"+s.name, "-o", "patch")
			if s.refused != "" {
				if err == nil || !strings.Contains(err.Error(), s.refused) || out != "" {
					t.Fatalf("%v, %q", err, out)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if (s.name == "applied") != strings.Contains(errs, "is kept by argocd-controller: make the same change there") {
				t.Errorf("said: %s", errs)
			}
			if after := s.spec(t, k); !same(before, after) {
				t.Fatalf("the dry run changed the workload:\n%v\n%v", before, after)
			}
			s.patch(t, k, []byte(out))
			after := s.spec(t, k)
			if got := sleep(t, after, s.want); got != s.want {
				t.Errorf("%s, want %s: %s", got, s.want, out)
			}
			// With the hooks and the grace put back it is what it was.
			after.TerminationGracePeriodSeconds = before.TerminationGracePeriodSeconds
			for _, lists := range [][2][]corev1.Container{{after.Containers, before.Containers}, {after.InitContainers, before.InitContainers}} {
				for i := range lists[0] {
					is, was := &lists[0][i], lists[1][i]
					if post := is.Lifecycle; post != nil && was.Lifecycle != nil && !same(post.PostStart, was.Lifecycle.PostStart) {
						t.Errorf("postStart became %v", post.PostStart)
					}
					is.Lifecycle = was.Lifecycle
				}
			}
			if !same(before, after) {
				t.Errorf("something else changed:\n%v\n%v", before, after)
			}
			// And that is the end of it.
			if out, _, err := at.run("recommend", s.kindOf()+"/"+s.name, "-o", "patch"); err == nil || !strings.Contains(err.Error(), "nothing has to change") {
				t.Errorf("after it was applied: %v %s", err, out)
			}
			if out, _, err := at.run("recommend", s.kindOf()+"/"+s.name, "--fail-on=too-short"); err != nil || !strings.Contains(strings.Join(strings.Fields(out), " "), "as the API server has it") {
				t.Errorf("after it was applied: %v\n%s", err, out)
			}
		})
	}
	at.refusals(t, k, kubelet)
}

// refusals: what is not printed, and what is said instead.
func (at atOffice) refusals(t *testing.T, k kubernetes.Interface, kubelet func(string)) {
	fails := func(want string, args ...string) {
		t.Helper()
		out, _, err := at.run(append([]string{"recommend"}, args...)...)
		if err == nil || !strings.Contains(err.Error(), want) || out != "" {
			t.Errorf("%q: %v\n%s\nwant %s", args, err, out, want)
		}
	}
	fails("there is no deployment/none in namespace default", "deploy/none", "-o", "patch")
	again := shape{name: "again", pod: `containers: [{name: server, image: i}]`}
	again.make(t, k)
	fails("you may not read deployment/again", "deploy/again", "-o", "patch", "--token", "agent-token")
	// Of a workload that may not be read the answer is about the last pod that left.
	if out, _, err := at.run("recommend", "deploy/again", "--token", "agent-token"); err != nil || !strings.Contains(strings.Join(strings.Fields(out), " "), "could not be read: you may not read deployment/again") {
		t.Errorf("%v\n%s", err, out)
	}
	// A kubelet of 1.29 does not know preStop.sleep; a sleep that a command does is no matter of versions.
	kubelet("v1.29.9")
	fails("Kubernetes 1.29 has no preStop.sleep", "deploy/again", "-o", "patch")
	old := shape{name: "old", pod: `containers: [{name: server, image: i, lifecycle: {preStop: {exec: {command: [sleep, "5"]}}}}]`}
	old.make(t, k)
	if _, _, err := at.run("recommend", "deploy/old", "-o", "patch"); err != nil {
		t.Error(err)
	}
}

func same(a, b any) bool {
	x, err1 := json.Marshal(a)
	y, err2 := json.Marshal(b)
	return err1 == nil && err2 == nil && bytes.Equal(x, y)
}

// sleep says in the words of want how long the containers sleep that want names, and the grace period. Each hook must have one handler.
func sleep(t *testing.T, p corev1.PodSpec, want string) string {
	var parts []string
	words := strings.Fields(want)
	for i := 0; i+2 < len(words); i += 2 {
		h := hook(p, words[i])
		n := int64(-1)
		switch {
		case h == nil || h.HTTPGet != nil || h.TCPSocket != nil || (h.Exec != nil) == (h.Sleep != nil):
			t.Errorf("hook of %s: %+v", words[i], h)
		case h.Sleep != nil:
			n = h.Sleep.Seconds
		default:
			if s, ok := ledger.SleepOf(h.Exec.Command); ok {
				n = s.Seconds
			}
		}
		parts = append(parts, fmt.Sprintf("%s %d", words[i], n))
	}
	return strings.Join(append(parts, fmt.Sprintf("grace %d", *p.TerminationGracePeriodSeconds)), " ")
}

func (s shape) kindOf() string {
	if s.kind == "" {
		return "deployment"
	}
	return s.kind
}

// make creates the workload, "applied" by server-side apply.
func (s shape) make(t *testing.T, k kubernetes.Interface) {
	t.Helper()
	strategy := ""
	if s.name == "recreate" {
		strategy = ", strategy: {type: Recreate}"
	}
	kind := map[string]string{"deployment": "Deployment", "statefulset": "StatefulSet", "daemonset": "DaemonSet"}[s.kindOf()]
	pod := strings.TrimSuffix(strings.TrimPrefix(s.pod, "{"), "}")
	if strings.HasPrefix(s.pod, "containers") {
		pod = s.pod
	}
	text := fmt.Sprintf(`{apiVersion: apps/v1, kind: %s, metadata: {name: %s, namespace: default}, spec: {selector: {matchLabels: {app: x}}%s, template: {metadata: {labels: {app: x}}, spec: {%s}}}}`, kind, s.name, strategy, pod)
	body, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	q := k.AppsV1().RESTClient().Post()
	if s.name == "applied" {
		q = k.AppsV1().RESTClient().Patch(types.ApplyPatchType).Name(s.name).Param("fieldManager", "argocd-controller")
	}
	if err := q.Namespace("default").Resource(s.kindOf() + "s").Body(body).Do(t.Context()).Error(); err != nil {
		t.Fatal(err)
	}
}

func (s shape) spec(t *testing.T, k kubernetes.Interface) corev1.PodSpec {
	t.Helper()
	raw, err := k.AppsV1().RESTClient().Get().Namespace("default").Resource(s.kindOf()+"s").Name(s.name).SetHeader("Accept", "application/json").Do(t.Context()).Raw()
	if err != nil {
		t.Fatal(err)
	}
	var d appsv1.Deployment // of all three kinds the template stands in the same place
	if err := json.Unmarshal(raw, &d); err != nil {
		t.Fatal(err)
	}
	return d.Spec.Template.Spec
}

// patch applies what was printed as `kubectl patch --patch-file` does.
func (s shape) patch(t *testing.T, k kubernetes.Interface, patch []byte) {
	t.Helper()
	if err := k.AppsV1().RESTClient().Patch(types.StrategicMergePatchType).Namespace("default").Resource(s.kindOf()+"s").Name(s.name).
		Param("fieldManager", "kubectl-patch").Body(patch).Do(t.Context()).Error(); err != nil {
		t.Fatalf("%v: %s", err, patch)
	}
}

// atOffice is somebody with a kubeconfig and a hub. The hub is a double that sizes as the real one does: 41 episodes, the longest of
// 11.7 s, of a server without a preStop.
type atOffice struct {
	t     *testing.T
	flags []string
}

func office(t *testing.T, api *apiserver.Server) atOffice {
	dir := t.TempDir()
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		in := scene("default", q.FormValue("workload"), "server", ledger.PreStop{Kind: ledger.NoPreStop}, ascending(41, 11.7))
		var l sizing.Live
		live := json.Unmarshal([]byte(q.FormValue("live")), &l) == nil
		_, name, _ := strings.Cut(q.FormValue("workload"), "/")
		for _, s := range shapes {
			if s.name == name && s.serves != "" {
				cs := in.Episodes[40].Departures[0].Containers[:0]
				for serving := range strings.FieldsSeq(s.serves) {
					c := in.Episodes[0].Departures[0].Containers[0]
					c.Name = serving
					cs = append(cs, c)
				}
				in.Episodes[40].Departures[0].Containers = cs
			}
		}
		for _, e := range in.Episodes {
			finished := 2.0
			for i := range e.Departures[0].Containers {
				e.Departures[0].Containers[i].Finished = &finished
			}
		}
		if live {
			in.Workload = l.Workload(in.Workload.Namespace, in.Workload.Name, in.Episodes[40].Departures[0].Containers)
		}
		a := sizing.Advise(in, sizing.Pool{}, sizing.Options{})
		a.Live, a.AsOf = live, sceneTime
		json.NewEncoder(w).Encode(a) //nolint:errcheck // the test would see it
	}))
	t.Cleanup(s.Close)
	c := cluster{t: t, api: api}
	config, ca, token := filepath.Join(dir, "kubeconfig"), filepath.Join(dir, "ca.crt"), filepath.Join(dir, "token")
	for _, err := range []error{c.kubeconfig(config, "admin-token"), os.WriteFile(token, []byte("t"), 0o600),
		os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return atOffice{t, []string{"--kubeconfig", config, "--hub", s.URL, "--hub-ca-file", ca, "--hub-token-file", token}}
}

func (at atOffice) run(args ...string) (out, errs string, err error) {
	var o, e bytes.Buffer
	c := &cli{out: &o, err: &e, view: view{screen: screen{width: 80}, now: func() time.Time { return sceneTime }, zone: time.UTC}}
	root := rootCommand(c)
	root.SetArgs(append(args, at.flags...))
	err = root.ExecuteContext(context.Background())
	return o.String(), e.String(), err
}

// TestTook: whatever changes a patch on its way into the API server is seen.
func TestTook(t *testing.T) {
	five, grace := int64(5), int64(19)
	spec := func(h *corev1.LifecycleHandler) corev1.PodSpec {
		return corev1.PodSpec{TerminationGracePeriodSeconds: &grace, Containers: []corev1.Container{{Name: "server", Lifecycle: &corev1.Lifecycle{PreStop: h}}}}
	}
	sleeps := func(n int64) *corev1.LifecycleHandler {
		return &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: n}}
	}
	runs := func(words ...string) *corev1.LifecycleHandler {
		return &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: words}}
	}
	sleep12 := sizing.Patch{Edits: []sizing.Edit{{Container: "server", To: 12}}, Grace: &grace}
	exec12 := sizing.Patch{Edits: []sizing.Edit{{Container: "server", To: 12, Command: []string{"sleep", "12"}}}}
	for _, c := range []struct {
		name  string
		patch sizing.Patch
		after corev1.PodSpec
		ok    bool
	}{
		{"as it says", sleep12, spec(sleeps(12)), true},
		{"a command", exec12, spec(runs("sleep", "12")), true},
		{"another number", sleep12, spec(sleeps(5)), false},
		{"no handler", sleep12, spec(nil), false},
		{"a handler that was dropped", sleep12, spec(&corev1.LifecycleHandler{}), false},
		{"a command instead", sleep12, spec(runs("sleep", "12")), false},
		{"another command", exec12, spec(runs("sleep", "13")), false},
		{"the container is gone", sleep12, corev1.PodSpec{TerminationGracePeriodSeconds: &grace}, false},
		{"another grace", sizing.Patch{Grace: &five}, spec(nil), false},
		{"no grace", sizing.Patch{Grace: &five}, corev1.PodSpec{}, false},
	} {
		if err := took(c.patch, c.after); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
