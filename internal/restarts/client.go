//go:build linux

package restarts

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// request is one request of a client: when it began, when its answer was there, and who that shows to be served. A proxy's
// answer comes from one pod, by name; a DNS server's has the addresses of all.
type request struct {
	start, end time.Time
	served     []string // nil: no answer
}

// client asks one consumer at a steady rate, one request after the other.
type client struct {
	ask func(ctx context.Context, id int) ([]string, error)
	// sure is how many answers in a row without a pod show that it was let go of before the last of them.
	sure func(pods int) int

	mu     sync.Mutex
	log    []request
	asked  int
	failed int
	reason error // of the first that failed
}

// run asks until ctx ends. A request that is late is not made up for.
func (c *client) run(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for id := 1; ; id++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		asking, cancel := context.WithTimeout(ctx, 2*time.Second)
		r := request{start: time.Now()}
		served, err := c.ask(asking, id)
		r.end = time.Now()
		cancel()
		if ctx.Err() != nil {
			return
		}
		c.mu.Lock()
		c.asked++
		if err != nil {
			c.failed++
			if c.reason == nil {
				c.reason = err
			}
		} else {
			r.served = served
		}
		c.log = append(c.log, r)
		c.mu.Unlock()
	}
}

// between copies what was asked in that time.
func (c *client) between(from, to time.Time) []request {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := func(t time.Time) int {
		i, _ := slices.BinarySearchFunc(c.log, t, func(r request, t time.Time) int { return r.start.Compare(t) })
		return i
	}
	return slices.Clone(c.log[at(from):at(to)])
}

// through asks a proxy over one connection that stays open: each request is routed anew, and one connection is served by one
// of Envoy's workers, whose turn over the pods is strict as HAProxy's is. The answer is the name of the pod that gave it.
func through(dial func(context.Context, string, string) (net.Conn, error), address, host string) *client {
	web := &http.Client{Transport: &http.Transport{DialContext: dial, MaxConnsPerHost: 1}}
	return &client{
		sure: func(pods int) int { return 3 * pods }, // three whole turns
		ask: func(ctx context.Context, id int) ([]string, error) {
			q, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://%s/%d", address, id), nil)
			if err != nil {
				return nil, err
			}
			q.Host = host
			a, err := web.Do(q)
			if err != nil {
				return nil, err
			}
			defer a.Body.Close()
			body, err := io.ReadAll(io.LimitReader(a.Body, 1<<10))
			if err == nil && a.StatusCode != http.StatusOK {
				err = fmt.Errorf("%s: %s", a.Status, body)
			}
			return []string{strings.TrimSpace(string(body))}, err
		},
	}
}

// resolving asks one DNS server for the addresses of a name, as a resolver of a pod would.
func resolving(dial func(context.Context, string, string) (net.Conn, error), address, name string) *client {
	return &client{
		sure: func(int) int { return 3 }, // every answer has all of them
		ask: func(ctx context.Context, _ int) ([]string, error) {
			conn, err := dial(ctx, "udp", address)
			if err != nil {
				return nil, err
			}
			defer conn.Close()
			q := new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.TypeA)
			q.SetEdns0(4096, false)
			if by, ok := ctx.Deadline(); ok {
				conn.SetDeadline(by) //nolint:errcheck // the exchange would tell
			}
			a, _, err := new(dns.Client).ExchangeWithConnContext(ctx, q, &dns.Conn{Conn: conn, UDPSize: 4096})
			if err != nil {
				return nil, err
			}
			if a.Truncated || a.Rcode != dns.RcodeSuccess && a.Rcode != dns.RcodeNameError {
				return nil, fmt.Errorf("DNS answer %s, truncated %t", dns.RcodeToString[a.Rcode], a.Truncated)
			}
			served := []string{}
			for _, rr := range a.Answer {
				if a, ok := rr.(*dns.A); ok {
					served = append(served, a.A.String())
				}
			}
			return served, nil
		},
	}
}

// Client is what one client did in all.
type Client struct {
	Place   string `json:"place"`
	Replica string `json:"replica"`
	Asked   int    `json:"asked"`
	Failed  int    `json:"failed"`
	Reason  string `json:"first_failure,omitempty"`
}

// Clients says how many requests were made of each place, and how many had no answer.
func (b *Bed) Clients() (all []Client) {
	for _, p := range b.places {
		p.client.mu.Lock()
		c := Client{Place: p.kind, Replica: p.replica, Asked: p.client.asked, Failed: p.client.failed}
		if p.client.reason != nil {
			c.Reason = p.client.reason.Error()
		}
		p.client.mu.Unlock()
		all = append(all, c)
	}
	return all
}
