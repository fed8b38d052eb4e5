//go:build linux

package manifests

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	yamlutil "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
)

// fleeting objects come and go by themselves; a component's status is no object at all.
var fleeting = []string{"/events", "events.k8s.io/events", "coordination.k8s.io/leases", "storage.k8s.io/csinodes", "/componentstatuses"}

// objects lists every object in the cluster, as "group/resource namespace/name".
func (b *bed) objects(t *testing.T) map[string]bool {
	t.Helper()
	all, err := b.everything(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func (b *bed) everything(ctx context.Context) (map[string]bool, error) {
	config := b.RESTConfig()
	config.WarningHandler = rest.NoWarnings{} // old kinds are listed too
	client, err := metadata.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	lists, err := b.client.Discovery().ServerPreferredResources()
	if err != nil {
		return nil, err
	}
	all := map[string]bool{}
	for _, l := range discovery.FilteredBy(discovery.SupportsAllVerbs{Verbs: []string{"list"}}, lists) {
		version, err := schema.ParseGroupVersion(l.GroupVersion)
		if err != nil {
			return nil, err
		}
		for _, r := range l.APIResources {
			kind := version.Group + "/" + r.Name
			if slices.Contains(fleeting, kind) {
				continue
			}
			items, err := client.Resource(version.WithResource(r.Name)).List(ctx, metav1.ListOptions{})
			if err != nil {
				return nil, fmt.Errorf("list %s: %w", kind, err)
			}
			for _, o := range items.Items {
				all[kind+" "+strings.TrimPrefix(o.Namespace+"/"+o.Name, "/")] = true
			}
		}
	}
	if len(all) < 50 {
		return nil, fmt.Errorf("only %d objects in a whole cluster", len(all))
	}
	return all, nil
}

// leaves waits until the cluster has what it had before, and beside that only these. The garbage collector takes a moment.
func (b *bed) leaves(t *testing.T, before map[string]bool, also ...string) {
	t.Helper()
	b.within(t, time.Minute, func(ctx context.Context) error {
		now, err := b.everything(ctx)
		if err != nil {
			return err
		}
		for _, o := range also {
			if !now[o] {
				return fmt.Errorf("no %s", o)
			}
		}
		var left []string
		for o := range now {
			if !before[o] && !slices.Contains(also, o) {
				left = append(left, o)
			}
		}
		if slices.Sort(left); len(left) > 0 {
			return fmt.Errorf("left behind:\n%s", strings.Join(left, "\n"))
		}
		return nil
	})
}

// apply does what kubectl apply --server-side -f install.yaml does; without --force-conflicts, and refusing what the API
// server would only warn of.
func (b *bed) apply(t *testing.T) {
	t.Helper()
	b.each(t, func(r dynamic.ResourceInterface, o unstructured.Unstructured) error {
		text, err := o.MarshalJSON()
		if err != nil {
			return err
		}
		_, err = r.Patch(t.Context(), o.GetName(), "application/apply-patch+yaml", text, metav1.PatchOptions{FieldManager: "kubectl", FieldValidation: metav1.FieldValidationStrict})
		return err
	})
}

// remove does what kubectl delete -f install.yaml does.
func (b *bed) remove(t *testing.T) {
	t.Helper()
	b.each(t, func(r dynamic.ResourceInterface, o unstructured.Unstructured) error {
		err := r.Delete(t.Context(), o.GetName(), metav1.DeleteOptions{})
		if apierrors.IsNotFound(err) {
			return nil // the namespace took it along
		}
		return err
	})
}

func (b *bed) each(t *testing.T, do func(dynamic.ResourceInterface, unstructured.Unstructured) error) {
	t.Helper()
	text, err := os.ReadFile("install.yaml")
	if err != nil {
		t.Fatal(err)
	}
	client, err := dynamic.NewForConfig(b.RESTConfig())
	if err != nil {
		t.Fatal(err)
	}
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(b.client.Discovery()))
	for _, doc := range bytes.Split(text, []byte("\n---\n")) {
		var o unstructured.Unstructured
		if err := yamlutil.Unmarshal(doc, &o.Object); err != nil {
			t.Fatal(err)
		}
		if o.Object == nil {
			continue // only comments
		}
		kind := o.GroupVersionKind()
		mapping, err := mapper.RESTMapping(kind.GroupKind(), kind.Version)
		if err != nil {
			t.Fatal(err)
		}
		var r dynamic.ResourceInterface = client.Resource(mapping.Resource)
		if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
			r = client.Resource(mapping.Resource).Namespace(o.GetNamespace())
		}
		if err := do(r, o); err != nil {
			t.Fatalf("%s %s: %v", o.GetKind(), o.GetName(), err)
		}
	}
}
