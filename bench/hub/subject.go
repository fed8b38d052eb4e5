//go:build linux

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"

	"github.com/lastcall-k8s/lastcall/hub"
	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/hub/store"
)

// keep is how much cmd/lastcall keeps if nobody says otherwise.
var keep = store.Config{RetentionAge: 30 * 24 * time.Hour, RetentionBytes: 2048 << 20}

// subject is the hub that is measured, as cmd/lastcall runs it.
type subject struct {
	hub   *hub.Hub
	store *store.Store
	reg   *prometheus.Registry
	pages string

	cancel context.CancelFunc
	group  *errgroup.Group
	server *http.Server
}

func run(ctx context.Context, g *generator, path, tokenFile string) (*subject, error) {
	s := &subject{reg: prometheus.NewRegistry()}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(g.CA) {
		return nil, errors.New("the generator sent no certificate")
	}
	client, err := hub.NewClient(&tls.Config{MinVersion: tls.VersionTLS13, ServerName: serverName, NextProtos: []string{"http/1.1"}, RootCAs: pool}, tokenFile)
	if err != nil {
		return nil, err
	}
	cluster, err := hub.NewCluster(&rest.Config{Host: g.API})
	if err != nil {
		return nil, err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	if s.store, err = store.Open(ctx, path, keep); err != nil {
		return nil, err
	}
	s.hub = hub.New(ctx, hub.Config{Version: "bench", Now: time.Now, Store: s.store, Agents: client, AgentPort: g.Port,
		Gap: time.Minute, Metrics: s.reg, Log: log})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(err, s.store.Close(ctx))
	}
	s.pages = "http://" + l.Addr().String()
	s.server = &http.Server{Handler: s.hub.Pages(), ReadHeaderTimeout: 10 * time.Second}
	ctx, s.cancel = context.WithCancel(ctx)
	s.group, ctx = errgroup.WithContext(ctx)
	s.group.Go(func() error { return s.hub.Run(ctx) })
	s.group.Go(func() error { return s.hub.Find(ctx, cluster, namespace, "app=lastcall") })
	s.group.Go(func() error {
		if err := s.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	return s, nil
}

// stop ends the hub as SIGTERM does.
func (s *subject) stop(ctx context.Context) error {
	s.cancel()
	s.server.Close()
	err := s.group.Wait()
	return errors.Join(err, s.store.Close(ctx))
}

// health is what the hub's metrics say.
type health struct {
	states                   map[string]int // of agents
	following                int
	lag                      float64
	lines                    float64
	lost, malformed, refused float64
}

func (s *subject) health() (h health, err error) {
	families, err := s.reg.Gather()
	if err != nil {
		return h, err
	}
	h.states = map[string]int{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			switch f.GetName() {
			case "lastcall_hub_agents":
				h.states[m.GetLabel()[0].GetValue()] = int(m.GetGauge().GetValue())
			case "lastcall_hub_ingest_lag_seconds":
				h.lag = m.GetGauge().GetValue()
			case "lastcall_hub_lines_total":
				h.lines = m.GetCounter().GetValue()
			case "lastcall_hub_lines_lost_total":
				h.lost = m.GetCounter().GetValue()
			case "lastcall_hub_lines_malformed_total":
				h.malformed = m.GetCounter().GetValue()
			case "lastcall_hub_agents_refused_total":
				h.refused = m.GetCounter().GetValue()
			}
		}
	}
	h.following = h.states[string(report.AgentFollowing)]
	return h, nil
}

// follows waits until all agents are followed closely, and says how long that took.
func (s *subject) follows(ctx context.Context, agents int, most time.Duration) (time.Duration, error) {
	begun := time.Now()
	for n := 1; ; n++ {
		h, err := s.health()
		if err != nil {
			return 0, err
		}
		if h.following == agents && h.lag < 5 {
			return time.Since(begun), nil
		}
		if time.Since(begun) > most {
			return 0, fmt.Errorf("after %v the hub follows %d of %d agents, lag %.1f s", most, h.following, agents, h.lag)
		}
		if n%25 == 0 {
			note("after %.0f s: agents %v, lag %.1f s, %.0f lines; %s", time.Since(begun).Seconds(), h.states, h.lag, h.lines, s.whys(ctx))
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// whys are the reasons for which agents are not followed, the most common first.
func (s *subject) whys(ctx context.Context) string {
	status, err := s.hub.Status(ctx)
	if err != nil {
		return err.Error()
	}
	counts := map[string]int{}
	for _, a := range status.Agents {
		if a.Why != "" {
			// Without what differs from agent to agent.
			counts[addressPattern.ReplaceAllString(a.Why, "…")]++
		}
	}
	reasons := slices.SortedFunc(maps.Keys(counts), func(a, b string) int { return counts[b] - counts[a] })
	var text []string
	for _, why := range reasons[:min(3, len(reasons))] {
		text = append(text, fmt.Sprintf("%d: %s", counts[why], why))
	}
	return strings.Join(text, "; ")
}

var addressPattern = regexp.MustCompile(`[0-9.]+:[0-9]+`)

// wrong says what is wrong with a departure's row, "" if nothing is.
func (s *subject) wrong(ctx context.Context, uid string, agents int) (string, error) {
	d, found, err := s.store.Departure(ctx, uid)
	switch {
	case err != nil:
		return "", err
	case !found:
		return "no row", nil
	case !d.Complete:
		return "not complete", nil
	case d.Answered != agents || d.Expected != agents:
		return fmt.Sprintf("%d of %d answered", d.Answered, d.Expected), nil
	case len(d.Kinds) != 1 || d.Kinds[0].Places != agents || d.Pending != 0:
		return "places are missing", nil
	case d.Kinds[0].Outcomes["landed"] != removals*agents:
		return "removals are missing or counted twice", nil
	case d.LastCall == nil || d.T0Source != "pod":
		return "no last call, or another T0", nil
	}
	return "", nil
}
