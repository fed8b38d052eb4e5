package consumer

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"

	"sigs.k8s.io/yaml"
)

// Config says which consumers are read, besides those that are found by well-known labels.
type Config struct {
	// ClusterDomain is the cluster's DNS domain, cluster.local if it is not given.
	ClusterDomain string `json:"clusterDomain,omitempty"`
	// Skip are the place kinds that are not looked for by their well-known labels; "*" for all.
	Skip      []string   `json:"skip,omitempty"`
	Consumers []Consumer `json:"consumers,omitempty"`

	// Self is the pod that this agent is a sidecar in, as "namespace/name": the replica that is beside it.
	Self string `json:"-"`
	// Namespaces is the directory of the pods' network namespaces, "" if none is entered: see dialIn.
	Namespaces string `json:"-"`

	kinds  []Kind
	rules  []rule
	beside []besides
}

// Consumer is one that is given by hand: pods with certain labels, or a source beside this agent.
type Consumer struct {
	// Place is the place kind: one that is built in, or with Scrape a name of its own.
	Place string `json:"place"`
	Pods  *Pods  `json:"pods,omitempty"`
	// At is where a sidecar asks: unix:/path, or a URL with an IP address or localhost.
	At     string  `json:"at,omitempty"`
	Scrape *Scrape `json:"scrape,omitempty"`
	// TLS asks by https; skipVerify does not verify the certificate.
	TLS        bool `json:"tls,omitempty"`
	SkipVerify bool `json:"skipVerify,omitempty"`
}

// Pods says which pods are replicas.
type Pods struct {
	Namespace string            `json:"namespace,omitempty"`
	Labels    map[string]string `json:"labels"`
	Container string            `json:"container,omitempty"`
	Port      uint16            `json:"port,omitempty"`
	PortName  string            `json:"portName,omitempty"`
	Path      string            `json:"path,omitempty"`
	// Local: it listens on its pod's localhost only.
	Local bool `json:"local,omitempty"`
}

type rule struct {
	Finder
	kind string
}

type besides struct {
	kind   string
	source Source
}

// maxConsumers bounds the consumers of a configuration, and with them the values of the label place.
const maxConsumers = 16

var placeName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,30}$`)

// ParseConfig reads a configuration, in which nothing may be unknown. All that is wrong is told at once.
func ParseConfig(text []byte) (Config, error) {
	var c Config
	if err := yaml.UnmarshalStrict(text, &c); err != nil {
		return Config{}, fmt.Errorf("consumers: %w", err)
	}
	var errs []error
	for _, name := range c.Skip {
		if _, ok := kindNamed(name); !ok && name != "*" {
			errs = append(errs, fmt.Errorf("skip: %q is no place kind that is looked for", name))
		}
	}
	if len(c.Consumers) > maxConsumers {
		errs = append(errs, fmt.Errorf("%d consumers, more than %d", len(c.Consumers), maxConsumers))
	}
	for i := range c.Consumers {
		if err := c.add(&c.Consumers[i]); err != nil {
			errs = append(errs, fmt.Errorf("consumer %d (%.40q): %w", i+1, c.Consumers[i].Place, err))
		}
	}
	return c, errors.Join(errs...)
}

// add makes of a consumer what it is found and read by.
func (c *Config) add(x *Consumer) error {
	var errs []error
	kind, known := kindNamed(x.Place)
	switch {
	case !known && x.Scrape == nil:
		errs = append(errs, errors.New("place: is none that is built in, so it needs a scrape"))
	case known && x.Scrape != nil:
		errs = append(errs, errors.New("scrape: this place is built in; give it another name"))
	case x.Scrape != nil && (!placeName.MatchString(x.Place) || x.Place == "kube-proxy"):
		errs = append(errs, errors.New("place: must be lower case letters, digits and dashes, and not kube-proxy"))
	case x.Scrape != nil && slices.ContainsFunc(c.kinds, func(k Kind) bool { return k.Name == x.Place }):
		errs = append(errs, errors.New("place: is there already; one scrape for each"))
	case x.Scrape != nil:
		var err error
		if kind, err = x.Scrape.Kind(x.Place); err != nil {
			errs = append(errs, err)
		}
		c.kinds = append(c.kinds, kind)
	}
	switch {
	case (x.At == "") == (x.Pods == nil):
		errs = append(errs, errors.New("give either pods or at"))
	case x.At != "":
		s, err := ParseSource(x.At)
		if err != nil {
			errs = append(errs, fmt.Errorf("at: %w", err))
		}
		s.SkipVerify, s.Domain = x.SkipVerify, c.domain()
		c.beside = append(c.beside, besides{x.Place, s})
	case len(x.Pods.Labels) == 0:
		errs = append(errs, errors.New("pods.labels: at least one is needed"))
	default:
		f := Finder{Namespace: x.Pods.Namespace, Labels: x.Pods.Labels, Container: x.Pods.Container, Port: x.Pods.Port,
			PortName: x.Pods.PortName, tls: x.TLS, skipVerify: x.SkipVerify, path: x.Pods.Path}
		if f.Port == 0 && f.PortName == "" && len(kind.Find) > 0 {
			f.Port, f.PortName = kind.Find[0].Port, kind.Find[0].PortName
		}
		if f.Port == 0 && f.PortName == "" {
			errs = append(errs, errors.New("pods.port or pods.portName is needed"))
		}
		if x.Pods.Local {
			f.Local, f.Unread = f.Port, fmt.Sprintf("it listens on 127.0.0.1:%d of its pod", f.Port)
			if f.Port == 0 {
				errs = append(errs, errors.New("pods.port: is needed with local"))
			}
			if kind.Named {
				errs = append(errs, errors.New("pods.local: a DNS server that listens on localhost serves nobody else"))
			}
		}
		c.rules = append(c.rules, rule{f, x.Place})
	}
	return errors.Join(errs...)
}

func (c Config) domain() string { return cmp.Or(c.ClusterDomain, "cluster.local") }

// Kind is the place kind of that name, built in or declared.
func (c Config) Kind(name string) (Kind, bool) {
	for _, k := range c.kinds {
		if k.Name == name {
			return k, true
		}
	}
	return kindNamed(name)
}

// Alone reports whether only consumers beside the agent are read: no pod has to be looked for.
func (c Config) Alone() bool { return len(c.beside) > 0 && len(c.finders()) == 0 }

// finders are those of the configuration first: what is said by hand goes before what is known.
func (c Config) finders() []rule {
	rules := slices.Clone(c.rules)
	for _, k := range Kinds {
		if slices.Contains(c.Skip, "*") || slices.Contains(c.Skip, k.Name) {
			continue
		}
		for _, f := range k.Find {
			rules = append(rules, rule{f, k.Name})
		}
	}
	return rules
}
