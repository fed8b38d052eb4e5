//go:build linux

package main

import (
	"context"
	"net/netip"
	"strings"
	"sync"
	"time"

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

// list is what people run in a loop.
func (t *today) list() (string, error) {
	args := []string{"nft", "list", "table", "ip", "kube-proxy"}
	if t.node.Mode != testbed.NFTables {
		args = []string{"iptables-save", "-t", "nat"}
	}
	out, err := t.cluster.Command(t.node.Name, args[0], args[1:]...).Output()
	return string(out), err
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
