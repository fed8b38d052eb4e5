package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

const (
	partOf       = "app.kubernetes.io/name=lastcall"
	hubSelector  = partOf + ",app.kubernetes.io/component=hub"
	hubAPIPort   = 9750
	hubPagesPort = 9752
)

// installed is a hub's pod, as it was found.
type installed struct {
	pod corev1.Pod
}

func (i installed) namespace() string { return i.pod.Namespace }

// deployment is the name of the hub's Deployment: that of its ReplicaSet without the hash.
func (i installed) deployment() string {
	for _, o := range i.pod.OwnerReferences {
		if hash := i.pod.Labels["pod-template-hash"]; o.Kind == "ReplicaSet" && hash != "" {
			return strings.TrimSuffix(o.Name, "-"+hash)
		}
	}
	return either(i.pod.Labels["app.kubernetes.io/instance"], "lastcall") + "-hub"
}

// prefix begins the names of everything that was installed together: PREFIX-hub, PREFIX-viewer, PREFIX-user.
func (i installed) prefix() string { return strings.TrimSuffix(i.deployment(), "-hub") }

func (i installed) String() string { return i.pod.Namespace + "/" + i.pod.Name }

func (i installed) pages() pages {
	return pages{open: visible(fmt.Sprintf("kubectl -n %s port-forward deploy/%s %d", shell(i.namespace()), shell(i.deployment()), hubPagesPort)),
		base: fmt.Sprintf("http://localhost:%d", hubPagesPort)}
}

// unready says why the pod does not serve, "" if it does.
func (i installed) unready() string { return unready(i.pod) }

func unready(p corev1.Pod) string {
	for _, s := range p.Status.ContainerStatuses {
		if w := s.State.Waiting; w != nil {
			return strings.TrimSuffix(fmt.Sprintf("container %s: %s: %s", s.Name, w.Reason, w.Message), ": ")
		}
		if t := s.State.Terminated; t != nil {
			return fmt.Sprintf("container %s ended with exit code %d", s.Name, t.ExitCode)
		}
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return "not scheduled: " + c.Message
		}
		if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
			return ""
		}
	}
	return cmp.Or(string(p.Status.Phase), "its containers have not started") + ", not ready"
}

var errNoHub = errors.New("no hub")

// findHub looks for the hub's pod in one namespace, or in all that may be listed.
func findHub(ctx context.Context, k kubernetes.Interface, namespace string) (installed, error) {
	where := "in namespace " + namespace
	if namespace == "" {
		where = "in any namespace"
	}
	list, err := k.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: hubSelector})
	if namespace == "" && apierrors.IsForbidden(err) {
		namespace, where = defaultNamespace, "in namespace "+defaultNamespace+" (and you may not list pods in all of them)"
		list, err = k.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: hubSelector})
	}
	if err != nil {
		return installed{}, explainAPI(ctx, k, err, need{"list", "pods", namespace, "lastcall"})
	}
	return pickHub(list.Items, where)
}

// pickHub chooses the pod to talk to: a ready one before one that is not, the newest first.
func pickHub(pods []corev1.Pod, where string) (installed, error) {
	var found []installed
	for _, p := range pods {
		if p.DeletionTimestamp == nil && p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed {
			found = append(found, installed{p})
		}
	}
	if len(found) == 0 {
		return installed{}, fmt.Errorf("%w found %s (no pod labelled %s)\n"+
			"If lastcall runs elsewhere, say so with --lastcall-namespace or --hub. If it is not installed: kubectl lastcall check --pre says whether it can be",
			errNoHub, where, hubSelector)
	}
	namespaces := map[string]bool{}
	for _, f := range found {
		namespaces[f.namespace()] = true
	}
	if len(namespaces) > 1 {
		return installed{}, fmt.Errorf("there are hubs in several namespaces: %s\nSay which with --lastcall-namespace",
			strings.Join(slices.Sorted(maps.Keys(namespaces)), ", "))
	}
	slices.SortFunc(found, func(a, b installed) int {
		switch x, y := a.unready() == "", b.unready() == ""; {
		case x && !y:
			return -1
		case y && !x:
			return 1
		}
		return b.pod.CreationTimestamp.Compare(a.pod.CreationTimestamp.Time)
	})
	return found[0], nil
}
