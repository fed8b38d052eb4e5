//go:build linux

package proof

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/lastcall-k8s/lastcall/internal/freshport"
)

// Target is what clients request a page from.
type Target struct {
	Name    string // "ClusterIP"
	Address string // literal, with a port
	Host    string // header, "" for the address
}

// ClusterIP is the shop's Service.
func (s *Shop) ClusterIP() Target {
	return Target{Name: "ClusterIP", Address: netip.AddrPortFrom(s.vip, 80).String()}
}

// Clients request a page over a new connection each time, each from another port of their node.
//
// Who takes the port again of a SYN that had no answer, within 120 s of it, goes where that went: the entry in conntrack keeps the destination
// (docs/measuring.md, "What it cannot see"). So what a pod lost before would be lost again, long after its rules are gone.
type Clients struct {
	stop  func()
	ports freshport.Ports

	mu    sync.Mutex
	calls []call
	err   error // a client could not run
}

// call is one request. failed is "" or how.
type call struct {
	at     time.Time // it was started
	via    string
	failed string
}

const (
	// A busy machine loses a SYN at times: it is sent again after 1 s. One that went to a pod that is gone stays lost, since its entry in
	// conntrack keeps the destination.
	connectTime = 3 * time.Second
	answerTime  = 5 * time.Second
)

// Clients starts n on a node, each making a request every pause, or as soon as the one before it is over.
func (b *Bed) Clients(node string, n int, every time.Duration, targets ...Target) *Clients {
	ctx, cancel := context.WithCancel(context.Background())
	c := &Clients{}
	var running sync.WaitGroup
	for i := range n {
		t := targets[i%len(targets)]
		running.Go(func() {
			// A socket belongs to the namespace of the thread that opens it, and dialling a literal address stays on this one.
			if err := b.RunIn(node, func() error { return c.run(ctx, t, every, every*time.Duration(i)/time.Duration(n)) }); err != nil {
				c.mu.Lock()
				c.err = errors.Join(c.err, fmt.Errorf("client on %s: %w", node, err))
				c.mu.Unlock()
			}
		})
	}
	c.stop = func() { cancel(); running.Wait() }
	return c
}

func (c *Clients) run(ctx context.Context, t Target, every, first time.Duration) error {
	if pause(ctx, first) != nil {
		return nil
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for ctx.Err() == nil {
		at := time.Now()
		failed := request(c.ports.Dialer(connectTime), t)
		c.mu.Lock()
		c.calls = append(c.calls, call{at, t.Name, failed})
		c.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	return nil
}

// Stop ends them, and says if they could not run.
func (c *Clients) Stop() error {
	c.stop()
	return c.err
}

// Tally is what became of requests.
type Tally struct {
	Made   int            `json:"made"`
	Failed int            `json:"failed"`
	How    map[string]int `json:"how,omitempty"` // of those that failed, by via and how
}

// Between is what became of the requests that were started in a span. Those of the last seconds may not be over yet.
func Between(from, to time.Time, clients ...*Clients) (t Tally) {
	for _, c := range clients {
		c.mu.Lock()
		for _, r := range c.calls {
			if r.at.Before(from) || !r.at.Before(to) {
				continue
			}
			t.Made++
			if r.failed == "" {
				continue
			}
			if t.How == nil {
				t.How = map[string]int{}
			}
			t.Failed++
			t.How[r.via+": "+r.failed]++
		}
		c.mu.Unlock()
	}
	return t
}

// request says how a request failed, "" if it did not.
func request(d *net.Dialer, t Target) string {
	c, err := d.Dial("tcp", t.Address)
	if err != nil {
		return how(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(answerTime)) //nolint:errcheck // it is open
	host := t.Host
	if host == "" {
		host = t.Address
	}
	fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", host)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err == nil {
		_, err = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	switch {
	case err != nil:
		return "not answered, " + how(err)
	case resp.StatusCode != http.StatusOK:
		return resp.Status
	}
	return ""
}

func how(err error) string {
	var late net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, syscall.ECONNRESET):
		return "reset"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "unreachable"
	case errors.As(err, &late) && late.Timeout():
		return "timeout"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "closed"
	}
	return err.Error()
}

// Hold has clients on a node open a connection every so often and keep it for a while: the server's TCP port is silent until the client
// closes.
func (s *Shop) Hold(node string, every, kept time.Duration) *Clients {
	ctx, cancel := context.WithCancel(context.Background())
	c := &Clients{}
	var running sync.WaitGroup
	address := netip.AddrPortFrom(s.vip, 81).String()
	dial := s.bed.Dialer(node)
	running.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for ctx.Err() == nil {
			running.Go(func() {
				d, cancel := context.WithTimeout(ctx, connectTime)
				defer cancel()
				conn, err := dial(d, "tcp", address)
				if err != nil {
					return // what is refused is for others to count
				}
				defer conn.Close()
				ended := context.AfterFunc(ctx, func() { conn.Close() })
				defer ended()
				conn.SetDeadline(time.Now().Add(kept)) //nolint:errcheck // it is open
				io.Copy(io.Discard, conn)              //nolint:errcheck // however it ends
			})
			select {
			case <-ctx.Done():
			case <-tick.C:
			}
		}
	})
	c.stop = func() { cancel(); running.Wait() }
	return c
}
