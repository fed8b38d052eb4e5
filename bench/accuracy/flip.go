//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lastcall-k8s/lastcall/internal/handmade"
	"github.com/lastcall-k8s/lastcall/internal/nodeagent"
	"github.com/lastcall-k8s/lastcall/internal/scrape"
	"github.com/lastcall-k8s/lastcall/internal/testbed"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// bench measures on one node at one number of Services.
type bench struct {
	options
	cluster  *testbed.Cluster
	node     testbed.Node
	services int

	agent   *nodeagent.Agent
	knocker *knocker
}

const (
	namespace = "accuracy"
	port      = handmade.Port
	// settle is how long the clients go on after the agent said that a removal landed.
	settle = 40 * time.Millisecond
)

// The two servers of hand-made slices, addresses of the node itself.
var servers = []netip.Addr{netip.MustParseAddr("10.251.0.1"), netip.MustParseAddr("10.251.0.2")}

// flips removes one of two long-lived servers from a hand-made slice, again and again.
func (b *bench) flips(ctx context.Context, binary string, log io.Writer) (f figures, err error) {
	name := "flip-" + b.node.Name
	service, err := handmade.Service(ctx, b.cluster.Client(), namespace, name, nil)
	if err != nil {
		return f, err
	}
	if err := prepare(b.cluster, b.node.Name, servers...); err != nil {
		return f, err
	}
	stop := make(chan struct{})
	defer close(stop)
	for i, s := range servers {
		if err := <-serve(b.cluster, b.node.Name, netip.AddrPortFrom(s, port), fmt.Sprint(i), stop); err != nil {
			return f, err
		}
	}
	slice, err := handmade.Slice(ctx, b.cluster.Client(), namespace, name)
	if err != nil {
		return f, err
	}
	slices := b.cluster.Client().DiscoveryV1().EndpointSlices(namespace)
	done, err := b.begin(ctx, binary, log, service)
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, done()) }()
	programmed, err := b.kubeProxySamples(ctx)
	if err != nil {
		return f, err
	}
	var samples []sample
	for i := range b.removals {
		gone := i % 2
		uids := []string{fmt.Sprintf("%s-%d-0", name, i), fmt.Sprintf("%s-%d-1", name, i)}
		slice.Endpoints = []discoveryv1.Endpoint{handmade.Endpoint(servers[0], uids[0]), handmade.Endpoint(servers[1], uids[1])}
		if _, err := slices.Update(ctx, slice, metav1.UpdateOptions{}); err != nil {
			return f, fmt.Errorf("put both endpoints back: %w", err)
		}
		if err := b.bothAnswer(ctx); err != nil {
			return f, err
		}
		s, err := b.remove(ctx, uids[gone], fmt.Sprint(gone), func() error {
			slice.Endpoints[gone].Conditions = handmade.Terminating()
			_, err := slices.Update(ctx, slice, metav1.UpdateOptions{})
			return err
		})
		if err != nil {
			return f, fmt.Errorf("removal %d: %w", i, err)
		}
		if s != nil {
			samples = append(samples, *s)
		}
		if i%100 == 99 {
			fmt.Fprintf(os.Stderr, "  %d of %d\n", i+1, b.removals)
		}
	}
	after, err := b.kubeProxySamples(ctx)
	if err != nil {
		return f, err
	}
	return figuresOf(b, "flipped slices", samples, b.removals, after-programmed), nil
}

// kubeProxySamples is how many samples kube-proxy's own latency metric has.
func (b *bench) kubeProxySamples(ctx context.Context) (uint64, error) {
	families, err := scrape.Families(ctx, b.cluster, b.node.Name, scrape.KubeProxy)
	n, _ := scrape.Histogram(families["kubeproxy_network_programming_duration_seconds"])
	return n, err
}

// begin starts the agent and the clients; the returned func ends both.
func (b *bench) begin(ctx context.Context, binary string, log io.Writer, frontend netip.AddrPort) (func() error, error) {
	agent, err := nodeagent.Start(ctx, b.cluster, binary, b.node.Name, log, b.agentArgs...)
	if err != nil {
		return nil, err
	}
	follow, cancel := context.WithCancel(ctx)
	followed := make(chan error, 1)
	go func() { followed <- agent.Follow(follow) }()
	stop := make(chan struct{})
	knocked := make(chan error, 1)
	b.agent, b.knocker = agent, newKnocker(frontend, b.knocker)
	go func() { knocked <- b.knocker.run(b.cluster, b.node.Name, stop) }()
	return func() error {
		close(stop)
		err := errors.Join(<-knocked, agent.Stop())
		cancel()
		return errors.Join(err, <-followed)
	}, nil
}

// bothAnswer knocks until two servers have answered: kube-proxy has programmed both.
func (b *bench) bothAnswer(ctx context.Context) error {
	b.drain()
	b.knocker.on.Store(true)
	defer b.knocker.on.Store(false)
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	seen := map[string]bool{}
	for len(seen) < 2 {
		select {
		case c := <-b.knocker.log:
			if c.server != "" {
				seen[c.server] = true
			}
		case <-b.knocker.ended:
			return errors.New("the client gave up")
		case <-ctx.Done():
			return fmt.Errorf("only %d of 2 servers answer: %w", len(seen), ctx.Err())
		}
	}
	return nil
}

func (b *bench) drain() (conns []conn) {
	for {
		select {
		case c := <-b.knocker.log:
			conns = append(conns, c)
		default:
			return conns
		}
	}
}

// remove does a removal under fire and compares what the agent says with what the clients saw. nil without
// an error: the clients were too slow for a truth.
func (b *bench) remove(ctx context.Context, uid, server string, do func() error) (*sample, error) {
	b.drain()
	b.knocker.on.Store(true)
	defer b.knocker.on.Store(false)
	t0 := time.Now()
	if err := do(); err != nil {
		return nil, err
	}
	wait, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	e, err := b.agent.Await(wait, settles(uid))
	if err != nil {
		return nil, err
	}
	if err := sleep(ctx, settle); err != nil {
		return nil, err
	}
	s := &sample{Landed: e.LandedSince(t0)} // t0 is when the API was told, on the same clock
	for _, d := range e.Departures {
		if d.UID == uid && d.Outcomes[ledger.Landed] != 1 {
			return nil, fmt.Errorf("removal of %s ended as %v", uid, d.Outcomes)
		}
	}
	conns := b.drain()
	var ok bool
	if s.Truth, ok = observe(conns, server); !ok {
		return nil, nil
	}
	for _, c := range conns {
		if c.server == server && c.start.After(s.Landed.Hi.Add(afterGrace)) {
			s.After++
		}
	}
	return s, nil
}

func settles(uid string) func(ledger.Event) bool {
	return func(e ledger.Event) bool {
		for _, d := range e.Departures {
			if d.UID == uid && len(d.Outcomes) > 0 {
				return true
			}
		}
		return false
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
