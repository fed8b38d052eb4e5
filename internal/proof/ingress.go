//go:build linux

package proof

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lastcall-k8s/lastcall/internal/testbed"
)

// Spec is a cluster to prove things on: a node in each of the usual modes, and with an ingress controller or without. Where delays have to be
// exact, kube-proxy syncs again soon after a sync: by default what it learns a moment later waits for a second.
func Spec(name, version string, ingress, exact bool) testbed.Spec {
	s := testbed.Spec{Name: name, Version: version}
	if ingress {
		s.With = []string{testbed.Contour}
	}
	if exact {
		s.KubeProxy = []string{"nftables.minSyncPeriod=200ms", "iptables.minSyncPeriod=200ms"}
	}
	return s
}

// Ways are all ways to the shop that the cluster has, once they lead there: its Service, and where Contour is, the Envoys of all nodes.
func (b *Bed) Ways(ctx context.Context, s *Shop) ([]Target, error) {
	ways := []Target{s.ClusterIP()}
	guests, err := b.Guests(ctx, testbed.Contour)
	if err != nil || len(guests) == 0 {
		return ways, err
	}
	host := s.Namespace + ".test"
	if err := s.ingress(ctx, host); err != nil {
		return nil, err
	}
	for _, g := range guests {
		if strings.HasPrefix(g.Pod, "envoy-") {
			ways = append(ways, Target{Name: "Contour's Envoy on " + g.Node, Address: net.JoinHostPort(g.IP, "8080"), Host: host})
		}
	}
	return ways, wait(ctx, time.Minute, func() error {
		for _, w := range ways[1:] {
			failed := ""
			err := b.RunIn(b.Nodes[0].Name, func() error { failed = request(&net.Dialer{Timeout: connectTime}, w); return nil })
			if err == nil && failed != "" {
				err = fmt.Errorf("%s: %s", w.Name, failed)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *Shop) ingress(ctx context.Context, host string) error {
	path := networkingv1.HTTPIngressPath{Path: "/", PathType: new(networkingv1.PathTypePrefix), Backend: networkingv1.IngressBackend{
		Service: &networkingv1.IngressServiceBackend{Name: "shop", Port: networkingv1.ServiceBackendPort{Name: "http"}}}}
	i := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Name: "shop"}, Spec: networkingv1.IngressSpec{IngressClassName: new("contour"), Rules: []networkingv1.IngressRule{{Host: host,
		IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{path}}}}}}}
	_, err := s.bed.Client().NetworkingV1().Ingresses(s.Namespace).Create(ctx, i, metav1.CreateOptions{})
	return err
}
