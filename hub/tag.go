package hub

import (
	"context"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/hub/template"
)

// Tag asks the API what an episode was, by reading the workload once: a pod of another revision than the workload wants
// now made room for it; of the same revision, somebody asked for fewer, or the pod was deleted and replaced. The same answer
// has the template of the pods that stay or come, which is what the next ones to leave are configured to do. It is nil if the
// workload could not be read.
func (c *Cluster) Tag(ctx context.Context, namespace, workload string, revisions []string, begun time.Time) (report.Tag, *report.Template, error) {
	kind, name, _ := strings.Cut(workload, "/")
	get := func(resource, name string, into runtime.Object) error {
		return c.apps.Get().Namespace(namespace).Resource(resource).Name(name).Do(ctx).Into(into)
	}
	switch kind {
	case "deployment":
		var d appsv1.Deployment
		if err := get("deployments", name, &d); err != nil {
			return report.UnknownTag, nil, err
		}
		t := templateOf(&d.Spec.Template.Spec, d.Spec.Replicas)
		t.Recreate = d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType
		for _, rev := range revisions {
			var rs appsv1.ReplicaSet
			if err := get("replicasets", name+"-"+rev, &rs); err != nil {
				return report.UnknownTag, t, err
			}
			// The revision annotation of the Deployment is that of the ReplicaSet which it fills
			// (k8s v1.36.3 pkg/controller/deployment/util, SetNewReplicaSetAnnotations).
			const revision = "deployment.kubernetes.io/revision"
			if rs.Annotations[revision] != d.Annotations[revision] {
				return report.Rollout, t, nil
			}
		}
		return scaledOrDeleted(d.ManagedFields, begun), t, nil
	case "statefulset":
		var s appsv1.StatefulSet
		if err := get("statefulsets", name, &s); err != nil {
			return report.UnknownTag, nil, err
		}
		t := templateOf(&s.Spec.Template.Spec, s.Spec.Replicas)
		if slices.ContainsFunc(revisions, func(r string) bool { return r != s.Status.UpdateRevision }) {
			return report.Rollout, t, nil
		}
		return scaledOrDeleted(s.ManagedFields, begun), t, nil
	case "daemonset":
		var d appsv1.DaemonSet
		if err := get("daemonsets", name, &d); err != nil {
			return report.UnknownTag, nil, err
		}
		t := templateOf(&d.Spec.Template.Spec, &d.Status.DesiredNumberScheduled)
		// A DaemonSet does not say which revision it wants; while it updates, it says that it does.
		if touched(d.ManagedFields, "f:template", begun.Add(-10*time.Minute)) {
			return report.Rollout, t, nil
		}
		return report.Deleted, t, nil
	}
	return report.UnknownTag, nil, nil
}

func templateOf(pod *corev1.PodSpec, replicas *int32) *report.Template {
	t := &report.Template{Containers: template.Containers(pod), Grace: pod.TerminationGracePeriodSeconds}
	if replicas != nil {
		n := int(*replicas)
		t.Replicas = &n
	}
	return t
}

func scaledOrDeleted(fields []metav1.ManagedFieldsEntry, begun time.Time) report.Tag {
	if touched(fields, "f:replicas", begun.Add(-10*time.Second)) {
		return report.ScaleDown
	}
	return report.Deleted
}

// touched reports whether somebody set a field of the spec since then. Managed fields say when each manager last changed
// what it manages, in whole seconds.
func touched(fields []metav1.ManagedFieldsEntry, field string, since time.Time) bool {
	return slices.ContainsFunc(fields, func(f metav1.ManagedFieldsEntry) bool {
		return f.Subresource != "status" && f.Time != nil && !f.Time.Time.Before(since) && f.FieldsV1 != nil &&
			strings.Contains(f.FieldsV1.GetRawString(), `"`+field+`"`)
	})
}
