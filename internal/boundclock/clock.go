// Package boundclock has a clock for client-go's reflectors whose waits end with a context.
package boundclock

import (
	"context"
	"time"

	"k8s.io/utils/clock"
)

// Until is the real clock, but that its waits end with ctx: the reflector's back-off, up to a minute after a refused
// connection, does not look at its context (client-go v0.36.3 tools/cache/reflector.go:794).
func Until(ctx context.Context) clock.Clock { return until{clock.RealClock{}, ctx} }

type until struct {
	clock.RealClock
	ctx context.Context
}

func (u until) After(d time.Duration) <-chan time.Time {
	c := make(chan time.Time, 1)
	fire := func() {
		select {
		case c <- time.Now():
		default:
		}
	}
	stop := context.AfterFunc(u.ctx, fire)
	time.AfterFunc(d, func() { stop(); fire() })
	return c
}
