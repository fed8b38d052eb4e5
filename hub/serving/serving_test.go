package serving

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

func TestWays(t *testing.T) {
	b, err := os.ReadFile("testdata/objects.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var o Objects
	for doc := range strings.SplitSeq(string(b), "\n---\n") {
		text, err := yaml.YAMLToJSON([]byte(doc))
		if err != nil {
			t.Fatal(err)
		}
		x, err := Parse("", text)
		if err != nil {
			t.Fatal(err)
		}
		o.Add(x)
	}
	kubeProxy := Way{Place: "kube-proxy"}
	want := map[Name][]Way{
		{"shop", "plain"}:    {kubeProxy},
		{"shop", "headless"}: {{Place: "dns"}},
		{"shop", "web"}: {
			{"envoy", "projectcontour.io/gateway-controller"},
			{"ingress-nginx", "k8s.io/ingress-nginx"},
			kubeProxy,
		},
		{"shop", "api"}:     {kubeProxy, {"traefik", "traefik.io/ingress-controller"}}, // an Ingress without class: the default
		{"shop", "old"}:     {{"", "ingress class squid"}, kubeProxy},                  // by annotation, of a class that does not exist
		{"shop", "foreign"}: {{"", "example.com/own-gateway"}, kubeProxy},
		{"other", "across"}: {{"", "example.com/own-gateway"}, kubeProxy},
		{"shop", "own"}:     {{"envoy", "projectcontour.io"}, kubeProxy, {"traefik", "traefik.io"}},
		{"shop", "refused"}: {kubeProxy}, // its route was not accepted
	}
	if d := cmp.Diff(want, o.Ways()); d != "" {
		t.Error(d)
	}
	for _, s := range o.Services {
		if want := s.Name.Name == "headless"; s.PublishNotReady != want {
			t.Errorf("%v: publishNotReadyAddresses %v", s.Name, s.PublishNotReady)
		}
	}
	if got := o.class("contour"); place(got) != "envoy" {
		t.Errorf("class contour without an object: %s", got)
	}
	o.Classes = nil
	if got := o.Ways()[Name{"shop", "api"}]; !cmp.Equal(got, []Way{{"", "whoever takes an Ingress without class"}, kubeProxy}) {
		t.Errorf("without a default class: %v", got)
	}
}

func TestPlaces(t *testing.T) {
	for controller, want := range map[string]string{
		"k8s.io/ingress-nginx": "ingress-nginx", "k8s.io/ingress-nginx/internal": "ingress-nginx", "k8s.io/ingress-nginx-two": "",
		"traefik.io/gateway-controller": "traefik", "istio.io/gateway-controller": "envoy", "io.cilium/gateway-controller": "envoy",
		"haproxy.org/ingress-controller/haproxy": "haproxy", "ingress.k8s.aws/alb": "", "": "",
	} {
		if got := place(controller); got != want {
			t.Errorf("%s: %q, want %q", controller, got, want)
		}
	}
}

func TestBadObjects(t *testing.T) {
	for _, text := range []string{"", "[]", `{"kind":"Ingress","spec":7}`, `{"kind":"Service","spec":{"clusterIP":[]}}`} {
		if _, err := Parse("", []byte(text)); err == nil {
			t.Errorf("%q is no object", text)
		}
	}
	if o, err := Parse("", []byte(`{"kind":"ConfigMap","spec":7}`)); err != nil || o != (Object{}) {
		t.Errorf("an object of no concern: %+v, %v", o, err)
	}
}

// TestServes: a workload is reached by the ways of the Services that select its pods.
func TestServes(t *testing.T) {
	service := func(ns, name string, headless bool, selector ...string) Service {
		s := Service{Name: Name{ns, name}, Headless: headless, Selector: map[string]string{}}
		for i := 0; i < len(selector); i += 2 {
			s.Selector[selector[i]] = selector[i+1]
		}
		return s
	}
	kubeProxy, nginx, dns := Way{Place: "kube-proxy"}, Way{"ingress-nginx", "k8s.io/ingress-nginx"}, Way{Place: "dns"}
	o := Objects{
		Services: []Service{service("shop", "web", false, "app", "web"), service("shop", "web-0", true, "app", "web", "statefulset.kubernetes.io/pod-name", "web-0"),
			service("shop", "by-hand", true), service("shop", "api", false, "app", "api", "tier", "front"), service("other", "web", true, "app", "web")},
		Classes:    []Class{{Name: "nginx", Controller: "k8s.io/ingress-nginx"}},
		References: []Reference{{Name: Name{"shop", "i"}, Ingress: true, Class: "nginx", Backends: []Name{{"shop", "api"}}}},
	}
	x := o.Index()
	for _, tt := range []struct {
		name, namespace string
		labels          map[string]string
		want            Serves
	}{
		{"selected by one and by pod's name", "shop", map[string]string{"app": "web", "more": "x"}, Serves{Ways: []Way{dns, kubeProxy}}},
		{"all labels of the selector", "shop", map[string]string{"app": "api", "tier": "front"}, Serves{Ways: []Way{nginx, kubeProxy}}},
		{"not all", "shop", map[string]string{"app": "api"}, Serves{}},
		{"labels are not known", "shop", nil, Serves{Ways: []Way{dns, nginx, kubeProxy}, Maybe: true}},
		{"without labels", "shop", map[string]string{}, Serves{}},
		{"another namespace", "other", map[string]string{"app": "web"}, Serves{Ways: []Way{dns}}},
		{"a namespace without Services", "none", nil, Serves{Maybe: true}},
	} {
		got := x.Serves(tt.namespace, tt.labels)
		slices.SortFunc(tt.want.Ways, byWay)
		if d := cmp.Diff(tt.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, d)
		}
	}
	if d := cmp.Diff([]Served{{dns, 3, Name{"other", "web"}}, {nginx, 1, Name{"shop", "api"}}, {kubeProxy, 2, Name{"shop", "api"}}}, x.Served()); d != "" {
		t.Error(d)
	}
	if s := x.Serves("shop", map[string]string{"app": "web"}); s.Reaches("traefik") || !s.Reaches("dns") {
		t.Errorf("%+v", s)
	}
	// A route that leads to something that is no Service may lead to anybody.
	o.References = append(o.References, Reference{Name: Name{"other", "own"}, Place: "traefik", Controller: "traefik.io", Other: true})
	if s := o.Index().Serves("shop", map[string]string{"app": "web"}); !s.Reaches("traefik") {
		t.Errorf("%+v", s)
	}
}
