package main

import (
	"errors"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// target is what a command was asked about. Kind is in lower case and singular, as in the hub's "deployment/shop".
type target struct {
	kind, name string
	resource   schema.GroupVersionResource // zero if only the hub knows it
}

func (t target) String() string { return t.kind + "/" + t.name }

// builtin kinds need no discovery: they are the same in every cluster, and --hub works without one.
var builtin = []struct {
	kind     string
	resource schema.GroupVersionResource
	names    string
}{
	{"deployment", schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}, "deploy deployment deployments"},
	{"statefulset", schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "statefulsets"}, "sts statefulset statefulsets"},
	{"daemonset", schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "daemonsets"}, "ds daemonset daemonsets"},
	{"replicaset", schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "replicasets"}, "rs replicaset replicasets"},
	{"job", schema.GroupVersionResource{Group: "batch", Version: "v1", Resource: "jobs"}, "job jobs"},
	{"replicationcontroller", schema.GroupVersionResource{Version: "v1", Resource: "replicationcontrollers"}, "rc replicationcontroller replicationcontrollers"},
	{"pod", schema.GroupVersionResource{Version: "v1", Resource: "pods"}, "po pod pods"},
	{"node", schema.GroupVersionResource{Version: "v1", Resource: "nodes"}, "no node nodes"},
}

// parseTarget takes TYPE/NAME, TYPE NAME, or TYPE alone (no name), as kubectl does.
func parseTarget(args []string, mapper func() (meta.RESTMapper, error)) (target, error) {
	var kind, name string
	switch len(args) {
	case 1:
		var slash bool
		if kind, name, slash = strings.Cut(args[0], "/"); slash && (name == "" || kind == "") {
			return target{}, fmt.Errorf("%q: must be TYPE/NAME, such as deployment/shop", args[0])
		}
	case 2:
		kind, name = args[0], args[1]
		if strings.Contains(kind, "/") || strings.Contains(name, "/") {
			return target{}, errors.New("one object at a time: TYPE/NAME or TYPE NAME, such as deployment/shop")
		}
	default:
		return target{}, errors.New("one object at a time: TYPE/NAME or TYPE NAME, such as deployment/shop")
	}
	if strings.ContainsAny(name, "/ \t\n") {
		return target{}, fmt.Errorf("%q is not a name", name)
	}
	t, err := resolve(kind, mapper)
	t.name = name
	return t, err
}

// resolve finds the kind behind what people type for it.
func resolve(word string, mapper func() (meta.RESTMapper, error)) (target, error) {
	lower := strings.ToLower(word)
	short, group, _ := strings.Cut(lower, ".")
	for _, b := range builtin {
		for n := range strings.FieldsSeq(b.names) {
			if n == short && (group == "" || group == b.resource.Group || group == b.resource.Version+"."+b.resource.Group) {
				return target{kind: b.kind, resource: b.resource}, nil
			}
		}
	}
	m, err := mapper()
	if err == nil {
		var gvr schema.GroupVersionResource
		full, partly := schema.ParseResourceArg(lower)
		if full != nil {
			gvr, err = m.ResourceFor(*full)
		}
		if full == nil || err != nil {
			gvr, err = m.ResourceFor(partly.WithVersion(""))
		}
		if err == nil {
			var gvk schema.GroupVersionKind
			if gvk, err = m.KindFor(gvr); err == nil {
				return target{kind: strings.ToLower(gvk.Kind), resource: gvr}, nil
			}
		}
	}
	hint := "such as deployment/shop, statefulset/db, pod/shop-5d8f7-x2x4q or node/node-1"
	if meta.IsNoMatchError(err) {
		return target{}, fmt.Errorf("the cluster has no resource type %q: say TYPE/NAME, %s", word, hint)
	}
	return target{}, fmt.Errorf("%q is not a type known here, and the cluster cannot be asked: %w\nSay TYPE/NAME, %s", word, err, hint)
}
