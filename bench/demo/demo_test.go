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
	"github.com/lastcall-k8s/lastcall/ledger"
)

// TestDemo runs the demo as in a cluster of one's own, whose nodes have the images: agents as a DaemonSet with
// the rights of objects.yaml and no others.
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
	if err := run(ctx, options{kubeconfig: c.Kubeconfig, image: repository, present: true}, &out); err != nil {
		t.Fatal(err)
	}
	t.Log(out.String())
	for pattern, n := range map[string]int{
		`(?m)^3 pods left deployment/shop\.`:                       1,
		`(?m)^shop-\S+ on node-[12]: T0 .*delete, grace 30 s`:      3,
		`(?m)^ +node-1 +nftables +[0-9.]+ ms( +[0-9.]+ ms){4}`:     3,
		`(?m)^ +node-2 +iptables-nft +[0-9.]+ ms( +[0-9.]+ ms){4}`: 3,
		`(?m)^  last call: [0-9.]+ ms .*was last`:                  3,
		`(?m)^clients on node-[12]: [0-9]+ connections`:            2,
	} {
		if got := len(regexp.MustCompile(pattern).FindAllString(out.String(), -1)); got != n {
			t.Errorf("%d lines match %s, want %d", got, pattern, n)
		}
	}
	if _, err := c.Client().CoreV1().Namespaces().Get(t.Context(), namespace, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("namespace %s is still there: %v", namespace, err)
	}
	if _, err := c.Client().RbacV1().ClusterRoles().Get(t.Context(), "lastcall-demo-agent", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the ClusterRole is still there: %v", err)
	}
}

// TestLastCall: a straggler is named only if it was later than everybody else beyond doubt.
func TestLastCall(t *testing.T) {
	t0 := time.Unix(1_700_000_000, 0)
	at := func(node string, lo, hi int) landing {
		return landing{node: node, outcomes: map[ledger.Outcome]int{ledger.Landed: 1},
			Interval: ledger.Interval{Lo: t0.Add(time.Duration(lo) * time.Millisecond), Hi: t0.Add(time.Duration(hi) * time.Millisecond)}}
	}
	for _, tt := range []struct {
		places []landing
		want   string
	}{
		{[]landing{at("a", 10, 11), at("b", 20, 22)}, "last call: 22.0 ms (20.0 ms to 22.0 ms): b was last"},
		{[]landing{at("a", 10, 21), at("b", 20, 22)}, "last call: 22.0 ms (20.0 ms to 22.0 ms): one of 2 was last: a, b"},
		{[]landing{at("a", 10, 30), at("b", 20, 22), at("c", 1, 2)}, "last call: 30.0 ms (20.0 ms to 30.0 ms): one of 2 was last: a, b"},
		{[]landing{{node: "a", outcomes: map[ledger.Outcome]int{ledger.Expired: 1}}}, "last call: unknown, no removal landed"},
		{[]landing{at("a", 10, 11), {node: "b", outcomes: map[ledger.Outcome]int{ledger.Expired: 1}}}, "last call: unknown, at least 11.0 ms: b has not let go"},
	} {
		d := &departure{Event: ledger.Event{T0: t0}, places: tt.places}
		if got := lastCall(d); got != tt.want {
			t.Errorf("got  %s\nwant %s", got, tt.want)
		}
	}
}
