//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/restmapper"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
	"sigs.k8s.io/yaml"

	"github.com/lastcall-k8s/lastcall/internal/apiserver"
)

// TestCluster runs scripts against a real API server, one after the other since nodes belong to no namespace. What a
// script makes there is deleted after it.
func TestCluster(t *testing.T) {
	api := apiserver.Start(t)
	files, err := filepath.Glob("testdata/cluster/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	c := cluster{t: t, api: api}
	for _, f := range files {
		p := params("", c.takes)
		p.Dir, p.Files = "", []string{f}
		setup := p.Setup
		p.Setup = func(e *testscript.Env) error {
			e.Setenv("API", "https://"+api.Addr())
			e.Defer(c.clear)
			if err := c.kubeconfig(filepath.Join(e.WorkDir, "kubeconfig"), "admin-token"); err != nil {
				return err
			}
			return errors.Join(setup(e), c.kubeconfig(filepath.Join(e.WorkDir, "guest"), "agent-token"))
		}
		p.Cmds["apply"], p.Cmds["kubelet"], p.Cmds["may"] = c.apply, startKubelet, c.may
		// Run runs its scripts in parallel, and returns when they are done.
		t.Run("", func(t *testing.T) { testscript.Run(t, p) })
	}
}

type cluster struct {
	t    *testing.T
	api  *apiserver.Server
	made []made
}

type made struct {
	in   dynamic.ResourceInterface
	name string
}

func (c *cluster) kubeconfig(file, token string) error {
	return os.WriteFile(file, fmt.Appendf(nil, `apiVersion: v1
kind: Config
current-context: c
contexts: [{name: c, context: {cluster: c, user: u, namespace: default}}]
clusters: [{name: c, cluster: {server: "https://%s", insecure-skip-tls-verify: true}}]
users: [{name: u, user: {token: %s}}]
`, c.api.Addr(), token), 0o600)
}

// takes asks the API server, as the hub does: the audience is part of the question.
func (c *cluster) takes(token string) bool {
	k, err := kubernetes.NewForConfig(c.api.AdminConfig())
	if err != nil {
		c.t.Error(err)
		return false
	}
	r, err := k.AuthenticationV1().TokenReviews().Create(context.Background(),
		&authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: []string{"lastcall"}}}, metav1.CreateOptions{})
	if err != nil {
		c.t.Error(err)
		return false
	}
	return r.Status.Authenticated && r.Status.User.Username == "system:serviceaccount:lastcall-system:lastcall-viewer"
}

// apply: apply FILE creates what the YAML holds, and sets its status.
func (c *cluster) apply(ts *testscript.TestScript, _ bool, args []string) {
	ctx := context.Background()
	client, err := dynamic.NewForConfig(c.api.AdminConfig())
	ts.Check(err)
	disco, err := discovery.NewDiscoveryClientForConfig(c.api.AdminConfig())
	ts.Check(err)
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(disco))
	text := os.Expand(ts.ReadFile(args[0]), ts.Getenv)
	for _, doc := range strings.Split(text, "\n---\n") {
		if strings.TrimSpace(doc) == "" {
			continue
		}
		o := &unstructured.Unstructured{}
		ts.Check(yaml.Unmarshal([]byte(doc), &o.Object))
		m, err := mapper.RESTMapping(o.GroupVersionKind().GroupKind(), o.GroupVersionKind().Version)
		ts.Check(err)
		var in dynamic.ResourceInterface = client.Resource(m.Resource)
		if ns := o.GetNamespace(); ns != "" {
			in = client.Resource(m.Resource).Namespace(ns)
		}
		status, hasStatus := o.Object["status"]
		got, err := in.Create(ctx, o, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) && o.GetKind() == "Namespace" { // of a script before this one
			continue
		}
		ts.Check(err)
		if o.GetKind() != "Namespace" { // no controller would end it
			c.made = append(c.made, made{in, o.GetName()})
		}
		if hasStatus {
			got.Object["status"] = status
			_, err = in.UpdateStatus(ctx, got, metav1.UpdateOptions{})
			ts.Check(err)
		}
	}
}

// may: may USER VERB RESOURCE NAMESPACE waits until the API server's authorizer, which watches roles, lets the user.
func (c *cluster) may(ts *testscript.TestScript, _ bool, args []string) {
	k, err := kubernetes.NewForConfig(c.api.AdminConfig())
	ts.Check(err)
	resource, sub, _ := strings.Cut(args[2], "/")
	resource, group, _ := strings.Cut(resource, ".")
	spec := authorizationv1.SubjectAccessReviewSpec{User: args[0], ResourceAttributes: &authorizationv1.ResourceAttributes{
		Verb: args[1], Group: group, Resource: resource, Subresource: sub, Namespace: args[3]}}
	if sub == "token" {
		spec.ResourceAttributes.Name = "lastcall-viewer"
	}
	for range 200 {
		r, err := k.AuthorizationV1().SubjectAccessReviews().Create(context.Background(), &authorizationv1.SubjectAccessReview{Spec: spec}, metav1.CreateOptions{})
		ts.Check(err)
		if r.Status.Allowed {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	ts.Fatalf("%v is not allowed", args)
}

func (c *cluster) clear() {
	now := int64(0)
	for _, m := range c.made {
		err := m.in.Delete(context.Background(), m.name, metav1.DeleteOptions{GracePeriodSeconds: &now})
		if err != nil && !apierrors.IsNotFound(err) {
			c.t.Error(err)
		}
	}
	c.made = nil
}

// startKubelet: kubelet sets KUBELET_PORT to that of a kubelet whose pods all have the script's hub at their port 9750.
// It is a double: the real one needs containers. The API server in front of it is real.
func startKubelet(ts *testscript.TestScript, _ bool, _ []string) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) { portForward(w, q, hubOf(ts).addr) }))
	ts.Defer(func() { s.CloseClientConnections(); s.Close() })
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	ts.Setenv("KUBELET_PORT", port)
}

func portForward(w http.ResponseWriter, q *http.Request, to string) {
	if _, err := httpstream.Handshake(q, w, []string{"portforward.k8s.io"}); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var mu sync.Mutex
	errs := map[string]httpstream.Stream{}
	conn := spdy.NewResponseUpgrader().UpgradeResponse(w, q, func(s httpstream.Stream, replied <-chan struct{}) error {
		id := s.Headers().Get(corev1.PortForwardRequestIDHeader)
		if s.Headers().Get(corev1.StreamType) == corev1.StreamTypeError {
			mu.Lock()
			errs[id] = s
			mu.Unlock()
			return nil
		}
		go func() {
			<-replied
			mu.Lock()
			e := errs[id]
			mu.Unlock()
			defer e.Close()
			defer s.Close()
			if port := s.Headers().Get(corev1.PortHeader); port != "9750" {
				fmt.Fprintf(e, "nobody listens on port %s", port)
				return
			}
			c, err := net.Dial("tcp", to)
			if err != nil {
				fmt.Fprint(e, err)
				return
			}
			defer c.Close()
			go func() { io.Copy(c, s); c.(*net.TCPConn).CloseWrite() }()
			io.Copy(s, c)
		}()
		return nil
	})
	if conn == nil {
		return
	}
	defer conn.Close()
	<-conn.CloseChan()
}
