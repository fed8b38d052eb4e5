package routes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/lastcall-k8s/lastcall/hub/serving"
	"github.com/lastcall-k8s/lastcall/internal/boundclock"
)

// errAbsent: the API server has no such resource.
var errAbsent = errors.New("is not there")

// find returns a client for the newest version of the resource that the API server serves. Discovery is open to everybody
// who is authenticated (ClusterRole system:discovery).
func (w *Watch) find(ctx context.Context, k kind) (*rest.RESTClient, error) {
	if k.group == "" {
		return w.client("", "v1", k.name)
	}
	c, err := w.client("apps", "v1", "")
	if err != nil {
		return nil, err
	}
	var group metav1.APIGroup
	if err := discover(ctx, c, "/apis/"+k.group, &group); err != nil {
		return nil, err
	}
	for _, v := range group.Versions { // the API server has the best first
		var list metav1.APIResourceList
		if err := discover(ctx, c, "/apis/"+v.GroupVersion, &list); err != nil {
			return nil, err
		}
		if slices.ContainsFunc(list.APIResources, func(r metav1.APIResource) bool { return r.Name == k.resource }) {
			return w.client(k.group, v.Version, k.name)
		}
	}
	return nil, errAbsent
}

// maxDiscovery bounds what is read of one document.
const maxDiscovery = 4 << 20

func discover(ctx context.Context, c *rest.RESTClient, path string, into any) error {
	body, err := c.Get().AbsPath(path).Stream(ctx)
	if apierrors.IsNotFound(err) {
		return errAbsent
	}
	if err != nil {
		return err
	}
	defer body.Close()
	if err := json.NewDecoder(io.LimitReader(body, maxDiscovery)).Decode(into); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}

// reflect follows a resource until ctx ends, or the resource is there no more.
func (w *Watch) reflect(ctx context.Context, c *rest.RESTClient, k kind) {
	ctx, gone := context.WithCancel(ctx)
	defer gone()
	answer := func(ctx context.Context, err error) {
		switch {
		case apierrors.IsNotFound(err) && k.group != "":
			gone()
		case err != nil:
			w.failed(ctx, k, fmt.Errorf("follow %s: %w", k, err))
		default:
			w.answered(k)
		}
	}
	request := func(o *metav1.ListOptions) *rest.Request {
		return c.Get().Resource(k.resource).VersionedParams(o, metav1.ParameterCodec)
	}
	quiet := logr.Discard()
	reflector := cache.NewReflectorWithOptions(
		&cache.ListWatch{
			ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
				l, err := list(ctx, request(&o), k.name)
				answer(ctx, err)
				return l, err
			},
			WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
				o.Watch = true
				s, err := request(&o).Watch(ctx)
				if _, ok := s.(*watch.StreamWatcher); err == nil && !ok {
					s, err = nil, io.ErrUnexpectedEOF // a connection that was closed without an answer is an empty watch to client-go
				}
				// The list that follows says what is wrong. A server before 1.32 does not stream lists, and says Invalid.
				if err == nil || apierrors.IsNotFound(err) {
					answer(ctx, err)
				}
				return s, err
			},
		},
		nil, // any type: they are all *object
		&store{w, k},
		cache.ReflectorOptions{Logger: &quiet, Name: k.resource, TypeDescription: k.resource, Clock: boundclock.Until(ctx)})
	reflector.RunWithContext(klog.NewContext(ctx, quiet))
}

// list reads a list object by object: the whole answer is never held.
func list(ctx context.Context, q *rest.Request, kind string) (runtime.Object, error) {
	body, err := q.Stream(ctx)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	l, err := readList(body, kind)
	if err != nil {
		return nil, fmt.Errorf("read the list: %w", err)
	}
	return l, nil
}

// store is what the reflector fills.
type store struct {
	w *Watch
	k kind
}

func (s *store) Add(o any) error              { s.put(o.(*object)); return nil }
func (s *store) Update(o any) error           { s.put(o.(*object)); return nil }
func (s *store) Resync() error                { return nil }
func (s *store) UpdateResourceVersion(string) {}

func (s *store) put(o *object) {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	s.w.objects[s.k][o.name] = o.Object
	s.w.change()
}

func (s *store) Delete(o any) error {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	delete(s.w.objects[s.k], o.(*object).name)
	s.w.change()
	return nil
}

func (s *store) Replace(all []any, _ string) error {
	objects := make(map[serving.Name]serving.Object, len(all))
	for _, o := range all {
		objects[o.(*object).name] = o.(*object).Object
	}
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	s.w.objects[s.k], s.w.state[s.k] = objects, state{known: true}
	s.w.change()
	return nil
}
