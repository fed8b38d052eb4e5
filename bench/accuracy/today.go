//go:build linux

package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-iptables/iptables"

	"github.com/lastcall-k8s/lastcall/internal/testbed"
)

// today is what a user has without lastcall, in the same run: the rules listed once a second.
type today struct {
	cluster *testbed.Cluster
	node    testbed.Node
	cancel  context.CancelFunc
	done    chan struct{}

	mu    sync.Mutex
	polls []poll
}

// poll is one listing of the rules.
type poll struct {
	at   time.Time // when the listing was complete
	text string
}

func watchToday(ctx context.Context, c *testbed.Cluster, n testbed.Node) *today {
	ctx, cancel := context.WithCancel(ctx)
	t := &today{cluster: c, node: n, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(t.done)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				if text, err := t.list(); err == nil {
					t.mu.Lock()
					t.polls = append(t.polls[max(0, len(t.polls)-10):], poll{time.Now(), text})
					t.mu.Unlock()
				}
			}
		}
	}()
	return t
}

func (t *today) stop() { t.cancel(); <-t.done }

// list is what people run in a loop: nft list, or iptables -S by coreos/go-iptables.
func (t *today) list() (text string, err error) {
	if t.node.Mode == testbed.NFTables {
		out, err := t.cluster.Command(t.node.Name, "nft", "list", "table", "ip", "kube-proxy").Output()
		return string(out), err
	}
	path, cleanup, err := t.iptables()
	if err != nil {
		return "", err
	}
	defer cleanup()
	ipt, err := iptables.New(iptables.Path(path))
	if err != nil {
		return "", err
	}
	rules, err := ipt.List("nat", "")
	return strings.Join(rules, "\n"), err
}

// iptables is a path to the node's iptables that enters its namespace.
func (t *today) iptables() (path string, cleanup func(), err error) {
	f, err := os.CreateTemp("", "iptables-")
	if err != nil {
		return "", nil, err
	}
	cleanup = func() { os.Remove(f.Name()) }
	real := t.cluster.Command(t.node.Name, "iptables").Args
	_, err = fmt.Fprintf(f, "#!/bin/sh\nexec %s \"$@\"\n", strings.Join(real, " "))
	if err == nil {
		err = f.Chmod(0o755)
	}
	if closing := f.Close(); err == nil {
		err = closing
	}
	return f.Name(), cleanup, err
}

// goneAfter is when the first listing after a removal showed the endpoint gone; zero if none has yet.
func (t *today) goneAfter(removed time.Time, endpoint netip.Addr) time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range t.polls {
		if p.at.After(removed) && !strings.Contains(p.text, endpoint.String()) {
			return p.at
		}
	}
	return time.Time{}
}
