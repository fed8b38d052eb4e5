package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// right is one that an account of lastcall needs, and whether it has it.
type right struct {
	component string // "agent" or "hub"
	access
	allowed bool
}

type access struct{ verb, group, resource string }

func (a access) String() string {
	if a.group != "" && a.group != "apps" && a.group != "discovery.k8s.io" {
		return a.verb + " " + a.resource + "." + a.group
	}
	return a.verb + " " + a.resource
}

// needs of the service accounts, over the whole cluster.
var needs = []right{
	{component: "agent", access: access{"list", "", "services"}},
	{component: "agent", access: access{"watch", "", "services"}},
	{component: "agent", access: access{"list", "discovery.k8s.io", "endpointslices"}},
	{component: "agent", access: access{"watch", "discovery.k8s.io", "endpointslices"}},
	{component: "agent", access: access{"list", "", "pods"}},
	{component: "agent", access: access{"watch", "", "pods"}},
	{component: "agent", access: access{"list", "", "nodes"}},
	{component: "agent", access: access{"watch", "", "nodes"}},
	{component: "agent", access: access{"create", "authentication.k8s.io", "tokenreviews"}},
	{component: "agent", access: access{"create", "authorization.k8s.io", "subjectaccessreviews"}},
	{component: "hub", access: access{"list", "", "nodes"}},
	{component: "hub", access: access{"watch", "", "nodes"}},
	{component: "hub", access: access{"create", "authentication.k8s.io", "tokenreviews"}},
	{component: "hub", access: access{"create", "authorization.k8s.io", "subjectaccessreviews"}},
}

// accountRights asks the API server what the accounts may do, if the user may ask that.
func accountRights(ctx context.Context, k kubernetes.Interface, accounts map[string]string) (rs []right, err error) {
	for _, n := range needs {
		account := accounts[n.component]
		if account == "" {
			continue
		}
		ns, _, _ := strings.Cut(account, ":")
		r, err := k.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User:   "system:serviceaccount:" + account,
			Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + ns, "system:authenticated"},
			ResourceAttributes: &authorizationv1.ResourceAttributes{
				Verb: n.verb, Group: n.group, Resource: n.resource}}}, metav1.CreateOptions{})
		if apierrors.IsForbidden(err) {
			return nil, fmt.Errorf("you may not ask what others may do (create subjectaccessreviews)")
		}
		if err != nil {
			return nil, answered(err, "create subjectaccessreviews")
		}
		n.allowed = r.Status.Allowed
		rs = append(rs, n)
	}
	return rs, nil
}

func (s survey) rightFindings() (fs []finding) {
	if s.rightErr != nil {
		return []finding{{Check: "permissions", Result: unknown, What: oneLine(s.rightErr),
			Do: "Agents that lack a right are not ready, and say so above."}}
	}
	accounts := s.accounts()
	for _, component := range []string{"agent", "hub"} {
		rs := slices.DeleteFunc(slices.Clone(s.rights), func(r right) bool { return r.component != component })
		if len(rs) == 0 {
			if component == "hub" && s.hubErr != nil || component == "agent" && s.agentErr == errNoAgents {
				continue // there is none, which is told already
			}
			fs = append(fs, finding{Check: "permissions", Result: unknown, What: fmt.Sprintf("which ServiceAccount the %s has cannot be seen", component)})
			continue
		}
		var lacks []string
		for _, r := range rs {
			if !r.allowed {
				lacks = append(lacks, r.access.String())
			}
		}
		f := finding{Check: "permissions", Result: ok, What: fmt.Sprintf("the %s's ServiceAccount %s has what it needs", component, strings.Replace(accounts[component], ":", "/", 1))}
		if len(lacks) > 0 {
			f.Result = fail
			f.What = fmt.Sprintf("the %s's ServiceAccount %s may not: %s", component, strings.Replace(accounts[component], ":", "/", 1), strings.Join(lacks, ", "))
			f.Do = "The chart's ClusterRole grants this: has its ClusterRoleBinding been changed or removed?"
		}
		fs = append(fs, f)
	}
	return fs
}
