package main

import (
	"context"
	"fmt"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// needs is what the user needs in the canary's namespace.
func (x *measure) needs() (all []access) {
	of := func(group, resource string, verbs ...string) {
		for _, v := range verbs {
			all = append(all, access{v, group, resource})
		}
	}
	of("batch", "jobs", "create", "list", "delete")
	of("", "pods", "create", "list", "patch", "delete")
	of("", "services", "create", "list")
	of("discovery.k8s.io", "endpointslices", "list")
	if x.ingressClass != "" {
		of("networking.k8s.io", "ingresses", "create", "list")
	}
	return all
}

// may asks the API server whether the user may do all of it: to find out at the end that nothing may be deleted is too late.
func (x *measure) may(ctx context.Context, k kubernetes.Interface, ns string) error {
	var lacks []string
	for _, n := range x.needs() {
		r, err := k.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
			ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: ns, Verb: n.verb, Group: n.group, Resource: n.resource}}}, metav1.CreateOptions{})
		if err != nil {
			return explainAPI(ctx, k, err, need{"create", "selfsubjectaccessreviews", ns, "lastcall"})
		}
		if !r.Status.Allowed {
			lacks = append(lacks, n.String())
		}
	}
	if len(lacks) == 0 {
		return nil
	}
	user := either(whoAmI(ctx, k), "USER")
	subject := "--user=" + shell(user)
	if account, ok := strings.CutPrefix(user, "system:serviceaccount:"); ok {
		subject = "--serviceaccount=" + shell(account)
	}
	return fmt.Errorf("in namespace %s you may not: %s\nNothing was made. Choose another namespace with -n; or the ClusterRole edit grants it:\n  kubectl -n %s create rolebinding %s --clusterrole=edit %s",
		ns, strings.Join(lacks, ", "), shell(ns), shell("edit-"+unfit.ReplaceAllString(user, "-")), subject)
}
