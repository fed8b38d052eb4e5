package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/hub/sizing"
	"github.com/lastcall-k8s/lastcall/hub/template"
)

// workload is one as the API server has it, read with the user's own rights.
type workload struct {
	target
	namespace string
	meta      metav1.ObjectMeta
	pod       corev1.PodSpec
	replicas  *int
	recreate  bool
	api       kubernetes.Interface
}

// readTime is how long the API server may take where its answer is not needed.
const readTime = 10 * time.Second

// read gets the workload; the error says why it could not, and what to do.
func (x *recommend) read(ctx context.Context, t target, ns string) (*workload, error) {
	k, err := x.kubernetes()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	w := &workload{target: t, namespace: ns, api: k}
	switch t.kind {
	case "deployment":
		d, err := k.AppsV1().Deployments(ns).Get(ctx, t.name, metav1.GetOptions{})
		return w.of(err, func() { w.deployment(d) })
	case "statefulset":
		s, err := k.AppsV1().StatefulSets(ns).Get(ctx, t.name, metav1.GetOptions{})
		return w.of(err, func() { w.statefulSet(s) })
	case "daemonset":
		d, err := k.AppsV1().DaemonSets(ns).Get(ctx, t.name, metav1.GetOptions{})
		return w.of(err, func() { w.daemonSet(d) })
	}
	return nil, fmt.Errorf("a %s is not read: its pods come from elsewhere, or have no template. Change preStop where they are defined", visible(t.kind))
}

func (w *workload) of(err error, fill func()) (*workload, error) {
	switch {
	case err == nil:
		fill()
		return w, nil
	case apierrors.IsNotFound(err):
		return nil, fmt.Errorf("there is no %s in namespace %s\nIs the namespace right (-n)?", w.target, w.namespace)
	case apierrors.IsForbidden(err):
		return nil, fmt.Errorf("you may not read %s in namespace %s: %w\nSee: kubectl auth can-i get %s -n %s", w.target, w.namespace, err, w.kind, shell(w.namespace))
	}
	if u := (*url.Error)(nil); errors.As(err, &u) {
		err = u.Err // without the URL, which is long
	}
	return nil, fmt.Errorf("read %s in namespace %s: %w", w.target, w.namespace, err)
}

func (w *workload) deployment(d *appsv1.Deployment) {
	w.fill(d.ObjectMeta, d.Spec.Template, d.Spec.Replicas)
	w.recreate = d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType
}

func (w *workload) statefulSet(s *appsv1.StatefulSet) {
	w.fill(s.ObjectMeta, s.Spec.Template, s.Spec.Replicas)
}

func (w *workload) daemonSet(d *appsv1.DaemonSet) {
	n := d.Status.DesiredNumberScheduled
	w.fill(d.ObjectMeta, d.Spec.Template, &n)
}

func (w *workload) fill(m metav1.ObjectMeta, t corev1.PodTemplateSpec, replicas *int32) {
	w.meta, w.pod = m, t.Spec
	if replicas != nil {
		n := int(*replicas)
		w.replicas = &n
	}
}

// try applies a patch without keeping it, and returns the pod template that would be.
func (w *workload) try(ctx context.Context, patch []byte) (corev1.PodSpec, error) {
	// Strict: a field that the API server does not know would be dropped in silence.
	o := metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}, FieldManager: "kubectl-patch", FieldValidation: metav1.FieldValidationStrict}
	switch w.kind {
	case "deployment":
		d, err := w.api.AppsV1().Deployments(w.namespace).Patch(ctx, w.name, types.StrategicMergePatchType, patch, o)
		if err != nil {
			return corev1.PodSpec{}, err
		}
		return d.Spec.Template.Spec, nil
	case "statefulset":
		s, err := w.api.AppsV1().StatefulSets(w.namespace).Patch(ctx, w.name, types.StrategicMergePatchType, patch, o)
		if err != nil {
			return corev1.PodSpec{}, err
		}
		return s.Spec.Template.Spec, nil
	case "daemonset":
		d, err := w.api.AppsV1().DaemonSets(w.namespace).Patch(ctx, w.name, types.StrategicMergePatchType, patch, o)
		if err != nil {
			return corev1.PodSpec{}, err
		}
		return d.Spec.Template.Spec, nil
	}
	return corev1.PodSpec{}, errors.New("it has no template")
}

// live is what the hub needs of it: neither commands nor URLs leave this machine.
func (w *workload) live() sizing.Live {
	return sizing.Live{Containers: template.Containers(&w.pod), Grace: w.pod.TerminationGracePeriodSeconds, Replicas: w.replicas, Recreate: w.recreate}
}

// hook is the preStop of a container, nil if there is none.
func hook(p corev1.PodSpec, name string) *corev1.LifecycleHandler {
	for _, list := range [][]corev1.Container{p.Containers, p.InitContainers} {
		for i := range list {
			if c := &list[i]; c.Name == name && c.Lifecycle != nil {
				return c.Lifecycle.PreStop
			}
		}
	}
	return nil
}

// target is what a patch is made for. serving are the containers as the hub knows them.
func (w *workload) patched(serving []report.Container, oldest int) sizing.Target {
	t := sizing.Target{Workload: w.target.String(), Grace: w.pod.TerminationGracePeriodSeconds, Oldest: oldest}
	for _, c := range serving {
		tc := sizing.TargetContainer{Container: c}
		if h := hook(w.pod, c.Name); h != nil && h.Exec != nil {
			tc.Command = h.Exec.Command
		}
		t.Containers = append(t.Containers, tc)
	}
	return t
}

// oldest is the minor version of the oldest of API server and kubelets, 0 if it is not known.
func (w *workload) oldest(ctx context.Context) (int, error) {
	v, err := w.api.Discovery().ServerVersion()
	if err != nil {
		return 0, fmt.Errorf("ask for the API server's version: %w", err)
	}
	least := minor(v.Minor)
	o := metav1.ListOptions{Limit: 500}
	for {
		nodes, err := w.api.CoreV1().Nodes().List(ctx, o)
		if apierrors.IsForbidden(err) {
			// Kubelets are up to three minor versions older (kubernetes.io/releases/version-skew-policy).
			return max(least-3, 0), nil
		}
		if err != nil {
			return 0, fmt.Errorf("list nodes, for the versions of their kubelets: %w", err)
		}
		for _, n := range nodes.Items {
			_, rest, _ := strings.Cut(n.Status.NodeInfo.KubeletVersion, ".")
			m, _, _ := strings.Cut(rest, ".")
			if n := minor(m); n < least {
				least = n // 0 too: a kubelet that does not say so
			}
		}
		if o.Continue = nodes.Continue; o.Continue == "" {
			return least, nil
		}
	}
}

// minor reads "36" and "29+".
func minor(s string) int {
	n, err := strconv.Atoi(strings.TrimRight(s, "+"))
	if err != nil {
		return 0
	}
	return n
}
