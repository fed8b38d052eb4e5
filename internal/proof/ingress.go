//go:build linux

package proof

import (
	"context"

	"github.com/lastcall-k8s/lastcall/internal/testbed"
)

// Spec is a cluster to prove things on: a node in each of the usual modes, and with an ingress controller or without.
func Spec(name, version string, ingress bool) testbed.Spec {
	return testbed.Spec{Name: name, Version: version}
}

// Targets are all ways to the shop that the cluster has.
func (b *Bed) Targets(ctx context.Context, s *Shop) ([]Target, error) {
	return []Target{s.ClusterIP()}, nil
}
