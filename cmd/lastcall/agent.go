package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/collectors/version"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"github.com/lastcall-k8s/lastcall/ledger"
	"github.com/lastcall-k8s/lastcall/probes"
	"github.com/lastcall-k8s/lastcall/watcher"
)

// place is the kind of the one place that this agent measures.
const place = "kube-proxy"

// agentFlags are the agent's whole configuration.
type agentFlags struct {
	node          string
	kubeconfig    string
	listen        string
	eventsListen  string
	listJitter    time.Duration
	horizon       time.Duration
	poll          time.Duration
	subscribe     bool
	eventsAge     time.Duration
	eventsMiB     int
	logLevel      string
	shutdownGrace time.Duration
}

func agentCommand() *cobra.Command {
	var f agentFlags
	c := &cobra.Command{
		Use:   "agent",
		Short: "Times removals in this node's kernel",
		Long: `Runs on every node, in the node's own network namespace (hostNetwork), as root with
CAP_NET_ADMIN and nothing else. It watches Services, EndpointSlices, the pods of its node and its
Node object, reads the kernel's rules while a removal is pending, and writes nothing anywhere.

  /metrics    latency histograms, outcomes, and what this agent itself costs and misses
  /healthz    200 while the process runs
  /readyz     200 once the API is synced and kube-proxy's rules were found; else says why not
  /v1/events  one JSON object a line: departures, and the commits that settled them
              (?since=SEQ to resume, ?follow=1 to stay; on loopback only)`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, err := f.validate(cmd)
			if err != nil {
				return err
			}
			return runAgent(cmd.Context(), f, log)
		},
	}
	fl := c.Flags()
	fl.SortFlags = false
	fl.StringVar(&f.node, "node-name", os.Getenv("NODE_NAME"), "name of this node in Kubernetes (default $NODE_NAME, else the host's name)")
	fl.StringVar(&f.kubeconfig, "kubeconfig", "", "path to a kubeconfig; without it, the service account of the pod this runs in")
	fl.StringVar(&f.listen, "listen", ":9747", "address of /metrics, /healthz and /readyz")
	fl.StringVar(&f.eventsListen, "events-listen", "127.0.0.1:9748", "address of /v1/events; loopback only, since it is not authenticated")
	fl.DurationVar(&f.listJitter, "list-jitter", 2*time.Second, "the first LISTs start at a random moment within this time, so that a thousand agents do not ask at once")
	fl.DurationVar(&f.horizon, "horizon", 30*time.Minute, "a removal still routed after this long is counted as expired")
	fl.DurationVar(&f.poll, "poll", time.Millisecond, "how often the kernel is asked for its rule set generation while a removal is pending; it bounds the precision")
	fl.BoolVar(&f.subscribe, "subscribe", false, "also be woken by the kernel at every commit; makes kube-proxy's restores on iptables-nft slower")
	fl.DurationVar(&f.eventsAge, "events-age", time.Hour, "how long event lines are kept for readers")
	fl.IntVar(&f.eventsMiB, "events-mib", 8, "how many MiB of event lines are kept for readers")
	fl.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
	fl.DurationVar(&f.shutdownGrace, "shutdown-grace", 2*time.Second, "how long readers of /v1/events may take to fetch the last lines at shutdown")
	return c
}

// validate checks everything at once, and fills what has no fixed default.
func (f *agentFlags) validate(cmd *cobra.Command) (*slog.Logger, error) {
	var errs []error
	if f.node == "" {
		host, err := os.Hostname()
		if err != nil {
			errs = append(errs, fmt.Errorf("--node-name: %w", err))
		}
		f.node = host
	}
	host, _, err := net.SplitHostPort(f.eventsListen)
	if err != nil {
		errs = append(errs, fmt.Errorf("--events-listen: %w", err))
	} else if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		errs = append(errs, fmt.Errorf("--events-listen %s: must be a loopback address such as 127.0.0.1:9748, the events are not authenticated", f.eventsListen))
	}
	if f.poll < 100*time.Microsecond || f.poll > time.Second {
		errs = append(errs, fmt.Errorf("--poll %v: must be between 100us and 1s", f.poll))
	}
	if f.horizon < time.Second {
		errs = append(errs, fmt.Errorf("--horizon %v: must be at least 1s", f.horizon))
	}
	if f.eventsMiB < 1 || f.eventsMiB > 1024 {
		errs = append(errs, fmt.Errorf("--events-mib %d: must be between 1 and 1024", f.eventsMiB))
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(f.logLevel)); err != nil {
		errs = append(errs, fmt.Errorf("--log-level %q: must be debug, info, warn or error", f.logLevel))
	}
	log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level}))
	return log, errors.Join(errs...)
}

func restConfig(path string) (*rest.Config, error) {
	if path != "" {
		c, err := clientcmd.BuildConfigFromFlags("", path)
		if err != nil {
			return nil, fmt.Errorf("--kubeconfig: %w", err)
		}
		return c, nil
	}
	c, err := rest.InClusterConfig()
	if err != nil {
		return nil, fmt.Errorf("not in a pod (%w): give --kubeconfig", err)
	}
	return c, nil
}

