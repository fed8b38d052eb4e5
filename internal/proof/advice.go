//go:build linux

package proof

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/lastcall-k8s/lastcall/hub/sizing"
)

// Recommend is what `kubectl lastcall recommend` says of the shop.
func (s *Shop) Recommend(ctx context.Context, flags ...string) (a sizing.Advice, err error) {
	out, err := s.bed.ask(ctx, append([]string{"-n", s.Namespace, "recommend", "deploy/shop", "-o", "json"}, flags...)...)
	if err != nil {
		return a, err
	}
	if err := json.Unmarshal(out, &a); err != nil {
		return a, fmt.Errorf("recommend -o json: %w", err)
	}
	return a, nil
}

// Apply applies what `kubectl lastcall recommend -o patch` prints as `kubectl patch --patch-file` would, and waits for the rollout.
func (s *Shop) Apply(ctx context.Context, flags ...string) (patch string, err error) {
	out, err := s.bed.ask(ctx, append([]string{"-n", s.Namespace, "recommend", "deploy/shop", "-o", "patch"}, flags...)...)
	if err != nil {
		return "", err
	}
	return string(out), s.rollout(ctx, string(out))
}
