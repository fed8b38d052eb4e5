package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"
)

// forward reaches the hub in the cluster: its pod, a token for it, a port-forward to it.
func (c *cli) forward(ctx context.Context) (*client, error) {
	k, err := c.kubernetes()
	if err != nil {
		return nil, err
	}
	hub, err := findHub(ctx, k, c.hub.namespace)
	if err != nil {
		return nil, err
	}
	return c.forwardTo(ctx, k, hub)
}

func (c *cli) forwardTo(ctx context.Context, k kubernetes.Interface, hub installed) (*client, error) {
	ns := hub.namespace()
	why := hub.unready()
	advice := fmt.Sprintf("See: kubectl -n %s logs deploy/%s", shell(ns), shell(hub.deployment()))
	if why != "" && hub.pod.Status.Phase != "Running" {
		return nil, fmt.Errorf("the hub's pod %s does not run: %s\nSee: kubectl -n %s describe pod %s", hub, why, shell(ns), shell(hub.pod.Name))
	}
	token, expires, err := viewerToken(ctx, k, hub)
	if err != nil {
		return nil, err
	}
	config, err := c.restConfig()
	if err != nil {
		return nil, err
	}
	tun, err := openTunnel(ctx, config, k.CoreV1().RESTClient(), ns, hub.pod.Name, hubAPIPort)
	if err != nil {
		if forbidden(err) {
			return nil, explainAPI(ctx, k, apierrors.NewForbidden(corev1.Resource("pods"), hub.pod.Name, err), need{"create", "pods/portforward", ns, hub.prefix()})
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("port-forward to the hub's pod %s: %w\n%s", hub, err, advice)
	}
	// The hub's certificate is its own and not checked: the API server and the kubelet authenticated the pod at the
	// other end of the port-forward, and only somebody who may run pods or read secrets in the hub's namespace could be
	// there instead. The token is good for nothing but a hub: its audience is "lastcall".
	t := transport(&tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}) //nolint:gosec // see above
	t.DialContext = tun.dial
	return &client{base: fmt.Sprintf("https://%s:%d", hub.pod.Name, hubAPIPort), token: token, http: httpClient(t), name: "pod " + hub.String(),
		advice: advice, refuse: "It is fresh from the API server, so the hub could not check it, or the chart's Role for it is gone. " + advice, pages: hub.pages(),
		renew: time.Now().Add(time.Until(expires) * 4 / 5), close: func() { t.CloseIdleConnections(); tun.close() }}, nil
}

const (
	audience = "lastcall"
	// tokenLife is the shortest that the API server grants.
	tokenLife = 600
)

// viewerToken asks the API server for a token of the account that may read the hub.
func viewerToken(ctx context.Context, k kubernetes.Interface, hub installed) (token string, expires time.Time, err error) {
	ns := hub.namespace()
	account := hub.prefix() + "-viewer"
	selector := partOf + ",app.kubernetes.io/component=viewer"
	// Who may not list accounts knows the name all the same.
	if list, err := k.CoreV1().ServiceAccounts(ns).List(ctx, metav1.ListOptions{LabelSelector: selector}); err == nil && len(list.Items) > 0 {
		instance := hub.pod.Labels["app.kubernetes.io/instance"]
		i := max(0, slices.IndexFunc(list.Items, func(a corev1.ServiceAccount) bool { return a.Labels["app.kubernetes.io/instance"] == instance }))
		account = list.Items[i].Name
	}
	r, err := k.CoreV1().ServiceAccounts(ns).CreateToken(ctx, account, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{Audiences: []string{audience}, ExpirationSeconds: ptr.To[int64](tokenLife)}}, metav1.CreateOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return "", expires, fmt.Errorf("no ServiceAccount %s in namespace %s, whose token opens the hub\n"+
			"It comes with the chart; or give --hub and --hub-token-file", account, ns)
	case err != nil:
		return "", expires, explainAPI(ctx, k, err, need{"create", "serviceaccounts/token (" + account + ")", ns, hub.prefix()})
	}
	return r.Status.Token, r.Status.ExpirationTimestamp.Time, nil
}

// forbidden: a refused upgrade comes as a status where client-go can decode it, else as text.
func forbidden(err error) bool {
	var s apierrors.APIStatus
	return apierrors.IsForbidden(err) || errors.As(err, &s) && s.Status().Code == 403 || strings.Contains(err.Error(), "is forbidden:")
}
