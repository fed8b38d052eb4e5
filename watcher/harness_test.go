//go:build linux

package watcher

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/lastcall-k8s/lastcall/internal/apiserver"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// running is a watcher under test.
type running struct {
	*Watcher
	t       *testing.T
	changes chan ledger.Change
	cancel  context.CancelFunc
	ended   chan error

	mu     sync.Mutex
	log    strings.Builder
	counts map[string]int
}

func run(t *testing.T, cfg *rest.Config) *running {
	t.Helper()
	r := &running{t: t, changes: make(chan ledger.Change, 1000), ended: make(chan error, 1), counts: map[string]int{}}
	var notifying sync.Mutex
	w, err := New(Config{
		Client: cfg, Node: "n1", Jitter: 10 * time.Millisecond,
		Notify: func(cs []ledger.Change) {
			if !notifying.TryLock() {
				t.Error("Notify is called concurrently")
				return
			}
			defer notifying.Unlock()
			for _, c := range cs {
				r.changes <- c
			}
		},
		Received: func(resource string, n int) { r.add("received "+resource, n) },
		Lost:     func(source string) { r.add("lost "+source, 1) },
		Log:      slog.New(slog.NewTextHandler(r, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	r.Watcher = w
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	go func() { r.ended <- w.Run(ctx) }()
	t.Cleanup(func() {
		r.stop()
		if t.Failed() {
			t.Logf("the watcher's log:\n%s", r.logged())
		}
	})
	return r
}

func (r *running) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.Write(p)
}

func (r *running) logged() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.String()
}

func (r *running) add(what string, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts[what] += n
}

func (r *running) count(what string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.counts[what]
}

func (r *running) stop() {
	r.cancel()
	select {
	case err := <-r.ended:
		r.ended <- err
		if err != nil {
			r.t.Errorf("Run: %v", err)
		}
	case <-time.After(10 * time.Second):
		r.t.Error("Run does not end")
	}
}

func (r *running) ready() {
	r.t.Helper()
	r.until("the watcher is ready", func() bool { return r.Ready() == nil })
}

// until polls, because what it waits for comes without an event.
func (r *running) until(what string, done func() bool) {
	r.t.Helper()
	deadline := time.After(60 * time.Second)
	every := time.NewTicker(5 * time.Millisecond)
	defer every.Stop()
	for !done() {
		select {
		case <-every.C:
		case <-deadline:
			r.t.Fatalf("waited in vain until %s: %v", what, r.Ready())
		}
	}
}

// want waits for as many changes and compares them, in any order within an event: resources are
// watched independently.
func (r *running) want(lines ...string) []ledger.Change {
	r.t.Helper()
	missing := map[string]int{}
	for _, l := range lines {
		missing[l]++
	}
	var got []ledger.Change
	deadline := time.After(60 * time.Second)
	for len(missing) > 0 {
		select {
		case c := <-r.changes:
			l := brief(c)
			if missing[l] == 0 && c.Departed != nil && c.Departed.Source == ledger.T0Unknown && c.Departed.Reason == ledger.Delete {
				continue // of an outage; which resource is listed first is chance
			}
			if missing[l]--; missing[l] < 0 {
				r.t.Fatalf("unexpected: %s; missing %v", l, missing)
			}
			if missing[l] == 0 {
				delete(missing, l)
			}
			got = append(got, c)
		case <-deadline:
			r.t.Fatalf("missing: %v", missing)
		}
	}
	return got
}

func brief(c ledger.Change) string {
	switch {
	case c.Departed != nil:
		d := c.Departed
		s := fmt.Sprintf("departed %s %s %s", d.Pod.UID, d.Reason, d.Source)
		if d.Grace >= 0 {
			s += fmt.Sprint(" ", d.Grace)
		}
		return s
	case c.Left != nil && c.Left.Rearmed:
		return "left " + describeKey(c.Left.Key) + " rearmed"
	case c.Left != nil:
		return "left " + describeKey(c.Left.Key)
	case c.Retained != nil:
		return "retained " + describeKey(c.Retained.Key)
	}
	_, text, _ := strings.Cut(describe(c), " ")
	return text
}

// roundTripper looks at answers.
type roundTripper struct {
	http.RoundTripper
	look func(*http.Response)
}

func (r roundTripper) RoundTrip(q *http.Request) (*http.Response, error) {
	a, err := r.RoundTripper.RoundTrip(q)
	if err == nil {
		r.look(a)
	}
	return a, err
}

func (r roundTripper) WrappedRoundTripper() http.RoundTripper { return r.RoundTripper }

// gate is a way to the API server that can be closed.
type gate struct {
	t  *testing.T
	to string
	at string

	mu    sync.Mutex
	l     net.Listener
	conns []net.Conn
	wg    sync.WaitGroup
}

func newGate(t *testing.T, to string) *gate {
	g := &gate{t: t, to: to, at: "127.0.0.1:0"}
	g.open()
	t.Cleanup(g.close)
	return g
}

func (g *gate) addr() string { return g.at }

func (g *gate) open() {
	l, err := net.Listen("tcp", g.at)
	if err != nil {
		g.t.Fatal(err)
	}
	g.l, g.at = l, l.Addr().String()
	g.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // closed
			}
			up, err := net.Dial("tcp", g.to)
			if err != nil {
				c.Close()
				continue
			}
			g.mu.Lock()
			g.conns = append(g.conns, c, up)
			g.mu.Unlock()
			pipe := func(to, from net.Conn) { io.Copy(to, from); to.Close(); from.Close() }
			g.wg.Go(func() { pipe(up, c) })
			g.wg.Go(func() { pipe(c, up) })
		}
	})
}

