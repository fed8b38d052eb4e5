//go:build linux

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/lastcall-k8s/lastcall/internal/testbed"
)

// spared are verbs that are granted and need not be seen used, and why.
var spared = map[string]string{
	"list":                      "client-go streams the first list over the watch; an API server without that feature (before 1.32, or with it off) is asked to list",
	"gateway.networking.k8s.io": crds, "traefik.io": crds, "projectcontour.io": crds,
}

const crds = "its CRDs are not there, so nobody asks for them: hub/routes.TestWatch makes one"

// rights: the roles that the chart binds grant what our processes ask for, and nothing else. What they asked for is read off
// the API server's audit log.
func rights(t *testing.T, i *installed) {
	for _, account := range []string{"lastcall-agent", "lastcall-hub"} {
		granted := i.granted(t, account)
		// Wait until every kind of request was made: some come with the next episode, or are cached.
		within(t, time.Minute, func() error {
			asked, err := i.asked(account)
			if err != nil {
				return err
			}
			for right, reason := range granted {
				verb, what, _ := strings.Cut(right, " ")
				group, _, _ := strings.Cut(what, "/")
				if _, ok := asked[right]; !ok && spared[verb] == "" && spared[group] == "" && !strings.Contains(right, "/v1/*") {
					return fmt.Errorf("%s may %s (%s) and never did", account, right, reason)
				}
			}
			return nil
		})
		asked, err := i.asked(account)
		if err != nil {
			t.Fatal(err)
		}
		for right, code := range asked {
			if code == http.StatusForbidden || granted[right] == "" {
				t.Errorf("%s asked to %s and may not (answer %d)", account, right, code)
			}
		}
	}
}

// granted are a service account's rights, as "verb group/resource [in NAMESPACE]" -> the role that grants it.
func (i *installed) granted(t *testing.T, account string) map[string]string {
	t.Helper()
	ctx, rights := t.Context(), map[string]string{}
	ours := func(subjects []rbacv1.Subject) bool {
		return slices.ContainsFunc(subjects, func(s rbacv1.Subject) bool { return s.Name == account && s.Namespace == system })
	}
	add := func(role, namespace string, rules []rbacv1.PolicyRule) {
		for _, r := range rules {
			for _, v := range r.Verbs {
				for _, g := range r.APIGroups {
					for _, res := range r.Resources {
						rights[right(v, g, res, namespace)] = role
					}
				}
				for _, url := range r.NonResourceURLs {
					rights[v+" "+url] = role
				}
			}
		}
	}
	rbac := i.client.RbacV1()
	all, err := rbac.ClusterRoleBindings().List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range all.Items {
		if ours(b.Subjects) {
			role, err := rbac.ClusterRoles().Get(ctx, b.RoleRef.Name, metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			add(role.Name, "", role.Rules)
		}
	}
	local, err := rbac.RoleBindings(system).List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range local.Items {
		if ours(b.Subjects) {
			role, err := rbac.Roles(system).Get(ctx, b.RoleRef.Name, metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			add(role.Name, system, role.Rules)
		}
	}
	if len(rights) == 0 {
		t.Fatalf("%s has no rights", account)
	}
	return rights
}

// asked are the requests that a service account made, in the same words, with the worst answer.
func (i *installed) asked(account string) (map[string]int, error) {
	events, err := i.Audit()
	if err != nil {
		return nil, err
	}
	asked := map[string]int{}
	for _, e := range events {
		if e.User.Username != "system:serviceaccount:"+system+":"+account || e.ObjectRef == nil {
			continue
		}
		o := e.ObjectRef
		resource, namespace := o.Resource, ""
		if o.Subresource != "" {
			resource += "/" + o.Subresource
		}
		if o.Resource == "pods" && account == "lastcall-hub" {
			namespace = o.Namespace
		}
		k := right(e.Verb, o.APIGroup, resource, namespace)
		asked[k] = max(asked[k], e.ResponseStatus.Code)
	}
	return asked, nil
}

func right(verb, group, resource, namespace string) string {
	text := fmt.Sprintf("%s %s/%s", verb, group, resource)
	if namespace != "" {
		text += " in " + namespace
	}
	return text
}

// otherKinds lets a pod of a StatefulSet and one of a DaemonSet leave, so that the hub asks what those were.
func otherKinds(t *testing.T, i *installed) {
	s := i.shop(t, "kinds", 1, 0)
	ctx := t.Context()
	template := func(app string) corev1.PodTemplateSpec {
		return corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": app}}, Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "server", Image: testbed.ServerImage, ImagePullPolicy: corev1.PullNever, Ports: []corev1.ContainerPort{{ContainerPort: 8080}},
			ReadinessProbe: &corev1.Probe{PeriodSeconds: 1, ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/readyz", Port: intstr.FromInt32(8080)}}}}}}}
	}
	meta := func(app string) (metav1.ObjectMeta, *metav1.LabelSelector) {
		return metav1.ObjectMeta{Name: app}, &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}
	}
	two := int32(2)
	object, selector := meta("state")
	if _, err := i.client.AppsV1().StatefulSets(s.namespace).Create(ctx, &appsv1.StatefulSet{ObjectMeta: object, Spec: appsv1.StatefulSetSpec{Replicas: &two,
		Selector: selector, Template: template("state"), PodManagementPolicy: appsv1.ParallelPodManagement}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	object, selector = meta("daemon")
	if _, err := i.client.AppsV1().DaemonSets(s.namespace).Create(ctx, &appsv1.DaemonSet{ObjectMeta: object, Spec: appsv1.DaemonSetSpec{
		Selector: selector, Template: template("daemon")}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, app := range []string{"state", "daemon"} {
		service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: app}, Spec: corev1.ServiceSpec{Selector: map[string]string{"app": app},
			Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}}}}
		if _, err := i.client.CoreV1().Services(s.namespace).Create(ctx, service, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		pods := i.client.CoreV1().Pods(s.namespace)
		within(t, time.Minute, func() error {
			list, err := pods.List(ctx, metav1.ListOptions{LabelSelector: "app=" + app})
			if err != nil {
				return err
			}
			ready := slices.DeleteFunc(list.Items, func(p corev1.Pod) bool {
				return !slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue })
			})
			if len(ready) != 2 {
				return fmt.Errorf("%d of 2 pods of %s are ready", len(ready), app)
			}
			return pods.Delete(context.WithoutCancel(ctx), ready[0].Name, metav1.DeleteOptions{})
		})
		kind := map[string]string{"state": "statefulset", "daemon": "daemonset"}[app]
		within(t, time.Minute, func() error {
			out, said, err := i.ask(t, "-n", s.namespace, "explain", kind+"/"+app)
			if err == nil && !strings.Contains(out, kind+"/"+app) {
				err = fmt.Errorf("it says %s", out)
			}
			if err != nil {
				return fmt.Errorf("%w: %s", err, said)
			}
			return nil
		})
	}
}
