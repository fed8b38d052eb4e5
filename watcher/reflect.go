package watcher

import (
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/go-logr/logr"
	"github.com/lastcall-k8s/lastcall/internal/boundclock"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// resource is one of the four that are watched.
type resource struct {
	name string
	kind kind
	// Selectors, as kube-proxy's (k8s v1.36.3 cmd/kube-proxy/app/server.go:573-601).
	labels, fields string

	client *rest.RESTClient
	listed bool   // a complete list was applied; guarded by Watcher.mu
	status status // guarded by Watcher.status
}

// reflect lists and watches a resource until ctx is cancelled.
//
// The reflector streams the initial list over the watch (WatchList, on by default in client-go 0.35
// and later) into a store of its own, and hands over the whole as one Replace; the same request then
// carries the events, each handled inline by the goroutine that takes it from the decoder. A broken
// stream is resumed from the last version. It lists again when that is too old, or when a watch fails
// in another way than by a refused connection: then Replace bridges a hole.
func (w *Watcher) reflect(ctx context.Context, r *resource) {
	log := logr.FromSlogHandler(debugOnly{w.cfg.Log.With("resource", r.name).Handler()})
	reflector := cache.NewReflectorWithOptions(
		&cache.ListWatch{
			ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
				l, err := r.list(ctx, r.request(&o))
				w.answered(ctx, r, o, err)
				return l, err
			},
			WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
				o.Watch = true
				s, err := r.request(&o).Watch(ctx)
				if _, ok := s.(*watch.StreamWatcher); err == nil && !ok {
					// A connection that was closed without an answer is an empty watch to client-go.
					s, err = nil, io.ErrUnexpectedEOF
				}
				w.answered(ctx, r, o, err)
				return s, err
			},
		},
		nil, // any type: they are all *object
		&store{w, r},
		cache.ReflectorOptions{
			Logger:          &log,
			Name:            r.name,
			TypeDescription: r.name,
			Clock:           boundclock.Until(ctx),
		})
	reflector.RunWithContext(klog.NewContext(ctx, log))
}

func (r *resource) request(o *metav1.ListOptions) *rest.Request {
	o.LabelSelector, o.FieldSelector = r.labels, r.fields
	q := r.client.Get().Resource(r.name).VersionedParams(o, metav1.ParameterCodec)
	if o.TimeoutSeconds != nil {
		q.Timeout(time.Duration(*o.TimeoutSeconds) * time.Second)
	}
	return q
}

// store is what the reflector fills: it keeps nothing and passes everything on.
type store struct {
	w *Watcher
	r *resource
}

func (s *store) Add(obj any) error    { s.w.set(obj.(*object)); return nil }
func (s *store) Update(obj any) error { s.w.set(obj.(*object)); return nil }
func (s *store) Delete(obj any) error { s.w.drop(obj.(*object)); return nil }
func (s *store) Resync() error        { return nil }

func (s *store) Replace(list []any, version string) error {
	at := time.Now()
	objects := make([]*object, len(list))
	for i, o := range list {
		objects[i] = o.(*object)
	}
	s.w.replace(s.r, objects, at)
	s.w.replaced(s.r)
	s.UpdateResourceVersion(version)
	return nil
}

// UpdateResourceVersion is called after each event was applied, bookmarks included.
func (s *store) UpdateResourceVersion(version string) {
	if s.r.kind == endpointSlices {
		s.w.applied.Store(&version)
	}
}

// debugOnly lowers what the reflector logs: it has a line for every retry, and Watcher has one for
// every change of state.
type debugOnly struct{ slog.Handler }

func (h debugOnly) Enabled(ctx context.Context, _ slog.Level) bool {
	return h.Handler.Enabled(ctx, slog.LevelDebug)
}

func (h debugOnly) Handle(ctx context.Context, r slog.Record) error {
	if r.Level = slog.LevelDebug; !h.Handler.Enabled(ctx, r.Level) {
		return nil // logr does not ask before it logs an error
	}
	return h.Handler.Handle(ctx, r)
}

func (h debugOnly) WithAttrs(as []slog.Attr) slog.Handler { return debugOnly{h.Handler.WithAttrs(as)} }
func (h debugOnly) WithGroup(n string) slog.Handler       { return debugOnly{h.Handler.WithGroup(n)} }
