//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"

	"github.com/lastcall-k8s/lastcall/ledger"
)

// agents are the event streams of all nodes, over port-forwards.
type agents struct {
	nodes []string
	stop  func()

	mu     sync.Mutex
	events map[string][]ledger.Event // by node
	failed error
	grown  chan struct{}
}

// departure is what the agents said of one pod, joined.
type departure struct {
	ledger.Event           // the departure line with the earliest T0
	places       []landing // one per node and family
}

// landing is one place's part in a departure.
type landing struct {
	node, backend string
	family        ledger.Family
	seen          time.Time
	ledger.Interval
	outcomes map[ledger.Outcome]int
}

func (c *cluster) follow(ctx context.Context) (*agents, error) {
	pods, err := c.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: "app=lastcall-agent"})
	if err != nil {
		return nil, err
	}
	a := &agents{events: map[string][]ledger.Event{}, grown: make(chan struct{})}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	a.stop = func() { cancel(); running.Wait() }
	for _, p := range pods.Items {
		url := c.client.CoreV1().RESTClient().Post().Resource("pods").Namespace(namespace).Name(p.Name).SubResource("portforward").URL()
		transport, upgrader, err := spdy.RoundTripperFor(c.config)
		if err != nil {
			return nil, err
		}
		ready := make(chan struct{})
		dialer := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, url)
		forward, err := portforward.New(dialer, []string{"0:9748"}, ctx.Done(), ready, io.Discard, io.Discard)
		if err != nil {
			return nil, err
		}
		failed := make(chan error, 1)
		running.Go(func() { failed <- forward.ForwardPorts() })
		select {
		case <-ready:
		case err := <-failed:
			a.stop()
			return nil, fmt.Errorf("port-forward to %s on %s: %w", p.Name, p.Spec.NodeName, err)
		}
		ports, err := forward.GetPorts()
		if err != nil {
			return nil, err
		}
		a.nodes = append(a.nodes, p.Spec.NodeName)
		running.Go(func() {
			a.read(ctx, p.Spec.NodeName, fmt.Sprintf("http://127.0.0.1:%d/v1/events?follow=1", ports[0].Local))
		})
	}
	return a, nil
}

// read collects one agent's events until ctx ends.
func (a *agents) read(ctx context.Context, node, url string) {
	err := func() error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		err = ledger.ReadEvents(resp.Body, func(e ledger.Event) {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.events[node] = append(a.events[node], e)
			close(a.grown)
			a.grown = make(chan struct{})
		})
		return errors.Join(err, io.ErrUnexpectedEOF)
	}()
	a.mu.Lock()
	defer a.mu.Unlock()
	if ctx.Err() == nil && a.failed == nil {
		a.failed = fmt.Errorf("events of %s: %w", node, err)
		close(a.grown)
		a.grown = make(chan struct{})
	}
}

// settled waits until n departures of the shop are settled on every node.
func (a *agents) settled(ctx context.Context, n int) ([]*departure, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		a.mu.Lock()
		ds := join(a.events)
		grown, failed := a.grown, a.failed
		a.mu.Unlock()
		complete := 0
		for _, d := range ds {
			if len(d.places) >= len(a.nodes) {
				complete++
			}
		}
		if complete >= n {
			return ds, nil
		}
		if failed != nil {
			return ds, failed
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return ds, fmt.Errorf("%d of %d departures are settled on all %d nodes: %w", complete, n, len(a.nodes), ctx.Err())
		}
	}
}
