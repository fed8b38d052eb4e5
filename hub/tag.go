package hub

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/lastcall-k8s/lastcall/hub/report"
)

// Tagger asks the API what an episode was, by reading the workload once: a pod of another revision than the workload wants
// now made room for it; of the same revision, somebody asked for fewer, or the pod was deleted and replaced.
func Tagger(client kubernetes.Interface) func(ctx context.Context, namespace, workload string, revisions []string, begun time.Time) (report.Tag, error) {
	return func(ctx context.Context, namespace, workload string, revisions []string, begun time.Time) (report.Tag, error) {
		kind, name, _ := strings.Cut(workload, "/")
		apps := client.AppsV1()
		switch kind {
		case "deployment":
			d, err := apps.Deployments(namespace).Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return report.UnknownTag, err
			}
			for _, rev := range revisions {
				rs, err := apps.ReplicaSets(namespace).Get(ctx, name+"-"+rev, metav1.GetOptions{})
				if err != nil {
					return report.UnknownTag, err
				}
				// The revision annotation of the Deployment is that of the ReplicaSet which it fills
				// (k8s v1.36.3 pkg/controller/deployment/util, SetNewReplicaSetAnnotations).
				const revision = "deployment.kubernetes.io/revision"
				if rs.Annotations[revision] != d.Annotations[revision] {
					return report.Rollout, nil
				}
			}
			return scaledOrDeleted(d.ManagedFields, begun), nil
		case "statefulset":
			s, err := apps.StatefulSets(namespace).Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return report.UnknownTag, err
			}
			if slices.ContainsFunc(revisions, func(r string) bool { return r != s.Status.UpdateRevision }) {
				return report.Rollout, nil
			}
			return scaledOrDeleted(s.ManagedFields, begun), nil
		case "daemonset":
			d, err := apps.DaemonSets(namespace).Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return report.UnknownTag, err
			}
			// A DaemonSet does not say which revision it wants; while it updates, it says that it does.
			if touched(d.ManagedFields, "f:template", begun.Add(-10*time.Minute)) {
				return report.Rollout, nil
			}
			return report.Deleted, nil
		}
		return report.UnknownTag, nil
	}
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
			bytes.Contains(f.FieldsV1.Raw, []byte(`"`+field+`"`))
	})
}
