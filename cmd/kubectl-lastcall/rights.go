package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/lastcall-k8s/lastcall/hub/report"
)

// need is a right that talking to the hub takes.
type need struct {
	verb, resource, namespace string
	prefix                    string // of the Role to bind, PREFIX-user
}

// explainAPI says what to do about an error of the API server.
func explainAPI(ctx context.Context, k kubernetes.Interface, err error, n need) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case apierrors.IsForbidden(err):
		return fmt.Errorf("you may not %s %s in namespace %s\n"+
			"An administrator of the cluster can let you, by the Role that comes with lastcall:\n  %s",
			n.verb, n.resource, n.namespace, bindCommand(n, whoAmI(ctx, k)))
	case apierrors.IsUnauthorized(err):
		return fmt.Errorf("the API server does not know you: %w\nDoes `kubectl auth whoami` work with this kubeconfig and context?", err)
	}
	return answered(err, fmt.Sprintf("%s %s in namespace %s", n.verb, n.resource, either(n.namespace, "(all)")))
}

// answered tells an API server that says no from one that says nothing.
func answered(err error, doing string) error {
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		return fmt.Errorf("%s: %w", doing, err)
	}
	var u *url.Error
	if errors.As(err, &u) {
		host := u.URL
		if at, err := url.Parse(u.URL); err == nil {
			host = at.Scheme + "://" + at.Host
		}
		err = fmt.Errorf("%s: %w", host, u.Err)
	}
	return fmt.Errorf("the API server does not answer (%w)\n"+
		"Does `kubectl get nodes` work? --kubeconfig and --context choose a cluster, --hub goes to a hub directly", err)
}

// whoAmI is the name that the API server knows the user by, "" if it does not say.
func whoAmI(ctx context.Context, k kubernetes.Interface) string {
	r, err := k.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		return ""
	}
	return r.Status.UserInfo.Username
}

func bindCommand(n need, user string) string {
	role := n.prefix + "-user"
	subject := "--user=" + shell(either(user, "USER"))
	if account, ok := strings.CutPrefix(user, "system:serviceaccount:"); ok {
		subject = "--serviceaccount=" + shell(account)
	}
	return fmt.Sprintf("kubectl -n %s create rolebinding %s --role=%s %s", shell(n.namespace),
		shell(role+"-"+unfit.ReplaceAllString(either(user, "me"), "-")), shell(role), subject)
}

var unfit = regexp.MustCompile(`[^A-Za-z0-9.-]+`)

// shell quotes a word for a command that people will paste.
func shell(word string) string { return report.ShellWord(word) }
