//go:build linux

package main

import (
	"context"
	"regexp"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lastcall-k8s/lastcall/internal/testbed"
)

// TestDemo runs the demo as in a cluster of one's own, whose nodes have the images: what the chart installs, with its
// rights and no others, what kubectl lastcall says of a restart, and that one with a preStop drops nothing. How long that must be it is
// told: measuring takes 90 s.
func TestDemo(t *testing.T) {
	c := testbed.RequireCluster(t, testbed.Spec{Name: "lastcall-demo-test"})
	t.Chdir("../..")
	const repository = "testbed.local/lastcall-demo"
	if _, err := buildImages(t.Context(), repository, func(i testbed.Image) error { return c.LoadImage(t.Context(), i) }); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	if err := run(ctx, options{kubeconfig: c.Kubeconfig, image: repository, present: true, sleep: "10"}, &out); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	t.Log(out.String())
	for pattern, n := range map[string]int{
		`(?m)^deployment/shop: rollout at .*3 pods left`:              1,
		`(?m)^worst: shop-\S+ on node-[12] was deleted, grace 30 s`:   1,
		`(?m)^ +node-1 +nftables`:                                     1,
		`(?m)^ +node-2 +iptables-nft`:                                 1,
		`(?m)^ +[0-9.]+ m?s +last call  `:                             1,
		`(?m)^ +then http://localhost:9752/departures/[0-9a-f-]{36}$`: 1,
		`(?m)^clients on node-[12]: [0-9]+ requests`:                  4,
		`(?m)^[0-9]+ \(.*\) of [0-9]+ client requests failed`:         1,
		`(?m)^0 of [0-9]+ client requests failed`:                     1,
		`(?m)^deployment/shop in namespace lastcall-demo: `:           1,
		`(?m)^connections lost: [0-9]`:                                1,
	} {
		if got := len(regexp.MustCompile(pattern).FindAllString(out.String(), -1)); got != n {
			t.Errorf("%d lines match %s, want %d", got, pattern, n)
		}
	}
	for _, ns := range []string{namespace, system} {
		if _, err := c.Client().CoreV1().Namespaces().Get(t.Context(), ns, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Errorf("namespace %s is still there: %v", ns, err)
		}
	}
	roles, err := c.Client().RbacV1().ClusterRoles().List(t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=lastcall"})
	if err != nil || len(roles.Items) > 0 {
		t.Errorf("%d ClusterRoles of ours are still there: %v", len(roles.Items), err)
	}
}
