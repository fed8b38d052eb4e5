// Package serving says through which kinds of places a Service is reached: kube-proxy, DNS, and the ingress
// controllers whose Ingresses and routes name it.
//
// It is a pure function of the objects. A controller whose kind of place is not known is named, and so is one
// that cannot be worked out: what serves a workload and is not measured must be said.
package serving

import (
	"slices"
	"strings"
)

// Name is an object's namespace and name.
type Name struct{ Namespace, Name string }

// Way is one way to a Service.
type Way struct {
	// Place is the place kind, "" if none is known for the controller.
	Place string
	// Controller is who serves it, as its class or its route's status says; "" for kube-proxy and DNS.
	Controller string
}

// Service is what of a Service decides how it is reached.
type Service struct {
	Name
	// Selector of its pods; empty: somebody else fills its EndpointSlices.
	Selector map[string]string
	Headless bool
	// PublishNotReady: its endpoints stay ready while their pods terminate.
	PublishNotReady bool
	// External: it has no endpoints.
	External bool
}

// Class is an IngressClass.
type Class struct {
	Name, Controller string
	Default          bool
}

// Reference is an object that names Services as backends.
type Reference struct {
	Name
	Backends []Name
	// Class of an Ingress, "" for the default one.
	Class string
	// Accepted are the controllers that say in the status of a route of the Gateway API that they serve it.
	Accepted []string
	// Place is that of a resource that belongs to one controller.
	Place, Controller string
	Ingress           bool
	// Other: it also names something that is no Service, which may lead to any.
	Other bool
}

// Objects are all that are looked at.
type Objects struct {
	Services   []Service
	Classes    []Class
	References []Reference
}

// places are the place kinds of controllers, by the name or its beginning that their classes and routes give.
var places = []struct{ controller, place string }{
	{"k8s.io/ingress-nginx", "ingress-nginx"},
	{"traefik.io/", "traefik"},
	{"projectcontour.io/", "envoy"},
	{"gateway.envoyproxy.io/", "envoy"},
	{"istio.io/", "envoy"},
	{"cilium.io/", "envoy"},
	{"io.cilium/", "envoy"},
	{"haproxy.org/", "haproxy"},
	{"haproxy-ingress.github.io/", "haproxy"},
	{"ingress-controllers.konghq.com/", "kong"},
	{"konghq.com/", "kong"},
	{"apisix.apache.org/", "apisix"},
	{"nginx.org/", "nginx-plus"},
	{"gateway.nginx.org/", "nginx-plus"},
}

func place(controller string) string {
	for _, p := range places {
		if controller == p.controller || strings.HasPrefix(controller, strings.TrimSuffix(p.controller, "/")+"/") {
			return p.place
		}
	}
	return ""
}

// Ways are the ways to every Service that has any, sorted.
func (o Objects) Ways() map[Name][]Way {
	ways := map[Name][]Way{}
	known := map[Name]Service{}
	add := func(to Name, w Way) {
		if !slices.Contains(ways[to], w) {
			ways[to] = append(ways[to], w)
		}
	}
	for _, s := range o.Services {
		switch known[s.Name] = s; {
		case s.External:
		case s.Headless:
			add(s.Name, Way{Place: "dns"})
		default:
			add(s.Name, Way{Place: "kube-proxy"})
		}
	}
	for _, r := range o.References {
		for _, to := range r.Backends {
			if s, ok := known[to]; !ok || s.External {
				continue
			}
			for _, w := range o.through(r) {
				add(to, w)
			}
		}
	}
	for _, ws := range ways {
		slices.SortFunc(ws, byWay)
	}
	return ways
}

// through says who serves a reference.
func (o Objects) through(r Reference) []Way {
	switch {
	case r.Controller != "":
		return []Way{{r.Place, r.Controller}}
	case r.Ingress:
		controller := o.class(r.Class)
		return []Way{{place(controller), controller}}
	}
	var ways []Way
	for _, c := range r.Accepted {
		ways = append(ways, Way{place(c), c})
	}
	return ways
}

// class is the controller of an IngressClass. An Ingress without one belongs to the default class; without
// that, to any controller that takes such.
func (o Objects) class(name string) string {
	for _, c := range o.Classes {
		if c.Name == name || name == "" && c.Default {
			return c.Controller
		}
	}
	switch name {
	case "contour":
		return "projectcontour.io/contour" // Contour needs no class object, only the name
	case "":
		return "whoever takes an Ingress without class"
	}
	return "ingress class " + name
}
