// Package watcher says what the Kubernetes API says: which paths leave the set of endpoints that
// kube-proxy on this node is expected to use, and which pods depart.
//
// It watches Services and EndpointSlices with kube-proxy's own selectors, the pods of its own node,
// and its own Node. Four of client-go's reflectors feed one store; there is no informer, no work
// queue and no cache of whole objects: an event is stamped when its bytes were read, trimmed by the
// decoder, compared with what was known and handed on, all before the next one is taken.
//
//	bytes -> stamp, decode, trim -> state (pure) -> Notify
//
// The expected set is kube-proxy's (k8s v1.36.3 pkg/proxy/topology.go, CategorizeEndpoints), for the
// traffic policies Cluster and Local.
package watcher

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"

	"github.com/lastcall-k8s/lastcall/ledger"
)

// Config says whom to ask and whom to tell. Client, Node and Notify are required. Received, Synced
// and Lost may be called from several goroutines at once, and must not call the Watcher.
type Config struct {
	// Client is how to reach the API server. Its content type is overridden: protobuf.
	Client *rest.Config
	// Node is the name of the node this agent runs on.
	Node string
	// Jitter spreads the first LISTs of many agents: they start at a random moment within it.
	Jitter time.Duration
	// Notify is called for each event that changes something, from one goroutine at a time and in
	// order; the next event of any resource waits for it. The first call is the baseline.
	Notify func([]ledger.Change)
	// Ready, if not nil, is told what places other than kube-proxy use: the paths of ready endpoints that left and
	// entered. It is called like Notify, and after it. With Headless, those of headless Services too.
	Ready    func([]ledger.Change)
	Headless bool
	// EndpointsAlone: only Services and EndpointSlices are watched, and nothing of the node.
	EndpointsAlone bool
	// Pods, if not nil, is told the pods of the own node whenever one of them changed; like Notify, and after it.
	Pods func([]OwnPod)
	// Received is told the bytes of list and watch responses as they are read, after TLS and, for
	// lists, after decompression.
	Received func(resource string, bytes int)
	// Synced is told when a resource starts or ceases to be up to date.
	Synced func(resource string, synced bool)
	// Lost is told what was not seen: "watch", a list had to bridge a hole in the watch; "malformed",
	// parts of an object were skipped because they make no sense.
	Lost func(source string)
	Log  *slog.Logger
}

// Watcher is what the API says. Make one with New.
type Watcher struct {
	cfg       Config
	http      *http.Client
	resources []*resource

	mu    sync.Mutex // held during Notify: the order of changes is the order of calls
	state *state

	status  sync.Mutex // guards resource.status; never held while mu is taken
	applied atomic.Pointer[string]
}

// New checks the configuration. It starts nothing and does not talk to the API server.
func New(cfg Config) (*Watcher, error) {
	if cfg.Client == nil || cfg.Node == "" || cfg.Notify == nil {
		return nil, errors.New("watcher: Client, Node and Notify are required")
	}
	if cfg.Received == nil {
		cfg.Received = func(string, int) {}
	}
	if cfg.Synced == nil {
		cfg.Synced = func(string, bool) {}
	}
	if cfg.Lost == nil {
		cfg.Lost = func(string) {}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	w := &Watcher{cfg: cfg, state: newState(cfg.Node)}
	w.state.ready.asked = cfg.Ready != nil
	return w, w.connect()
}

// Run watches until ctx is cancelled and then returns nil. An API server that cannot be reached, or
// that refuses, is asked again for ever: Ready says so.
func (w *Watcher) Run(ctx context.Context) error {
	if w.cfg.Jitter > 0 {
		select {
		case <-time.After(rand.N(w.cfg.Jitter)):
		case <-ctx.Done():
			return nil
		}
	}
	var g errgroup.Group
	for _, r := range w.resources {
		g.Go(func() error {
			w.reflect(ctx, r)
			return nil
		})
	}
	err := g.Wait()
	utilnet.CloseIdleConnectionsFor(w.http.Transport) // each has two goroutines
	return err
}

// ResourceVersion is the newest version of EndpointSlices whose changes were handed to Notify, ""
// before the first list. Bookmarks move it on while no slice changes.
func (w *Watcher) ResourceVersion() string {
	if v := w.applied.Load(); v != nil {
		return *v
	}
	return ""
}

// NodeUID is the UID of the own Node object, "" before it was listed.
func (w *Watcher) NodeUID() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.state.nodeUID
}

// set, drop and replace carry an event of a resource to the state, and what follows to Notify.

func (w *Watcher) set(o *object) {
	w.count(o)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.notify(w.state.set(o))
	w.tellPods(o.kind)
}

func (w *Watcher) drop(o *object) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.notify(w.state.drop(o))
	w.tellPods(o.kind)
}

func (w *Watcher) replace(r *resource, list []*object, at time.Time) {
	for _, o := range list {
		w.count(o)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if r.listed {
		w.cfg.Lost("watch")
	}
	r.listed = true
	changes := w.state.replace(r.kind, list, at)
	if !w.state.armed && w.allListed() {
		changes = append(changes, w.state.arm(at)...)
		defer w.tellPods(pods) // the baseline of all
	} else {
		defer w.tellPods(r.kind)
	}
	w.notify(changes)
}

func (w *Watcher) allListed() bool {
	for _, r := range w.resources {
		if !r.listed {
			return false
		}
	}
	return true
}

func (w *Watcher) notify(changes []ledger.Change) {
	if len(changes) > 0 {
		w.cfg.Notify(changes)
	}
	w.tellReady()
}

func (w *Watcher) count(o *object) {
	for range o.malformed {
		w.cfg.Lost("malformed")
	}
}
