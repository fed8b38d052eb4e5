//go:build linux

package proof

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/lastcall-k8s/lastcall/hub/sizing"
)

// Stop is a way to stop, and the one verdict on it that is right.
type Stop struct {
	ShopSpec
	Holds bool // clients keep connections open
	Want  sizing.Code
}

// Stops are ways to stop that no length of preStop mends. Those that sleep do so for longer than LeastDelay and a second of the
// kubelet's: connections begin until then, and the container beside the server has ended long before.
var Stops = []Stop{
	{ShopSpec{Namespace: "ignores", Args: []string{"--on-sigterm=ignore"}, Grace: 7}, false, sizing.IgnoresSIGTERM},
	{ShopSpec{Namespace: "cuts", Args: []string{"--on-sigterm=cut"}, PreStop: 5, Grace: 20}, true, sizing.CutsAtStop},
	{ShopSpec{Namespace: "drains", Args: []string{"--on-sigterm=drain", "--drain=1m"}, PreStop: 5, Grace: 8}, true, sizing.DrainsTooLong},
	{ShopSpec{Namespace: "proxied", PreStop: 7, Grace: 20, Proxy: true}, false, sizing.LeavesFirst},
}

// LeastDelay is the delay for which Stops are made.
const LeastDelay = 3 * time.Second

// stopping are the verdicts on how pods stop.
var stopping = []sizing.Code{sizing.HookFails, sizing.NoTimeToStop, sizing.LeavesFirst, sizing.CutsAtStop, sizing.DrainsTooLong, sizing.IgnoresSIGTERM, sizing.Killed}

// Verdict is what recommend says of a way to stop.
type Verdict struct {
	Namespace string          `json:"workload"`
	Want      sizing.Code     `json:"want"`
	Got       []sizing.Code   `json:"got"`
	Says      string          `json:"says"`
	Stopping  sizing.Stopping `json:"stopping"`
}

// Right: that verdict, and no other on how it stops.
func (v Verdict) Right() bool { return slices.Equal(v.Got, []sizing.Code{v.Want}) }

// Stopping are the shops of Stops, with their clients.
type Stopping struct {
	Shops   []*Shop
	clients []*Clients
}

// Stopping makes them, with clients on a node.
func (b *Bed) Stopping(ctx context.Context, node string) (s *Stopping, err error) {
	s = &Stopping{}
	for _, stop := range Stops {
		shop, err := b.Shop(ctx, stop.ShopSpec)
		if err != nil {
			return nil, err
		}
		s.Shops = append(s.Shops, shop)
	}
	if err := b.Ready(ctx, s.Shops...); err != nil {
		return nil, err
	}
	for i, stop := range Stops {
		s.clients = append(s.clients, b.Clients(node, 2, 200*time.Millisecond, s.Shops[i].ClusterIP()))
		if stop.Holds {
			s.clients = append(s.clients, s.Shops[i].Hold(node, 200*time.Millisecond, 20*time.Second))
		}
	}
	return s, nil
}

// Stop ends the clients.
func (s *Stopping) Stop() {
	for _, c := range s.clients {
		c.Stop() //nolint:errcheck // their requests fail: that is what these shops are for
	}
}

// Verdicts are those of all.
func (s *Stopping) Verdicts(ctx context.Context, limit time.Duration) (vs []Verdict, err error) {
	for i, stop := range Stops {
		v, err := s.Shops[i].verdict(ctx, stop, limit)
		if err != nil {
			return vs, err
		}
		vs = append(vs, v)
	}
	return vs, nil
}

// verdict waits until the verdict is right, since the witness of connections speaks 12 s after a pod is gone, and else returns what it
// was at the end of the limit.
func (s *Shop) verdict(ctx context.Context, stop Stop, limit time.Duration) (v Verdict, err error) {
	err = wait(ctx, limit, func() error {
		a, err := s.Recommend(ctx)
		if err != nil {
			return err
		}
		v = Verdict{Namespace: s.Namespace, Want: stop.Want, Stopping: a.Stopping}
		for _, is := range a.Verdicts {
			if slices.Contains(stopping, is.Code) {
				v.Got = append(v.Got, is.Code)
				v.Says += is.Says()
			}
		}
		if !v.Right() {
			return fmt.Errorf("%s: %v, want %s", s.Namespace, v.Got, stop.Want)
		}
		return nil
	})
	if v.Namespace != "" {
		return v, nil // right or not
	}
	return v, err
}
