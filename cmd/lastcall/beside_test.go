package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/lastcall-k8s/lastcall/hub"
	"github.com/lastcall-k8s/lastcall/hub/store"
	"github.com/lastcall-k8s/lastcall/internal/apiserver"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// TestBesideAConsumer runs the agent as a sidecar, without any privilege: a real API server says that an endpoint
// leaves, and what answers as Envoy lets go of it.
func TestBesideAConsumer(t *testing.T) {
	binary := buildAgent(t)
	var hosts atomic.Int32
	envoy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		list := []string{}
		for _, a := range []string{"10.0.0.1", "10.0.0.2"}[:hosts.Load()] {
			list = append(list, `{"address":{"socket_address":{"address":"`+a+`","port_value":8080}}}`)
		}
		io.WriteString(w, `{"cluster_statuses":[{"host_statuses":[`+strings.Join(list, ",")+`]}]}`) //nolint:errcheck // the client left
	}))
	defer envoy.Close()
	hosts.Store(2)

	server := apiserver.Start(t)
	admin, err := kubernetes.NewForConfig(server.AdminConfig())
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(admin.RbacV1().ClusterRoles().Create(ctx, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Rules: []rbacv1.PolicyRule{
		// What the chart's ClusterRole lastcall-sidecar grants: nothing of pods and nodes.
		{Verbs: []string{"list", "watch"}, APIGroups: []string{""}, Resources: []string{"services"}},
		{Verbs: []string{"list", "watch"}, APIGroups: []string{"discovery.k8s.io"}, Resources: []string{"endpointslices"}},
		{Verbs: []string{"create"}, APIGroups: []string{"authentication.k8s.io"}, Resources: []string{"tokenreviews"}},
		{Verbs: []string{"create"}, APIGroups: []string{"authorization.k8s.io"}, Resources: []string{"subjectaccessreviews"}}}}, metav1.CreateOptions{}))
	must(admin.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "a"},
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "a"}, Subjects: []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: apiserver.Agent}}}, metav1.CreateOptions{}))
	must(admin.CoreV1().Services("default").Create(ctx, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "http", Port: 80}}}}, metav1.CreateOptions{}))
	endpoint := func(address, uid string, leaving bool) discoveryv1.Endpoint {
		return discoveryv1.Endpoint{Addresses: []string{address}, TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: uid, UID: types.UID("uid-" + uid)},
			Conditions: discoveryv1.EndpointConditions{Ready: new(!leaving), Serving: new(true), Terminating: new(leaving)}}
	}
	slice := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Name: "web-1", Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
		AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Name: new("http"), Port: new(int32(8080))}},
		Endpoints: []discoveryv1.Endpoint{endpoint("10.0.0.1", "a", false), endpoint("10.0.0.2", "b", false)}}
	slice, err = admin.DiscoveryV1().EndpointSlices("default").Create(ctx, slice, metav1.CreateOptions{})
	must(nil, err)

	dir := filepath.Dir(binary)
	for name, text := range map[string]string{
		"consumers.yaml": "skip: ['*']\nconsumers:\n- place: envoy\n  at: " + envoy.URL + "\n",
		"kubeconfig": `{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c, user: u}}],
  clusters: [{name: c, cluster: {server: "https://` + server.Addr() + `", insecure-skip-tls-verify: true}}], users: [{name: u, user: {token: ` + server.AgentConfig("").BearerToken + `}}]}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(binary, "agent", "--node-name", "n1", "--kubeconfig", filepath.Join(dir, "kubeconfig"), "--list-jitter", "0",
		"--consumers", filepath.Join(dir, "consumers.yaml"), "--only-consumers", "--listen", freeAddress(t), "--debug-listen", freeAddress(t), "--api-listen", freeAddress(t))
	cmd.Env = []string{"POD_NAMESPACE=edge", "POD_NAME=envoy-x"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	var log syncBuffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(log.String())
		}
	})
	defer cmd.Process.Kill() //nolint:errcheck // it may have ended
	page := func(flag, path string) (string, error) {
		a, err := http.Get("http://" + after(cmd.Args, flag) + path)
		if err != nil {
			return "", err
		}
		defer a.Body.Close()
		b, err := io.ReadAll(a.Body)
		return string(b), err
	}
	until(t, "it is ready and has looked at Envoy", func() bool {
		ready, err := page("--listen", "/readyz")
		status, err2 := page("--debug-listen", "/v1/consumers")
		return err == nil && err2 == nil && ready == "ok\n" && strings.Contains(status, `"replica":"edge/envoy-x"`) && strings.Contains(status, `"active":2`)
	})

	places := followed(t, server, admin, after(cmd.Args, "--api-listen"))
	until(t, "the hub follows it", func() bool { return slices.Equal(places(), []string{"n1 envoy edge/envoy-x ok"}) })

	events, stop := context.WithCancel(ctx)
	defer stop()
	q, err := http.NewRequestWithContext(events, http.MethodGet, "http://"+after(cmd.Args, "--debug-listen")+"/v1/events?follow=1", nil)
	must(nil, err)
	a, err := http.DefaultClient.Do(q)
	must(nil, err)
	defer a.Body.Close()
	lines := bufio.NewScanner(a.Body)
	next := func(want func(ledger.Event) bool) ledger.Event {
		t.Helper()
		for lines.Scan() {
			var e ledger.Event
			if err := json.Unmarshal(bytes.TrimSpace(lines.Bytes()), &e); err != nil {
				t.Fatal(err)
			}
			if want(e) {
				return e
			}
		}
		t.Fatal("the events ended: ", lines.Err())
		return ledger.Event{}
	}
	hello := next(func(e ledger.Event) bool { return e.Type == ledger.EventHello })
	if want := (ledger.Consumer{Place: "envoy", Replica: "edge/envoy-x", Fidelity: "dataplane", Lag: 1}); len(hello.Consumers) != 1 || hello.Consumers[0] != want {
		t.Errorf("who is read: %+v, want %+v", hello.Consumers, want)
	}
	slice.Endpoints[1] = endpoint("10.0.0.2", "b", true)
	slice, err = admin.DiscoveryV1().EndpointSlices("default").Update(ctx, slice, metav1.UpdateOptions{})
	must(nil, err)
	next(func(e ledger.Event) bool {
		return e.Place == "envoy" && len(e.Departures) == 1 && e.Departures[0].Pending == 1
	})
	went := time.Now()
	hosts.Store(1)
	e := next(func(e ledger.Event) bool { return e.Place == "envoy" && !e.Hi.IsZero() })
	if e.Replica != "edge/envoy-x" || e.Backend != "dataplane" || e.Departures[0].UID != "uid-b" || e.Departures[0].Outcomes[ledger.Landed] != 1 || e.Departures[0].Pending != 0 {
		t.Errorf("%+v", e)
	}
	if slop, ok := e.Slop(); !ok || slop < 100*time.Millisecond || e.Lo.After(went) || e.Hi.Before(went.Add(50*time.Millisecond)) {
		t.Errorf("landed (%v, %v], but it went at %v, and a worker may be 100 ms late", e.Lo, e.Hi, went)
	}
	metrics, err := page("--listen", "/metrics")
	must(nil, err)
	for _, want := range []string{`lastcall_removals_total{family="ipv4",outcome="landed",place="envoy"} 1`,
		`lastcall_consumer_lag_bound_seconds{fidelity="dataplane",place="envoy"} 1`, `lastcall_consumer_requests_total{place="envoy",why="look"}`} {
		if !strings.Contains(metrics, want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
	// It cannot be read any more, which shows when the next removal is looked for: a heartbeat says so.
	envoy.Close()
	slice.Endpoints[0] = endpoint("10.0.0.1", "a", true)
	must(admin.DiscoveryV1().EndpointSlices("default").Update(ctx, slice, metav1.UpdateOptions{}))
	next(func(e ledger.Event) bool {
		return e.Type == ledger.EventHeartbeat && len(e.Consumers) == 1 && e.Consumers[0].Unread != ""
	})
	until(t, "the hub says so", func() bool {
		ps := places()
		return len(ps) == 1 && strings.HasPrefix(ps[0], "n1 envoy edge/envoy-x NOT MEASURED")
	})
	stop()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
}

// followed starts a hub that finds the agent by the label of its pod, and returns the places that it knows.
func followed(t *testing.T, server *apiserver.Server, admin *kubernetes.Clientset, at string) (places func() []string) {
	t.Helper()
	ctx := t.Context()
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(admin.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "edge"}}, metav1.CreateOptions{}))
	must(admin.CoreV1().ServiceAccounts("edge").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "hub"}}, metav1.CreateOptions{}))
	must(admin.RbacV1().ClusterRoles().Create(ctx, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "reader"},
		Rules: []rbacv1.PolicyRule{{NonResourceURLs: []string{"/v1/*"}, Verbs: []string{"get"}}}}, metav1.CreateOptions{}))
	must(admin.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "reader"},
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "reader"}, Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: "edge", Name: "hub"}}}, metav1.CreateOptions{}))
	node, err := admin.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}, metav1.CreateOptions{})
	must(nil, err)
	node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	must(admin.CoreV1().Nodes().UpdateStatus(ctx, node, metav1.UpdateOptions{}))
	token, err := admin.CoreV1().ServiceAccounts("edge").CreateToken(ctx, "hub", &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{"lastcall"}}}, metav1.CreateOptions{})
	must(nil, err)
	addr := netip.MustParseAddrPort(at)
	pod, err := admin.CoreV1().Pods("edge").Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "envoy-x", Labels: map[string]string{hub.BesideLabel: "true"}},
		Spec: corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "envoy", Image: "i"}},
			InitContainers: []corev1.Container{{Name: "lastcall", Image: "i", RestartPolicy: new(corev1.ContainerRestartPolicyAlways), Ports: []corev1.ContainerPort{{Name: hub.BesidePort, ContainerPort: int32(addr.Port())}}}}}}, metav1.CreateOptions{})
	must(nil, err)
	pod.Status.Phase, pod.Status.PodIP, pod.Status.PodIPs = corev1.PodRunning, addr.Addr().String(), []corev1.PodIP{{IP: addr.Addr().String()}}
	must(admin.CoreV1().Pods("edge").UpdateStatus(ctx, pod, metav1.UpdateOptions{}))

	dir := t.TempDir()
	must(nil, os.WriteFile(filepath.Join(dir, "token"), []byte(token.Status.Token), 0o600))
	client, err := agentClient(hubFlags{tokenFile: filepath.Join(dir, "token")}, besideServerName)
	must(nil, err)
	rows, err := store.Open(ctx, filepath.Join(dir, "hub.db"), store.Config{})
	must(nil, err)
	cluster, err := hub.NewCluster(server.AdminConfig())
	must(nil, err)
	h := hub.New(ctx, hub.Config{Now: time.Now, Store: rows, Agents: client, Beside: client, AgentPort: 1, Gap: time.Minute,
		Metrics: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler)})
	running, stop := context.WithCancel(context.Background())
	var g errgroup.Group
	g.Go(func() error { return h.Run(running) })
	g.Go(func() error { return h.Find(running, cluster, "edge", "a=node") })
	g.Go(func() error { return h.FindBeside(running, cluster, []string{"edge"}) })
	t.Cleanup(func() {
		stop()
		if err := errors.Join(g.Wait(), rows.Close(context.Background())); err != nil {
			t.Error(err)
		}
	})
	return func() (out []string) {
		ps, err := h.Places(ctx)
		if err != nil {
			t.Error(err)
		}
		for _, p := range ps {
			if p.Replica == "" {
				continue // the node's kube-proxy, without an agent
			}
			out = append(out, strings.TrimSpace(fmt.Sprintf("%s %s %s %s %s", p.Node, p.Kind, p.Replica, p.State, p.Why)))
		}
		return out
	}
}

// TestNamesOfAgents: who has the key of an agent beside a consumer cannot answer for a node's agent, nor the other way round.
func TestNamesOfAgents(t *testing.T) {
	dir := t.TempDir()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{agentServerName, besideServerName} {
		template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
		der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		server := httptest.NewUnstartedServer(http.NotFoundHandler())
		server.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
		server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
		server.StartTLS()
		defer server.Close()
		for _, asked := range []string{agentServerName, besideServerName} {
			config, err := agentTLS(file, asked)
			if err != nil {
				t.Fatal(err)
			}
			a, err := (&http.Client{Transport: &http.Transport{TLSClientConfig: config}}).Get(server.URL)
			if err == nil {
				a.Body.Close()
			}
			if (err == nil) != (asked == name) {
				t.Errorf("the certificate of %s, asked for %s: %v", name, asked, err)
			}
		}
	}
}

// after is the value of a flag.
func after(args []string, flag string) string {
	for i, a := range args {
		if a == flag {
			return args[i+1]
		}
	}
	return ""
}

func freeAddress(t *testing.T) string {
	s := httptest.NewServer(nil)
	defer s.Close()
	return netip.MustParseAddrPort(strings.TrimPrefix(s.URL, "http://")).String()
}

// until waits for what another process does.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never: ", what)
		}
	}
}
