package serving

import (
	"os"
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
		if err := o.Add(text); err != nil {
			t.Fatal(err)
		}
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
	var o Objects
	for _, text := range []string{"", "[]", `{"kind":"Ingress","spec":7}`, `{"kind":"Service","spec":{"clusterIP":[]}}`} {
		if err := o.Add([]byte(text)); err == nil {
			t.Errorf("%q is no object", text)
		}
	}
	if err := o.Add([]byte(`{"kind":"ConfigMap","spec":7}`)); err != nil {
		t.Errorf("an object of no concern: %v", err)
	}
}