func (g *gate) close() {
	g.l.Close()
	g.mu.Lock()
	for _, c := range g.conns {
		c.Close()
	}
	g.conns = nil
	g.mu.Unlock()
	g.wg.Wait()
}

// admin changes the cluster.
type admin struct {
	kubernetes.Interface
	t *testing.T
}

func newAdmin(t *testing.T, s *apiserver.Server) admin {
	c, err := kubernetes.NewForConfig(s.AdminConfig())
	if err != nil {
		t.Fatal(err)
	}
	return admin{c, t}
}

// try repeats what fails while the API server is still making its own objects, such as the
// namespace default.
func (a admin) try(what string, f func(context.Context) error) {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	every := time.NewTicker(50 * time.Millisecond)
	defer every.Stop()
	for {
		err := f(ctx)
		if err == nil {
			return
		}
		select {
		case <-every.C:
		case <-ctx.Done():
			a.t.Fatalf("%s: %v", what, err)
		}
	}
}

// grant lets the agent list and watch the resources and nothing else.
func (a admin) grant(resources ...string) {
	a.t.Helper()
	role := &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "agent"},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{"", "discovery.k8s.io"}, Resources: resources, Verbs: []string{"list", "watch"}}},
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "agent"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "agent"},
		Subjects:   []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: apiserver.Agent}},
	}
	a.try("grant", func(ctx context.Context) error {
		// An update creates what does not exist: RBAC allows that.
		if _, err := a.RbacV1().ClusterRoles().Update(ctx, role, metav1.UpdateOptions{}); err != nil {
			return err
		}
		_, err := a.RbacV1().ClusterRoleBindings().Update(ctx, binding, metav1.UpdateOptions{})
		return err
	})
}

func (a admin) node(name string) {
	a.t.Helper()
	a.try("create node", func(ctx context.Context) error {
		_, err := a.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		return err
	})
}

func (a admin) pod(name, node string) (uid string) {
	a.t.Helper()
	a.try("create pod", func(ctx context.Context) error {
		p, err := a.CoreV1().Pods("default").Create(ctx, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec:       corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "c", Image: "i"}}},
		}, metav1.CreateOptions{})
		if err == nil {
			uid = string(p.UID)
		}
		return err
	})
	return uid
}

func (a admin) deletePod(name string) {
	a.t.Helper()
	a.try("delete pod", func(ctx context.Context) error {
		return a.CoreV1().Pods("default").Delete(ctx, name, metav1.DeleteOptions{})
	})
}

func (a admin) service(name string) (clusterIP netip.Addr) {
	a.t.Helper()
	a.try("create service", func(ctx context.Context) error {
		s, err := a.CoreV1().Services("default").Create(ctx, &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "http", Port: 80}}},
		}, metav1.CreateOptions{})
		if err != nil {
			return err
		}
		clusterIP, err = netip.ParseAddr(s.Spec.ClusterIP)
		return err
	})
	return clusterIP
}

// slice writes an EndpointSlice of the Service web.
func (a admin) slice(name string, eps ...discoveryv1.Endpoint) (version string) {
	a.t.Helper()
	es := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: new("http"), Port: new(int32(8080))}},
		Endpoints:   eps,
	}
	slices := a.DiscoveryV1().EndpointSlices("default")
	a.try("write slice", func(ctx context.Context) error {
		got, err := slices.Update(ctx, es, metav1.UpdateOptions{})
		if apierrors.IsNotFound(err) {
			got, err = slices.Create(ctx, es, metav1.CreateOptions{})
		}
		if err == nil {
			version = got.ResourceVersion
		}
		return err
	})
	return version
}

func ready(addr, uid string) discoveryv1.Endpoint { return apiEndpoint(addr, uid, true, true, false) }
func unready(addr, uid string) discoveryv1.Endpoint {
	return apiEndpoint(addr, uid, false, false, false)
}
func terminating(addr, uid string) discoveryv1.Endpoint {
	return apiEndpoint(addr, uid, false, true, true)
}

func apiEndpoint(addr, uid string, ready, serving, terminating bool) discoveryv1.Endpoint {
	return discoveryv1.Endpoint{
		Addresses:  []string{addr},
		Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &serving, Terminating: &terminating},
		TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: "pod-of-" + uid, UID: types.UID(uid)},
	}
}
