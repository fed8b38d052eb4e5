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
}

// ref is a reference of the Gateway API, or of a product's own route.
type ref struct {
	Group     *string `json:"group"`
	Kind      string  `json:"kind"`
	Namespace string  `json:"namespace"`
	Name      string  `json:"name"`
}

// Add takes in an object as the API writes it in JSON. Kinds that say nothing of Services are passed over.
func (o *Objects) Add(text []byte) error {
	var m meta
	if err := json.Unmarshal(text, &m); err != nil {
		return fmt.Errorf("read an object: %w", err)
	}
	var err error
	switch m.Kind {
	case "Service":
		err = o.addService(m, text)
	case "IngressClass":
		err = o.addClass(m, text)
	case "Ingress":
		err = o.addIngress(m, text)
	case "HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute", "UDPRoute":
		err = o.addRoute(m, text)
	case "IngressRoute", "IngressRouteTCP", "IngressRouteUDP":
		err = o.addOwn(m, text, "traefik", "traefik.io")
	case "HTTPProxy":
		err = o.addOwn(m, text, "envoy", "projectcontour.io")
	}
	if err != nil {
		return fmt.Errorf("read %s %s/%s: %w", m.Kind, m.Metadata.Namespace, m.Metadata.Name, err)
	}
	return nil
}

func (o *Objects) addService(m meta, text []byte) error {
	var s struct {
		Spec struct {
			ClusterIP                string `json:"clusterIP"`
			Type                     string `json:"type"`
			PublishNotReadyAddresses bool   `json:"publishNotReadyAddresses"`
		} `json:"spec"`
	}
	err := json.Unmarshal(text, &s)
	o.Services = append(o.Services, Service{Name: m.name(), Headless: s.Spec.ClusterIP == "None",
		PublishNotReady: s.Spec.PublishNotReadyAddresses, External: s.Spec.Type == "ExternalName"})
	return err
}

func (o *Objects) addClass(m meta, text []byte) error {
	var c struct {
		Spec struct {
			Controller string `json:"controller"`
		} `json:"spec"`
	}
	err := json.Unmarshal(text, &c)
	o.Classes = append(o.Classes, Class{Name: m.Metadata.Name, Controller: c.Spec.Controller,
		Default: m.Metadata.Annotations["ingressclass.kubernetes.io/is-default-class"] == "true"})
	return err
}

func (o *Objects) addIngress(m meta, text []byte) error {
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
	r := Reference{Name: m.name(), Ingress: true, Class: i.Spec.IngressClassName}
	if r.Class == "" {
		r.Class = m.Metadata.Annotations["kubernetes.io/ingress.class"] // before 1.18, and still read by most
	}
	take := func(b backend) {
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
	o.References = append(o.References, r)
	return err
}

// addRoute takes in a route of the Gateway API. Its status names the controllers that accepted it, so that no
// gateway and no class must be looked up.
func (o *Objects) addRoute(m meta, text []byte) error {
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
	r := Reference{Name: m.name()}
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
	o.References = append(o.References, r)
	return err
}

// addOwn takes in a route of a product's own kind.
func (o *Objects) addOwn(m meta, text []byte, place, controller string) error {
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
	r := Reference{Name: m.name(), Place: place, Controller: controller}
	for _, route := range x.Spec.Routes {
		for _, s := range route.Services {
			r.add(s)
		}
	}
	for _, s := range x.Spec.TCPProxy.Services {
		r.add(s)
	}
	o.References = append(o.References, r)
	return err
}

func (r *Reference) add(b ref) {
	if b.Name == "" || b.Kind != "" && b.Kind != "Service" || b.Group != nil && *b.Group != "" {
		return
	}
	n := Name{b.Namespace, b.Name}
	if n.Namespace == "" {
		n.Namespace = r.Namespace
	}
	r.Backends = append(r.Backends, n)
}
