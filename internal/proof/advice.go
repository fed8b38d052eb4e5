//go:build linux

package proof

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

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

// firm is what recommend says once the newest episode is over for the hub too, which looks each second or so: while it may grow, the number
// is a lower bound. If it stays one, that is what is returned.
func (s *Shop) firm(ctx context.Context, flags ...string) (a sizing.Advice, err error) {
	err = wait(ctx, 15*time.Second, func() (err error) {
		if a, err = s.Recommend(ctx, flags...); err == nil && (a.Seconds == nil || a.AtLeast) {
			err = errors.New("no firm number yet")
		}
		return err
	})
	if a.Workload != "" {
		return a, nil
	}
	return a, err
}

// Apply applies what `kubectl lastcall recommend -o patch` prints as `kubectl patch --patch-file` would, and waits for the rollout.
func (s *Shop) Apply(ctx context.Context, flags ...string) (patch string, err error) {
	out, err := s.bed.ask(ctx, append([]string{"-n", s.Namespace, "recommend", "deploy/shop", "-o", "patch"}, flags...)...)
	if err != nil {
		return "", err
	}
	return string(out), s.rollout(ctx, string(out))
}
