package serving

import (
	"encoding/json"
	"fmt"
)

// meta is what all objects have.
type meta struct {
	Kind     string `json:"kind"`
	Metadata struct {
		Namespace   string            `json:"namespace"`
		Name        string            `json:"name"`
		Annotations map[string]string `json:"annotations"`
	} `json:"metadata"`
}

func (m meta) name() Name { return Name{m.Metadata.Namespace, m.Metadata.Name} }

type backend struct {
	Service struct {
		Name string `json:"name"`
	} `json:"service"`
	Resource *struct{} `json:"resource"`
}

// ref is a reference of the Gateway API, or of a product's own route.
type ref struct {
	Group     *string `json:"group"`
	Kind      string  `json:"kind"`
	Namespace string  `json:"namespace"`
	Name      string  `json:"name"`
}

// Object is what of one object is looked at: one of these, or none.
type Object struct {
	Service   *Service
	Class     *Class
	Reference *Reference
}

// Parse reads an object as the API writes it in JSON. The objects of a list do not always say their kind, so it is given;
// "" takes what the object says. Kinds that say nothing of Services are passed over.
func Parse(kind string, text []byte) (o Object, err error) {
	var m meta
	if err := json.Unmarshal(text, &m); err != nil {
		return o, fmt.Errorf("read an object: %w", err)
	}
	if kind == "" {
		kind = m.Kind
	}
	switch kind {
	case "Service":
		o.Service, err = service(m, text)
	case "IngressClass":
		o.Class, err = class(m, text)
	case "Ingress":
		o.Reference, err = ingress(m, text)
	case "HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute", "UDPRoute":
		o.Reference, err = route(m, text)
	case "IngressRoute", "IngressRouteTCP", "IngressRouteUDP":
		o.Reference, err = own(m, text, "traefik", "traefik.io")
	case "HTTPProxy":
		o.Reference, err = own(m, text, "envoy", "projectcontour.io")
	}
	if err != nil {
		return Object{}, fmt.Errorf("read %s %s/%s: %w", kind, m.Metadata.Namespace, m.Metadata.Name, err)
	}
	return o, nil
}

// Add takes in an object.
func (o *Objects) Add(x Object) {
	switch {
	case x.Service != nil:
		o.Services = append(o.Services, *x.Service)
	case x.Class != nil:
		o.Classes = append(o.Classes, *x.Class)
	case x.Reference != nil:
		o.References = append(o.References, *x.Reference)
	}
}

func service(m meta, text []byte) (*Service, error) {
	var s struct {
		Spec struct {
			ClusterIP                string            `json:"clusterIP"`
			Type                     string            `json:"type"`
			PublishNotReadyAddresses bool              `json:"publishNotReadyAddresses"`
			Selector                 map[string]string `json:"selector"`
		} `json:"spec"`
	}
	err := json.Unmarshal(text, &s)
	return &Service{Name: m.name(), Selector: s.Spec.Selector, Headless: s.Spec.ClusterIP == "None",
		PublishNotReady: s.Spec.PublishNotReadyAddresses, External: s.Spec.Type == "ExternalName"}, err
}

func class(m meta, text []byte) (*Class, error) {
	var c struct {
		Spec struct {
			Controller string `json:"controller"`
		} `json:"spec"`
	}
	err := json.Unmarshal(text, &c)
	return &Class{Name: m.Metadata.Name, Controller: c.Spec.Controller,
		Default: m.Metadata.Annotations["ingressclass.kubernetes.io/is-default-class"] == "true"}, err
}

func ingress(m meta, text []byte) (*Reference, error) {
	var i struct {
		Spec struct {
			IngressClassName string   `json:"ingressClassName"`
			DefaultBackend   *backend `json:"defaultBackend"`
			Rules            []struct {
				HTTP struct {
					Paths []struct {
						Backend backend `json:"backend"`
					} `json:"paths"`
				} `json:"http"`
			} `json:"rules"`
		} `json:"spec"`
	}
	err := json.Unmarshal(text, &i)
	r := &Reference{Name: m.name(), Ingress: true, Class: i.Spec.IngressClassName}
	if r.Class == "" {
		r.Class = m.Metadata.Annotations["kubernetes.io/ingress.class"] // before 1.18, and still read by most
	}
	take := func(b backend) {
		r.Other = r.Other || b.Resource != nil
		if b.Service.Name != "" {
			r.Backends = append(r.Backends, Name{r.Namespace, b.Service.Name})
		}
	}
	if i.Spec.DefaultBackend != nil {
		take(*i.Spec.DefaultBackend)
	}
	for _, rule := range i.Spec.Rules {
		for _, p := range rule.HTTP.Paths {
			take(p.Backend)
		}
	}
	return r, err
}

// route is one of the Gateway API. Its status names the controllers that accepted it, so that no gateway and no
// class must be looked up.
func route(m meta, text []byte) (*Reference, error) {
	var x struct {
		Spec struct {
			Rules []struct {
				BackendRefs []ref `json:"backendRefs"`
			} `json:"rules"`
		} `json:"spec"`
		Status struct {
			Parents []struct {
				ControllerName string `json:"controllerName"`
				Conditions     []struct {
					Type   string `json:"type"`
					Status string `json:"status"`
				} `json:"conditions"`
			} `json:"parents"`
		} `json:"status"`
	}
	err := json.Unmarshal(text, &x)
	r := &Reference{Name: m.name()}
	for _, rule := range x.Spec.Rules {
		for _, b := range rule.BackendRefs {
			r.add(b)
		}
	}
	for _, p := range x.Status.Parents {
		for _, c := range p.Conditions {
			if c.Type == "Accepted" && c.Status == "True" {
				r.Accepted = append(r.Accepted, p.ControllerName)
			}
		}
	}
	return r, err
}

// own is a route of a product's own kind.
func own(m meta, text []byte, place, controller string) (*Reference, error) {
	var x struct {
		Spec struct {
			Routes []struct {
				Services []ref `json:"services"`
			} `json:"routes"`
			TCPProxy struct { // Contour's
				Services []ref `json:"services"`
			} `json:"tcpproxy"`
		} `json:"spec"`
	}
	err := json.Unmarshal(text, &x)
	r := &Reference{Name: m.name(), Place: place, Controller: controller}
	for _, route := range x.Spec.Routes {
		for _, s := range route.Services {
			r.add(s)
		}
	}
	for _, s := range x.Spec.TCPProxy.Services {
		r.add(s)
	}
	return r, err
}

func (r *Reference) add(b ref) {
	switch {
	case b.Name == "":
		return
	case b.Kind != "" && b.Kind != "Service", b.Group != nil && *b.Group != "" && *b.Group != "core":
		r.Other = true
		return
	}
	n := Name{b.Namespace, b.Name}
	if n.Namespace == "" {
		n.Namespace = r.Namespace
	}
	r.Backends = append(r.Backends, n)
}
