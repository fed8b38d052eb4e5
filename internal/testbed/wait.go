//go:build linux

package testbed

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// pollEvery is short because every wait adds half of it to `up`.
const pollEvery = 50 * time.Millisecond

// waitFor calls ready until it returns nil. The error after a timeout is the
// last thing that was wrong, not just "timed out". broken, if not nil, ends
// the wait early: waiting for a process that has died helps nobody.
func waitFor(ctx context.Context, what string, limit time.Duration, ready func(context.Context) error, broken func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	var last error
	for n := 0; ; n++ {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		if last == nil || ctx.Err() == nil {
			last = err
		}
		if broken != nil && n%10 == 9 {
			if err := broken(); err != nil {
				return fmt.Errorf("waiting for %s: %w", what, err)
			}
		}
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return fmt.Errorf("waiting for %s: %w", what, ctx.Err())
			}
			return fmt.Errorf("%s: not within %s: %w", what, limit, last)
		case <-tick.C:
		}
	}
}
