package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/lastcall-k8s/lastcall/hub"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// server answers what the agent is asked over HTTP.
type server struct {
	ready   *readiness
	metrics *prometheus.Registry
	events  *ledger.Ring
	time    *timeline
	who     func() ledger.Event // the fields of a hello line that say who this is and what it measures
	// applied is the newest slice resourceVersion that the watcher applied, "" before it runs. What it opened and
	// settled is among the events when it returns.
	applied   func() string
	consumers atomic.Pointer[consumers] // nil if none are read
	followers atomic.Int32
}

// maxFollowers bounds the readers of /v1/events: each costs a connection and a goroutine.
const maxFollowers = 16

// heartbeat is how often a follower is told which state of the API was applied: silence of an agent that has
// not yet seen a slice is not an answer.
const heartbeat = 2 * time.Second

func (s *server) public() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.metrics, promhttp.HandlerOpts{EnableOpenMetrics: true}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := s.ready.err(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	return mux
}

// v1 serves the event lines and the clock. stop ends followers, after the last line.
func (s *server) v1(stop context.Context) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/clock", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		// The time last: what comes after it is the way back.
		json.NewEncoder(w).Encode(hub.Clock{Boot: s.events.Boot, Epoch: clockEpoch(), Time: s.time.now()}) //nolint:errcheck // the reader has left
	})
	mux.HandleFunc("GET /v1/consumers", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(s.consumers.Load().status()) //nolint:errcheck // the reader has left
	})
	mux.HandleFunc("GET /v1/events", func(w http.ResponseWriter, r *http.Request) {
		since, err := strconv.ParseUint(r.FormValue("since"), 10, 64)
		if err != nil && r.FormValue("since") != "" {
			refuse(w, http.StatusBadRequest, "since must be a sequence number, as in the field seq of the lines")
			return
		}
		if s.followers.Add(1) > maxFollowers {
			s.followers.Add(-1)
			refuse(w, http.StatusServiceUnavailable, "too many readers; try again later")
			return
		}
		defer s.followers.Add(-1)
		w.Header().Set("Content-Type", "application/x-ndjson")
		s.stream(w, r, stop, since)
	})
	return mux
}

// hello says who this is.
func (s *server) hello() ledger.Event {
	e := s.who()
	if told := s.consumers.Load().told(); len(told) > 0 {
		e.Consumers = told
	}
	return e
}

// stream writes the lines since a sequence number, the newest state, and if asked what follows.
func (s *server) stream(w http.ResponseWriter, r *http.Request, stop context.Context, since uint64) {
	if since == 0 {
		since = 1
	}
	out := http.NewResponseController(w)
	follow := r.FormValue("follow") != "" && r.FormValue("follow") != "0"
	hello := s.hello()
	hello.Boot, hello.Type, hello.At, hello.NotReady = s.events.Boot, ledger.EventHello, s.time.now(), s.notReady()
	if json.NewEncoder(w).Encode(hello) != nil {
		return
	}
	told := hello.Consumers
	for {
		// Before the lines: they must have all that it stands for.
		applied, who := s.applied(), s.who()
		lines, next, lost := s.events.Since(since)
		// A reader that does not read must not hold memory or a goroutine for ever.
		if err := out.SetWriteDeadline(time.Now().Add(30 * time.Second)); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return
		}
		line := json.NewEncoder(w)
		if lost > 0 {
			line.Encode(ledger.Event{Boot: s.events.Boot, Type: ledger.EventGap, From: since, To: since + lost - 1}) //nolint:errcheck // the next write fails too
		}
		for _, l := range lines {
			if _, err := w.Write(l); err != nil {
				return
			}
		}
		beat := ledger.Event{Boot: s.events.Boot, Type: ledger.EventHeartbeat, At: s.time.now(), Next: next,
			ResourceVersion: applied, NotReady: s.notReady()}
		if now := s.consumers.Load().told(); !slices.Equal(now, told) {
			told, beat.Consumers = now, now
		}
		if line.Encode(beat) != nil || out.Flush() != nil || !follow {
			return
		}
		since = next
		if stop.Err() != nil {
			if len(lines) == 0 {
				return
			}
			continue
		}
		if who.Backend != hello.Backend || who.Proxy != hello.Proxy || !slices.Equal(who.Families, hello.Families) {
			return // the dataplane changed: the reader comes back for another hello
		}
		s.waitForLine(r.Context(), stop, next)
	}
}

// waitForLine returns at the next line, at the next heartbeat, or when either context ends.
func (s *server) waitForLine(request, stop context.Context, next uint64) {
	ctx, cancel := context.WithTimeout(request, heartbeat)
	defer cancel()
	defer context.AfterFunc(stop, cancel)()
	s.events.Wait(ctx, next) //nolint:errcheck // whatever ended it, the loop looks again
}

func (s *server) notReady() string {
	if err := s.ready.err(); err != nil {
		return strings.ReplaceAll(err.Error(), "\n", "; ") // it stands in one line of what people read
	}
	return ""
}

// readiness collects the reasons why the agent does not measure yet.
type readiness struct {
	mu     sync.Mutex
	parts  []string
	checks map[string]func() error
}

func (r *readiness) check(part string, f func() error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.checks == nil {
		r.checks = map[string]func() error{}
	}
	if r.checks[part] == nil {
		r.parts = append(r.parts, part)
	}
	r.checks[part] = f
}

func (r *readiness) set(part string, err error) { r.check(part, func() error { return err }) }

// err joins what is not ready.
func (r *readiness) err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var errs []error
	for _, p := range r.parts {
		if err := r.checks[p](); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", p, err))
		}
	}
	return errors.Join(errs...)
}
