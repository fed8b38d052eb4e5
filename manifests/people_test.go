//go:build linux

package manifests

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// people binds somebody to the Role lastcall-user, as the docs say, and lets them use kubectl lastcall.
func (b *bed) people(t *testing.T) {
	const team, namespace = "team", "default"
	ctx := t.Context()
	if _, err := b.client.CoreV1().ServiceAccounts(namespace).Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: team}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	bound := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "lastcall-team"},
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "lastcall-user"},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: team, Namespace: namespace}}}
	if _, err := b.client.RbacV1().RoleBindings(system).Create(ctx, bound, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx := context.WithoutCancel(ctx)
		if err := b.client.CoreV1().ServiceAccounts(namespace).Delete(ctx, team, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
		if err := b.client.RbacV1().RoleBindings(system).Delete(ctx, bound.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	kubeconfig := b.kubeconfigOf(t, namespace, team)
	for _, args := range [][]string{{"places", "--lastcall-namespace", system, "-o", "json"}, {"check", "--lastcall-namespace", system}} {
		cmd := exec.CommandContext(ctx, b.plugin, args...)
		cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig)
		var out, said bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &said
		err := cmd.Run()
		t.Logf("kubectl lastcall %v: %v\n%s%s", args, err, said.String(), out.String())
		if args[0] == "places" && (err != nil || !strings.Contains(out.String(), `"node-1"`)) {
			t.Errorf("kubectl lastcall places: %v\n%s%s", err, said.String(), out.String())
		}
	}
	role, err := b.client.RbacV1().Roles(system).Get(ctx, "lastcall-user", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	asked := b.asked(t, "system:serviceaccount:"+namespace+":"+team)
	for _, r := range role.Rules {
		for _, resource := range r.Resources {
			for _, verb := range r.Verbs {
				right := verb + " " + r.APIGroups[0] + "/" + resource
				if asked[right] == 0 && spared[right] == "" {
					t.Errorf("the Role lastcall-user grants to %s, which kubectl lastcall never asked; it asked %v", right, slices.Sorted(maps.Keys(asked)))
				}
			}
		}
	}
}

// spared are rights of people that an audit log does not show used, and why they are there.
var spared = map[string]string{
	"get /pods":                "kubectl port-forward, which leads to the pages, gets the pod it is told",
	"create /pods/portforward": "asked by the API server itself since 1.35 where a websocket comes with GET, and the verb of SPDY before that",
}

// asked are the requests of a user that were allowed, as "verb group/resource".
func (b *bed) asked(t *testing.T, user string) map[string]int {
	t.Helper()
	events, err := b.Audit()
	if err != nil {
		t.Fatal(err)
	}
	asked := map[string]int{}
	for _, e := range events {
		if o := e.ObjectRef; o != nil && e.User.Username == user && e.ResponseStatus.Code != http.StatusForbidden {
			resource := o.Resource
			if o.Subresource != "" {
				resource += "/" + o.Subresource
			}
			asked[e.Verb+" "+o.APIGroup+"/"+resource]++
		}
	}
	return asked
}

// readers: the ClusterRole lastcall-reader, which names no path of the API server's own, let in the hub at the agents, and at
// the hub the viewer, as whom people read. (Who is not let in: TestInstalled.)
func (b *bed) readers(t *testing.T) {
	want := []string{
		"system:serviceaccount:lastcall-system:lastcall-hub get /v1/events: yes",
		"system:serviceaccount:lastcall-system:lastcall-viewer get /v1/places: yes",
	}
	b.within(t, time.Minute, func(context.Context) error {
		answers, err := b.reviews()
		for _, w := range want {
			if err == nil && !answers[w] {
				err = fmt.Errorf("no SubjectAccessReview like %q; there were %q", w, slices.Sorted(maps.Keys(answers)))
			}
		}
		return err
	})
}

// reviews are the SubjectAccessReviews that agents and hub made, with their answers.
func (b *bed) reviews() (map[string]bool, error) {
	events, err := b.Audit()
	if err != nil {
		return nil, err
	}
	reviews := map[string]bool{}
	for _, e := range events {
		if e.ObjectRef == nil || e.ObjectRef.Resource != "subjectaccessreviews" || e.ResponseStatus.Code != http.StatusCreated {
			continue // a failure is a Status
		}
		var r authorizationv1.SubjectAccessReview
		if err := json.Unmarshal(e.ResponseObject, &r); err != nil {
			return nil, fmt.Errorf("the audit log's answer to a SubjectAccessReview: %w", err)
		}
		if a := r.Spec.NonResourceAttributes; a != nil {
			answer := map[bool]string{true: "yes", false: "no"}[r.Status.Allowed]
			reviews[fmt.Sprintf("%s %s %s: %s", r.Spec.User, a.Verb, a.Path, answer)] = true
		}
	}
	return reviews, nil
}

// kubeconfigOf is a kubeconfig for a service account and nobody else.
func (b *bed) kubeconfigOf(t *testing.T, namespace, account string) string {
	t.Helper()
	r, err := b.client.CoreV1().ServiceAccounts(namespace).CreateToken(t.Context(), account, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.LoadFromFile(b.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	for name := range config.AuthInfos {
		config.AuthInfos[name] = &clientcmdapi.AuthInfo{Token: r.Status.Token}
	}
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		t.Fatal(err)
	}
	return path
}
