//go:build linux

package testbed

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"
)

// Apply makes the cluster have the objects of a YAML text, as kubectl apply --server-side does; those that define kinds
// come before those that are of them.
func (c *Cluster) Apply(ctx context.Context, text string) error {
	client, err := dynamic.NewForConfig(c.config)
	if err != nil {
		return err
	}
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(c.client.Discovery()))
	documents := yaml.NewYAMLOrJSONDecoder(strings.NewReader(text), 4096)
	for {
		var o unstructured.Unstructured
		err := documents.Decode(&o.Object)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading objects: %w", err)
		}
		if len(o.Object) == 0 {
			continue
		}
		what := fmt.Sprintf("%s %s", o.GetKind(), o.GetName())
		var failed error
		// A kind that was defined a moment ago is served a moment later; any other error is an answer.
		err = waitFor(ctx, "the kind of "+what, 20*time.Second, func(ctx context.Context) error {
			if failed = apply(ctx, client, mapper, &o); meta.IsNoMatchError(failed) || apierrors.IsNotFound(failed) {
				return failed
			}
			return nil
		}, nil)
		if err := cmp.Or(failed, err); err != nil {
			return fmt.Errorf("applying %s: %w", what, err)
		}
	}
}

func apply(ctx context.Context, client dynamic.Interface, mapper *restmapper.DeferredDiscoveryRESTMapper, o *unstructured.Unstructured) error {
	kind := o.GroupVersionKind()
	m, err := mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		mapper.Reset()
		return err
	}
	var in dynamic.ResourceInterface = client.Resource(m.Resource)
	if m.Scope.Name() == meta.RESTScopeNameNamespace {
		namespace := o.GetNamespace()
		if namespace == "" {
			namespace = metav1.NamespaceDefault
		}
		in = client.Resource(m.Resource).Namespace(namespace)
	}
	_, err = in.Apply(ctx, o.GetName(), o, metav1.ApplyOptions{FieldManager: "testbed", Force: true})
	return err
}
