//go:build linux

package routes

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/lastcall-k8s/lastcall/hub/serving"
	"github.com/lastcall-k8s/lastcall/internal/apiserver"
)

const role = `
kind: ClusterRole
apiVersion: rbac.authorization.k8s.io/v1
metadata: {name: hub}
rules:
- {apiGroups: [""], resources: [services], verbs: [list, watch]}
- {apiGroups: [networking.k8s.io], resources: [ingresses, ingressclasses], verbs: [list, watch]}
- {apiGroups: [gateway.networking.k8s.io, traefik.io, projectcontour.io], resources: ["*"], verbs: [list, watch]}
- {apiGroups: [apps], resources: [deployments, replicasets, statefulsets, daemonsets], verbs: [get]}
`

const binding = `
kind: ClusterRoleBinding
apiVersion: rbac.authorization.k8s.io/v1
metadata: {name: hub}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: hub}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: agent}]
`

const routeCRD = `
kind: CustomResourceDefinition
apiVersion: apiextensions.k8s.io/v1
metadata: {name: httproutes.gateway.networking.k8s.io, annotations: {api-approved.kubernetes.io: "unapproved, for a test"}}
spec:
  group: gateway.networking.k8s.io
  names: {kind: HTTPRoute, plural: httproutes, singular: httproute}
  scope: Namespaced
  versions:
  - {name: v1beta1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
`

const route = `
kind: HTTPRoute
apiVersion: gateway.networking.k8s.io/v1beta1
metadata: {namespace: default, name: web}
spec: {rules: [{backendRefs: [{name: web, port: 80}]}]}
status: {parents: [{controllerName: projectcontour.io/gateway-controller, conditions: [{type: Accepted, status: "True"}]}]}
`

// world is an API server with a few objects, and somebody who makes more.
type world struct {
	t     *testing.T
	admin *rest.RESTClient
}

func (w world) do(verb, path, object string) {
	w.t.Helper()
	body, err := yaml.YAMLToJSON([]byte(object))
	if err != nil {
		w.t.Fatal(err)
	}
	if object == "" {
		body = nil
	}
	if err := w.admin.Verb(verb).AbsPath(path).SetHeader("Content-Type", "application/json").Body(body).Do(w.t.Context()).Error(); err != nil {
		w.t.Fatalf("%s %s: %v", verb, path, err)
	}
}

func (w world) until(what string, ok func() (bool, any)) {
	w.t.Helper()
	var said any
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		yes := false
		if yes, said = ok(); yes {
			return
		}
		select {
		case <-w.t.Context().Done():
		case <-time.After(10 * time.Millisecond):
		}
	}
	w.t.Fatalf("waited in vain until %s: %+v", what, said)
}

const (
	rbac     = "/apis/rbac.authorization.k8s.io/v1"
	apps     = "/apis/apps/v1/namespaces/default"
	core     = "/api/v1/namespaces/default"
	networks = "/apis/networking.k8s.io/v1"
	crds     = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
	routes   = "/apis/gateway.networking.k8s.io/v1beta1/namespaces/default/httproutes"
)

