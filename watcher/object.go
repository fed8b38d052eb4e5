package watcher

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

type kind int

const (
	services kind = iota
	endpointSlices
	pods
	nodes
)

// object is an API object as it leaves the decoder: stamped with its receipt and trimmed to what is
// kept. It is itself a runtime.Object, so that client-go's reflector carries it.
type object struct {
	at      time.Time // receipt: before it was decoded
	kind    kind
	version string
	name
	// initialEnd marks the bookmark that ends the initial events of a streaming list.
	initialEnd bool
	malformed  int // parts that were skipped because they make no sense

	// The field of its kind; nil if the object is of no concern.
	service *service
	slice   *slice
	pod     *pod
	node    *node
}

// objectList is a list of them.
type objectList struct {
	metav1.ListMeta
	Items []runtime.Object
}

// trim turns what the decoder made into objects. Anything else is returned as it is: errors come as
// *metav1.Status.
func trim(obj runtime.Object, at time.Time) runtime.Object {
	switch o := obj.(type) {
	case *corev1.Service:
		return trimObject(o, at)
	case *discoveryv1.EndpointSlice:
		return trimObject(o, at)
	case *corev1.Pod:
		return trimObject(o, at)
	case *corev1.Node:
		return trimObject(o, at)
	case *corev1.ServiceList:
		return trimList(o.ListMeta, o.Items, at)
	case *discoveryv1.EndpointSliceList:
		return trimList(o.ListMeta, o.Items, at)
	case *corev1.PodList:
		return trimList(o.ListMeta, o.Items, at)
	case *corev1.NodeList:
		return trimList(o.ListMeta, o.Items, at)
	}
	return obj
}

func trimList[T any](meta metav1.ListMeta, items []T, at time.Time) runtime.Object {
	l := &objectList{ListMeta: meta, Items: make([]runtime.Object, 0, len(items))}
	for i := range items {
		l.Items = append(l.Items, trimObject(any(&items[i]).(metav1.Object), at))
	}
	return l
}

func trimObject(m metav1.Object, at time.Time) *object {
	o := &object{
		at:         at,
		name:       name{m.GetNamespace(), m.GetName()},
		version:    m.GetResourceVersion(),
		initialEnd: m.GetAnnotations()[metav1.InitialEventsAnnotationKey] == "true",
	}
	switch m := m.(type) {
	case *corev1.Service:
		o.kind = services
		o.service, o.malformed = trimService(m)
	case *discoveryv1.EndpointSlice:
		o.kind = endpointSlices
		o.slice, o.malformed = trimSlice(m)
	case *corev1.Pod:
		o.kind, o.pod = pods, trimPod(m)
	case *corev1.Node:
		o.kind, o.node = nodes, trimNode(m)
	}
	return o
}

// GetObjectMeta is what the reflector reads of an object: its key, its version, and the end of a
// streaming list.
func (o *object) GetObjectMeta() metav1.Object {
	m := &metav1.ObjectMeta{Namespace: o.namespace, Name: o.name.name, ResourceVersion: o.version}
	if o.initialEnd {
		m.Annotations = map[string]string{metav1.InitialEventsAnnotationKey: "true"}
	}
	return m
}

func (o *object) GetObjectKind() schema.ObjectKind     { return schema.EmptyObjectKind }
func (o *object) DeepCopyObject() runtime.Object       { return o } // nobody changes one
func (l *objectList) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }
func (l *objectList) DeepCopyObject() runtime.Object   { return l }
