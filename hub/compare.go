package hub

import (
	"context"
	"io"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	clockEvery = time.Minute
	clockTries = 4
	askers     = 32 // agents whose clocks are compared at once
)

// compare compares the clocks of the agents that are followed, each about once a minute, until ctx ends.
func (h *Hub) compare(ctx context.Context) error {
	var g errgroup.Group
	g.SetLimit(askers)
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case now := <-t.C:
			for _, r := range h.uncompared(now) {
				g.Go(func() error {
					r.ask(ctx, clockTries) //nolint:errcheck // following says if it does not answer; an old estimate only grows wider
					return nil
				})
			}
		}
	}
	return g.Wait()
}

// uncompared are the readers whose turn it is: never all in one second, although all began in one.
func (h *Hub) uncompared(now time.Time) (rs []*reader) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range h.readers {
		if r.node.agent.following() && now.Sub(r.compared) > clockEvery/2+rand.N(clockEvery) {
			r.compared = now
			rs = append(rs, r)
		}
	}
	return rs
}

// ask compares clocks: a few requests on a connection of their own, so that they wait for nothing else.
func (r *reader) ask(ctx context.Context, tries int) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	h := r.hub
	for try := range tries + 1 { // the first pays for the connection and the token
		sent := h.cfg.Now()
		body, err := r.get(ctx, "/v1/clock", try == tries)
		if err != nil {
			return err
		}
		text, err := io.ReadAll(io.LimitReader(body, 4<<10))
		received := h.cfg.Now()
		body.Close()
		if err != nil {
			return err
		}
		c, err := decodeClock(text, received)
		if err != nil {
			return err
		}
		h.mu.Lock()
		r.node.sampled(c, sent, received)
		r.compared = time.Now()
		h.mu.Unlock()
	}
	return nil
}
