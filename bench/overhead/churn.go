//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/lastcall-k8s/lastcall/internal/handmade"
)

// churn makes departures: in one Service after the other an endpoint starts to terminate, and when its turn comes
// again another pod has taken its place. With 50 Services and 10 departures a second a removal has 5 s to land.
type churn struct {
	client kubernetes.Interface
	slices []*discoveryv1.EndpointSlice
	every  time.Duration // between two changes
	turn   int
	made   int // departures
}

const churnNamespace = "overhead"

func newChurn(ctx context.Context, client kubernetes.Interface, services int, rate float64) (*churn, error) {
	c := &churn{client: client, every: time.Duration(float64(time.Second) / rate / 2)}
	for i := range services {
		name := fmt.Sprintf("changing-%d", i)
		if _, err := handmade.Service(ctx, client, churnNamespace, name, nil); err != nil {
			return nil, err
		}
		s, err := handmade.Slice(ctx, client, churnNamespace, name)
		if err != nil {
			return nil, err
		}
		c.slices = append(c.slices, s)
		c.fill(i, i%2)
		if _, err := client.DiscoveryV1().EndpointSlices(churnNamespace).Update(ctx, s, metav1.UpdateOptions{}); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// fill writes the endpoints of Service i after its n-th change: ten, the last of which comes and goes.
func (c *churn) fill(i, n int) (leaves bool) {
	s := c.slices[i]
	s.Endpoints = s.Endpoints[:0]
	for e := range 9 {
		s.Endpoints = append(s.Endpoints, handmade.Endpoint(netip.AddrFrom4([4]byte{10, 251, byte(i), byte(e + 1)}), fmt.Sprintf("stays-%d-%d", i, e)))
	}
	last := handmade.Endpoint(netip.AddrFrom4([4]byte{10, 251, byte(i), 10}), fmt.Sprintf("leaves-%d-%d", i, n/2))
	if leaves = n%2 == 1; leaves {
		last.Conditions = handmade.Terminating()
	}
	s.Endpoints = append(s.Endpoints, last)
	return leaves
}

// underWay is how many changes may wait for the API server at once. One Service's next change comes after those of all
// others: they do not overtake each other.
const underWay = 8

// during goes on for a while, and returns when the last change was made.
func (c *churn) during(ctx context.Context, d time.Duration) error {
	end := time.After(d)
	tick := time.NewTicker(c.every)
	defer tick.Stop()
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(min(underWay, len(c.slices)))
	for {
		select {
		case <-ctx.Done():
			return errors.Join(g.Wait(), ctx.Err())
		case <-end:
			return g.Wait()
		case <-tick.C:
		}
		i := c.turn % len(c.slices)
		// Half of the Services are one step ahead, so that of two changes in a row one is a departure.
		if c.fill(i, c.turn/len(c.slices)+i%2+1) {
			c.made++
		}
		c.turn++
		s := c.slices[i].DeepCopy()
		g.Go(func() error {
			if _, err := c.client.DiscoveryV1().EndpointSlices(churnNamespace).Update(ctx, s, metav1.UpdateOptions{}); err != nil {
				return fmt.Errorf("change a slice: %w", err)
			}
			return nil
		})
	}
}
