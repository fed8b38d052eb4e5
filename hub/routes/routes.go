// Package routes follows what the API says of how Services are reached: Services, Ingresses, and the routes of the Gateway
// API, Traefik and Contour where their CRDs exist.
//
// Package serving says what follows from it.
package routes

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"

	"github.com/lastcall-k8s/lastcall/hub/serving"
)

// Kinds are the resources that are followed. That of a CRD which is not there is looked for again and again, slowly.
var kinds = []kind{
	{"", "services", "Service"},
	{"networking.k8s.io", "ingressclasses", "IngressClass"},
	{"networking.k8s.io", "ingresses", "Ingress"},
	{"gateway.networking.k8s.io", "httproutes", "HTTPRoute"},
	{"gateway.networking.k8s.io", "grpcroutes", "GRPCRoute"},
	{"gateway.networking.k8s.io", "tlsroutes", "TLSRoute"},
	{"gateway.networking.k8s.io", "tcproutes", "TCPRoute"},
	{"gateway.networking.k8s.io", "udproutes", "UDPRoute"},
	{"traefik.io", "ingressroutes", "IngressRoute"},
	{"traefik.io", "ingressroutetcps", "IngressRouteTCP"},
	{"traefik.io", "ingressrouteudps", "IngressRouteUDP"},
	{"projectcontour.io", "httpproxies", "HTTPProxy"},
}

type kind struct{ group, resource, name string }

func (k kind) String() string {
	if k.group == "" {
		return k.resource
	}
	return k.resource + "." + k.group
}

const (
	// again is how long after a CRD was not there it is looked for once more, and retry after an error.
	again = time.Minute
	retry = 4 * time.Second
	// settle is how long after a change the answers are worked out anew: changes come in bursts.
	settle = 200 * time.Millisecond
)

// Watch is what the API says now. Make one with New.
type Watch struct {
	clients map[string]*rest.RESTClient // by group and version
	config  *rest.Config
	log     *slog.Logger
	again   time.Duration

	index   atomic.Pointer[serving.Index] // nil before everything was listed
	changed chan struct{}

	mu      sync.Mutex // guards what follows
	objects map[kind]map[serving.Name]serving.Object
	state   map[kind]state
	labels  *labels
}

// state is how following a resource goes.
type state struct {
	known bool   // all of it was listed once, or it is not there
	why   string // it cannot be, "" if it can
}

// New prepares; it does not talk to the API server.
func New(config *rest.Config, log *slog.Logger) (*Watch, error) {
	c := rest.CopyConfig(config)
	c.ContentType, c.AcceptContentTypes = runtime.ContentTypeJSON, runtime.ContentTypeJSON
	c.WarningHandler = rest.NoWarnings{} // that a version is deprecated is nothing that anybody here can change
	w := &Watch{config: c, log: log, again: again, clients: map[string]*rest.RESTClient{}, changed: make(chan struct{}, 1), labels: newLabels(),
		objects: map[kind]map[serving.Name]serving.Object{}, state: map[kind]state{}}
	_, err := w.client("apps", "v1", "")
	return w, err
}

// client speaks to a version of a group, whose objects are of a kind.
func (w *Watch) client(group, version, kind string) (*rest.RESTClient, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	key := group + "/" + version + "/" + kind
	if w.clients[key] != nil {
		return w.clients[key], nil
	}
	scheme := runtime.NewScheme()
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	c := rest.CopyConfig(w.config)
	c.GroupVersion, c.APIPath = &schema.GroupVersion{Group: group, Version: version}, "/apis"
	if group == "" {
		c.APIPath = "/api"
	}
	c.NegotiatedSerializer = trimming{serializer.NewCodecFactory(scheme).WithoutConversion(), kind}
	rc, err := rest.RESTClientFor(c)
	if err != nil {
		return nil, fmt.Errorf("prepare the client for %s/%s: %w", group, version, err)
	}
	w.clients[key] = rc
	return rc, nil
}

// Run follows everything until ctx ends.
func (w *Watch) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, k := range kinds {
		g.Go(func() error { w.follow(ctx, k); return nil })
	}
	g.Go(func() error { w.work(ctx); return nil })
	g.Go(func() error { w.learn(ctx); return nil })
	return g.Wait()
}

// follow looks for a resource, and follows it while it is there.
func (w *Watch) follow(ctx context.Context, k kind) {
	for ctx.Err() == nil {
		wait := w.again
		client, err := w.find(ctx, k)
		switch {
		case errors.Is(err, errAbsent):
			w.forget(k)
		case err != nil:
			w.failed(ctx, k, fmt.Errorf("look for %s: %w", k, err))
			wait = retry
		default:
			w.reflect(ctx, client, k)
			continue // it is gone, or ctx is
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait/2 + rand.N(wait)):
		}
	}
}

// work works the answers out anew after changes.
func (w *Watch) work(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.changed:
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(settle):
		}
		if o, ok := w.all(); ok {
			w.index.Store(o.Index())
		}
	}
}

// all are the objects, once each resource was listed or is known not to be there.
func (w *Watch) all() (o serving.Objects, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, k := range kinds {
		if !w.state[k].known {
			return o, false
		}
		for _, x := range w.objects[k] {
			o.Add(x)
		}
	}
	return o, true
}

func (w *Watch) change() {
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// forget: the resource is not there.
func (w *Watch) forget(k kind) {
	w.mu.Lock()
	was := w.state[k]
	w.state[k] = state{known: true}
	delete(w.objects, k)
	w.mu.Unlock()
	if !was.known || was.why != "" {
		w.log.Debug("is not there", "resource", k.String())
	}
	w.change()
}

// failed: the resource cannot be followed now. What is known of it stays.
func (w *Watch) failed(ctx context.Context, k kind, err error) {
	if ctx.Err() != nil {
		return
	}
	w.mu.Lock()
	s := w.state[k]
	news := s.why == ""
	s.why = err.Error()
	w.state[k] = s
	w.mu.Unlock()
	if news {
		w.log.Warn("cannot follow what serves workloads", "resource", k.String(), "err", err)
	}
}

// answered: a request for the resource was answered.
func (w *Watch) answered(k kind) {
	w.mu.Lock()
	s := w.state[k]
	news := s.why != ""
	s.why = ""
	w.state[k] = s
	w.mu.Unlock()
	if news {
		w.log.Info("follows again what serves workloads", "resource", k.String())
	}
}

// Trouble is why answers are not known or may be old, "" if they are new.
func (w *Watch) Trouble() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.trouble()
}

func (w *Watch) trouble() string {
	for _, k := range kinds {
		if why := w.state[k].why; why != "" {
			return why
		}
	}
	for _, k := range kinds {
		if !w.state[k].known {
			return k.String() + " are not listed yet"
		}
	}
	return ""
}

// Served are all ways that lead to some Service.
func (w *Watch) Served() []serving.Served {
	if x := w.index.Load(); x != nil {
		return x.Served()
	}
	return nil
}

// Serves says how a workload ("deployment/shop") is reached. soon: in a moment more may be known. It never waits.
func (w *Watch) Serves(namespace, workload string) (s serving.Serves, soon bool) {
	x := w.index.Load()
	w.mu.Lock()
	trouble := w.trouble()
	of, soon := w.labels.of(namespace, workload, time.Now())
	w.mu.Unlock()
	switch {
	case x == nil && trouble != "":
		return serving.Serves{Unknown: trouble}, true
	case x == nil:
		return serving.Serves{Unknown: "routes are not listed yet"}, true
	}
	return x.Serves(namespace, of), soon
}
