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

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lastcall-k8s/lastcall/internal/nodeagent"
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
	port      = 8081
	// settle is how long the clients go on after the agent said that a removal landed.
	settle = 40 * time.Millisecond
)

// The two servers of hand-made slices, addresses of the node itself.
var servers = []netip.Addr{netip.MustParseAddr("10.251.0.1"), netip.MustParseAddr("10.251.0.2")}

// flips removes one of two long-lived servers from a hand-made slice, again and again.
func (b *bench) flips(ctx context.Context, binary string, log io.Writer) (f figures, err error) {
	name := "flip-" + b.node.Name
	service, err := b.service(ctx, name, nil)
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
	slices := b.cluster.Client().DiscoveryV1().EndpointSlices(namespace)
	slice := handMade(name)
	if _, err := slices.Create(ctx, slice, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return f, err
	}
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
		slice.Endpoints = []discoveryv1.Endpoint{endpoint(servers[0], uids[0]), endpoint(servers[1], uids[1])}
		if _, err := slices.Update(ctx, slice, metav1.UpdateOptions{}); err != nil {
			return f, fmt.Errorf("put both endpoints back: %w", err)
		}
		if err := b.bothAnswer(ctx); err != nil {
			return f, err
		}
		s, err := b.remove(ctx, uids[gone], fmt.Sprint(gone), func() error {
			t := true
			no := false
			slice.Endpoints[gone].Conditions = discoveryv1.EndpointConditions{Ready: &no, Serving: &t, Terminating: &t}
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
	return (&today{cluster: b.cluster, node: b.node}).networkProgrammingCount(ctx)
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
	s := &sample{Landed: tighten(e, t0)}
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

// tighten is what the hub does: a landing of a path that was learnt late is one of several commits, and
// those before T0 drop out. Here T0 is when the API was told, on the same clock.
func tighten(e ledger.Event, t0 time.Time) ledger.Interval {
	i := e.Interval
	for _, c := range e.Candidates {
		if c.Hi.After(t0) {
			if i.Lo.Before(c.Lo) {
				i.Lo = c.Lo
			}
			break
		}
	}
	if i.Lo.Before(t0) {
		i.Lo = t0
	}
	return i
}

// service makes a Service with a TCP port and returns its frontend.
func (b *bench) service(ctx context.Context, name string, selector map[string]string) (netip.AddrPort, error) {
	client := b.cluster.Client().CoreV1()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	if _, err := client.Namespaces().Create(ctx, ns, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return netip.AddrPort{}, err
	}
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.ServiceSpec{Selector: selector, Ports: []corev1.ServicePort{{Name: "tcp", Port: port}}}}
	made, err := client.Services(namespace).Create(ctx, s, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		made, err = client.Services(namespace).Get(ctx, name, metav1.GetOptions{})
	}
	if err != nil {
		return netip.AddrPort{}, err
	}
	addr, err := netip.ParseAddr(made.Spec.ClusterIP)
	return netip.AddrPortFrom(addr, port), err
}

func handMade(service string) *discoveryv1.EndpointSlice {
	name, number := "tcp", int32(port)
	tcp := corev1.ProtocolTCP
	return &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Name: service, Labels: map[string]string{
			discoveryv1.LabelServiceName: service, discoveryv1.LabelManagedBy: "lastcall-accuracy"}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: &name, Port: &number, Protocol: &tcp}},
	}
}

func endpoint(a netip.Addr, uid string) discoveryv1.Endpoint {
	yes := true
	return discoveryv1.Endpoint{Addresses: []string{a.String()},
		Conditions: discoveryv1.EndpointConditions{Ready: &yes, Serving: &yes},
		TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: namespace, Name: uid, UID: types.UID(uid)}}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