// TestWatch: what the API server says of how a workload is reached, from before anything may be read until the CRDs come
// and go.
func TestWatch(t *testing.T) {
	s := apiserver.Start(t)
	admin, err := kubernetes.NewForConfig(s.AdminConfig())
	if err != nil {
		t.Fatal(err)
	}
	in := world{t, admin.RESTClient().(*rest.RESTClient)}
	in.do("POST", core+"/services", `{metadata: {name: web}, spec: {selector: {app: web}, ports: [{port: 80}]}}`)
	in.do("POST", core+"/services", `{metadata: {name: db}, spec: {clusterIP: None, selector: {app: db}, ports: [{port: 80}]}}`)
	in.do("POST", apps+"/deployments", `{metadata: {name: web}, spec: {selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}, spec: {containers: [{name: c, image: i}]}}}}`)
	in.do("POST", apps+"/statefulsets", `{metadata: {name: db}, spec: {serviceName: db, selector: {matchLabels: {app: db}}, template: {metadata: {labels: {app: db}}, spec: {containers: [{name: c, image: i}]}}}}`)

	w, err := New(s.AgentConfig(s.Addr()), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	w.again = 100 * time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- w.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	in.until("it says what it may not", func() (bool, any) {
		got, _ := w.Serves("default", "deployment/web")
		return got.Unknown != "" && strings.Contains(w.Trouble(), "forbidden") && len(got.Ways) == 0, got
	})

	in.do("POST", rbac+"/clusterroles", role)
	in.do("POST", rbac+"/clusterrolebindings", binding)
	kubeProxy := serving.Way{Place: "kube-proxy"}
	serves := func(workload string, want ...serving.Way) {
		t.Helper()
		in.until(workload+" is served", func() (bool, any) {
			got, soon := w.Serves("default", workload)
			return cmp.Equal(got, serving.Serves{Ways: want}) && !soon, got
		})
	}
	serves("deployment/web", kubeProxy)
	serves("statefulset/db", serving.Way{Place: "dns"})
	in.until("there is no trouble", func() (bool, any) { return w.Trouble() == "", w.Trouble() })
	// Of these nobody can say which Services select them.
	for _, workload := range []string{"pod/bare", "rollout/x", "deployment/gone"} {
		in.until(workload+" may be served", func() (bool, any) {
			got, soon := w.Serves("default", workload)
			return cmp.Equal(got, serving.Serves{Ways: []serving.Way{{Place: "dns"}, kubeProxy}, Maybe: true}) && !soon, got
		})
	}

	nginx := serving.Way{Place: "ingress-nginx", Controller: "k8s.io/ingress-nginx"}
	in.do("POST", networks+"/ingressclasses", `{metadata: {name: nginx}, spec: {controller: k8s.io/ingress-nginx}}`)
	in.do("POST", networks+"/namespaces/default/ingresses", `{metadata: {name: web}, spec: {ingressClassName: nginx, defaultBackend: {service: {name: web, port: {number: 80}}}}}`)
	serves("deployment/web", nginx, kubeProxy)

	// The CRD of a route is made, and an older version of it than the newest there is.
	contour := serving.Way{Place: "envoy", Controller: "projectcontour.io/gateway-controller"}
	in.do("POST", crds, routeCRD)
	in.until("the CRD is served", func() (bool, any) {
		err := in.admin.Get().AbsPath(routes).Do(t.Context()).Error()
		return err == nil, err
	})
	in.do("POST", routes, route)
	serves("deployment/web", contour, nginx, kubeProxy)
	in.do("DELETE", routes+"/web", "")
	serves("deployment/web", nginx, kubeProxy)
	in.do("POST", routes, route)
	serves("deployment/web", contour, nginx, kubeProxy)
	in.do("DELETE", crds+"/httproutes.gateway.networking.k8s.io", "")
	serves("deployment/web", nginx, kubeProxy)
	in.do("DELETE", networks+"/namespaces/default/ingresses/web", "")
	serves("deployment/web", kubeProxy)
	if d := cmp.Diff([]serving.Served{{Way: serving.Way{Place: "dns"}, Services: 1, Example: serving.Name{Namespace: "default", Name: "db"}},
		{Way: kubeProxy, Services: 2, Example: serving.Name{Namespace: "default", Name: "kubernetes"}}}, w.Served()); d != "" {
		t.Error(d)
	}

	// A server that does not stream lists is asked for one, which is read object by object.
	c, err := w.client("", "v1", "Service")
	if err != nil {
		t.Fatal(err)
	}
	got, err := list(t.Context(), c.Get().Resource("services"), "Service")
	if err != nil {
		t.Fatal(err)
	}
	l := got.(*objectList)
	if len(l.Items) != 3 || l.ResourceVersion == "" {
		t.Errorf("%+v", l)
	}
	for _, o := range l.Items {
		if o := o.(*object); o.Service == nil || o.name != o.Service.Name || o.version == "" {
			t.Errorf("%+v", o)
		}
	}
	if _, err := list(t.Context(), c.Get().Resource("services").Name("web").Namespace("default"), "Service"); err == nil {
		t.Error("one object is taken for a list")
	}
}

// TestReadList: a list that is cut off, or is none, is an error: what is missing from it would be taken for gone.
func TestReadList(t *testing.T) {
	const whole = `{"kind":"ServiceList","apiVersion":"v1","metadata":{"resourceVersion":"7"},"items":[
{"metadata":{"name":"a","namespace":"x","resourceVersion":"3","managedFields":[{"f:spec":{}}]},"spec":{"clusterIP":"None"}},
{"metadata":{"name":"b","namespace":"x","resourceVersion":"4"},"spec":{"clusterIP":"10.0.0.1","selector":{"app":"b"}}}]}`
	l, err := readList(strings.NewReader(whole), "Service")
	if err != nil || len(l.Items) != 2 || l.ResourceVersion != "7" || !l.Items[0].(*object).Service.Headless || l.Items[1].(*object).Service.Selector["app"] != "b" {
		t.Errorf("%+v, %v", l, err)
	}
	for n := range whole {
		if l, err := readList(strings.NewReader(whole[:n]), "Service"); err == nil {
			t.Fatalf("the first %d bytes are a list of %d", n, len(l.Items))
		}
	}
	for _, text := range []string{`[]`, `{}`, `{"items":[]}`, `{"metadata":{"resourceVersion":"7"}}`, `{"metadata":{"resourceVersion":"7"},"items":{}}`,
		`{"metadata":{"resourceVersion":"7"},"items":[7]}`, `{"metadata":{"resourceVersion":"7"},"items":[{"spec":{"clusterIP":[]}}]}`} {
		if _, err := readList(strings.NewReader(text), "Service"); err == nil {
			t.Errorf("%s is taken for a list", text)
		}
	}
	if l, err := readList(strings.NewReader(`{"metadata":{"resourceVersion":"7"},"items":null}`), "Service"); err != nil || len(l.Items) != 0 {
		t.Errorf("%+v, %v", l, err)
	}
}

// TestLabels: what is remembered of workloads is bounded, and who was asked for is asked once.
func TestLabels(t *testing.T) {
	l := newLabels()
	now := time.Now()
	for i := range maxWorkloads + 10 {
		l.of("ns", "deployment/"+strings.Repeat("x", i%50)+string(rune('a'+i%26))+time.Duration(i).String(), now)
	}
	if len(l.known) > maxWorkloads+maxAsking || len(l.asked) != maxAsking {
		t.Errorf("%d workloads, %d asked", len(l.known), len(l.asked))
	}
	l = newLabels()
	for range 3 {
		if _, soon := l.of("ns", "deployment/web", now); !soon {
			t.Error("nobody has answered")
		}
	}
	if len(l.asked) != 1 {
		t.Errorf("asked %d times", len(l.asked))
	}
	if got, soon := l.of("ns", "job/x", now); got != nil || soon || len(l.asked) != 1 {
		t.Errorf("a workload whose labels cannot be read: %v", got)
	}
	p := <-l.asked
	*l.known[p] = template{labels: map[string]string{"app": "web"}, at: now}
	if got, soon := l.of("ns", "deployment/web", now.Add(fresh)); got["app"] != "web" || soon || len(l.asked) != 0 {
		t.Errorf("%v", got)
	}
	if got, soon := l.of("ns", "deployment/web", now.Add(fresh+1)); got["app"] != "web" || soon || len(l.asked) != 1 {
		t.Errorf("labels that are old: %v, asked %d times", got, len(l.asked))
	}
}