// runAgent wires the watcher, the ledger and the probe, and runs them until ctx ends.
func runAgent(ctx context.Context, f agentFlags, log *slog.Logger) error {
	klog.SetLogger(logr.FromSlogHandler(log.With("from", "client-go").Handler()))
	config, err := restConfig(f.kubeconfig)
	if err != nil {
		return err
	}
	config.UserAgent = "lastcall-agent/" + buildVersion()
	// Loopback first: an address in use must fail before anything else is started.
	web, err := listen(f)
	if err != nil {
		return err
	}
	ready := &readiness{}
	ready.set("kube-proxy", errors.New("has not been looked for yet"))
	ready.set("kubernetes API", errors.New("will be watched once kube-proxy is found"))
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		version.NewCollector("lastcall"))
	metrics := ledger.NewMetrics(reg, place)
	metrics.Unmeasured("unknown")
	events := ledger.NewRing(rand.Text(), f.eventsMiB<<20, f.eventsAge)
	server := &server{ready: ready, metrics: reg, events: events, node: f.node}

	g, ctx := errgroup.WithContext(ctx)
	// The listeners outlive the measuring, so that readers get its last lines.
	webCtx, stopWeb := context.WithCancel(context.WithoutCancel(ctx))
	g.Go(func() error { return web.run(webCtx, server, f.shutdownGrace) })
	g.Go(func() error {
		defer stopWeb()
		found, err := findKubeProxy(ctx, ready, metrics, log)
		if err != nil {
			return ignoreCanceled(ctx, err)
		}
		log.Info("found kube-proxy", "backend", found.Backend, "families", found.Families, "node", f.node)
		return measure(ctx, f, config, found, server, metrics, log)
	})
	return g.Wait()
}

// measure is the straight line: watcher -> ledger -> probe -> ledger -> metrics and events.
func measure(ctx context.Context, f agentFlags, config *rest.Config, found probes.Found, s *server, metrics *ledger.Metrics, log *slog.Logger) error {
	metrics.Dataplane(found.Backend, found.Families)
	books := ledger.New(ledger.Config{Place: place, Backend: found.Backend, Families: found.Families,
		Horizon: f.horizon, Metrics: metrics, Events: s.events})

	var probe *probes.KubeProxy
	probe, err := probes.NewKubeProxy(probes.KubeProxyConfig{
		Land:        books.Land,
		Blind:       func(at time.Time) { probe.Forget(books.Blind("kernel", at)) },
		Resurrected: books.Resurrected,
		Verified:    metrics.Verified,
		Poll:        f.poll,
		Subscribe:   f.subscribe,
		Log:         log,
	})
	if err != nil {
		return err
	}
	watch, err := watcher.New(watcher.Config{
		Client: config,
		Node:   f.node,
		Jitter: f.listJitter,
		Notify: func(changes []ledger.Change) {
			pending, settled := books.Apply(changes)
			probe.Forget(settled)
			probe.Watch(pending)
		},
		Received: metrics.Received,
		Synced:   metrics.Synced,
		Lost:     func(source string) { metrics.Lost(source, 1) },
		Log:      log,
	})
	if err != nil {
		return err
	}
	s.ready.check("kubernetes API", watch.Ready)
	s.ready.check("kernel", probe.Ready)
	s.resourceVersion.Store(watch.ResourceVersion)
	s.events.Started(time.Now(), f.node, buildVersion(), place, found.Backend)

	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return probe.Run(ctx, found) })
	g.Go(func() error { return watch.Run(ctx) })
	g.Go(func() error {
		every(ctx, time.Second, books.Expire)
		return nil
	})
	err = g.Wait()
	pending, retained := books.Open()
	books.Stop(time.Now())
	log.Info("stopped", "pending", pending, "retained", retained)
	return err
}

// findKubeProxy looks until it finds a dataplane that can be measured: on a new node kube-proxy may
// start after us.
func findKubeProxy(ctx context.Context, ready *readiness, metrics *ledger.Metrics, log *slog.Logger) (probes.Found, error) {
	said := ""
	for {
		found, err := probes.Detect()
		if err == nil {
			ready.set("kube-proxy", nil)
			return found, nil
		}
		ready.set("kube-proxy", err)
		metrics.Unmeasured(found.Backend)
		if err.Error() != said {
			said = err.Error()
			log.Warn("cannot measure this node yet, will look again", "reason", err)
		}
		select {
		case <-ctx.Done():
			return found, ctx.Err()
		case <-time.After(2 * time.Second):
		}
	}
}

// every calls f each d until ctx ends.
func every(ctx context.Context, d time.Duration, f func(time.Time)) {
	t := time.NewTicker(d)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-t.C:
			f(now)
		}
	}
}

func ignoreCanceled(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}

// web is the pair of listeners.
type web struct{ public, events net.Listener }

func listen(f agentFlags) (web, error) {
	public, err := net.Listen("tcp", f.listen)
	if err != nil {
		return web{}, fmt.Errorf("--listen: %w", err)
	}
	events, err := net.Listen("tcp", f.eventsListen)
	if err != nil {
		public.Close()
		return web{}, fmt.Errorf("--events-listen: %w", err)
	}
	return web{public, events}, nil
}

// run serves until ctx ends; then followers get the last lines and the time to read them.
func (w web) run(ctx context.Context, s *server, grace time.Duration) error {
	public := &http.Server{Handler: s.public(), ReadHeaderTimeout: 5 * time.Second}
	events := &http.Server{Handler: s.private(ctx), ReadHeaderTimeout: 5 * time.Second}
	g, ctx := errgroup.WithContext(ctx)
	serve := func(srv *http.Server, l net.Listener) {
		g.Go(func() error {
			if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				return err
			}
			return nil
		})
	}
	serve(public, w.public)
	serve(events, w.events)
	g.Go(func() error {
		<-ctx.Done()
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
		defer cancel()
		if events.Shutdown(end) != nil {
			events.Close()
		}
		public.Close()
		return nil
	})
	return g.Wait()
}
