// Command knock is the demo's client: it requests a page over a new connection each time, at a fixed rate, of each of its targets in
// turn, and says what failed.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/lastcall-k8s/lastcall/internal/freshport"
)

// Tally is one line of output: what happened to the requests that were started in one second.
type Tally struct {
	At      time.Time      `json:"at"`
	Started int            `json:"started"`
	Failed  map[string]int `json:"failed,omitempty"` // by kind: refused, reset, timeout, other, or the status of an HTTP answer
}

func main() {
	rate := flag.Int("rate", 100, "requests per second")
	duration := flag.Duration("for", 15*time.Minute, "stop after this time")
	host := flag.String("host", "", "name that an ingress controller knows the shop by")
	flag.Parse()
	if flag.NArg() < 1 || *rate < 1 || *rate > 10_000 {
		fmt.Fprintln(os.Stderr, "usage: knock [--rate=100] [--for=15m] [--host=NAME] HOST:PORT...")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, *duration)
	defer cancel()

	var ports freshport.Ports
	// A machine that is busy takes more than a second at times; what a pod that is gone was sent is lost for good.
	client := &http.Client{Timeout: 3 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		return ports.Dialer(0).DialContext(ctx, network, address)
	}}}
	var mu sync.Mutex
	var pending sync.WaitGroup
	now := Tally{At: time.Now(), Failed: map[string]int{}}
	tick := time.NewTicker(time.Second / time.Duration(*rate))
	defer tick.Stop()
	second := time.NewTicker(time.Second)
	defer second.Stop()
	say := func() {
		mu.Lock()
		defer mu.Unlock()
		json.NewEncoder(os.Stdout).Encode(now)
		now = Tally{At: time.Now(), Failed: map[string]int{}}
	}
	for n := 0; ctx.Err() == nil; {
		select {
		case <-ctx.Done():
		case <-second.C:
			say()
		case <-tick.C:
			pending.Add(1)
			mu.Lock()
			now.Started++
			mu.Unlock()
			url := "http://" + flag.Arg(n%flag.NArg()) + "/"
			n++
			go func() {
				defer pending.Done()
				if kind := request(client, url, *host); kind != "" {
					mu.Lock()
					now.Failed[kind]++
					mu.Unlock()
				}
			}()
		}
	}
	pending.Wait()
	say()
}

// request returns how a request failed, "" if it did not.
func request(c *http.Client, url, host string) string {
	q, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return err.Error()
	}
	q.Host = host // "" is that of the URL
	resp, err := c.Do(q)
	if err == nil {
		_, err = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	var timeout net.Error
	switch {
	case err == nil && resp.StatusCode == http.StatusOK:
		return ""
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, io.EOF):
		return "reset"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	case err == nil:
		return resp.Status
	}
	return "other"
}
