package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"sync"
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
	apiListen     string
	tlsCert       string
	tlsKey        string
	debugListen   string
	listJitter    time.Duration
	horizon       time.Duration
	poll          time.Duration
	subscribe     bool
	witness       bool
	xtablesLock   string
	kubeProxy     string
	consumers     string
	onlyConsumers bool
	podNamespaces string
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

On --api-listen, over TLS and for bearer tokens that the API server knows (audience lastcall, allowed to
get the path):

  /v1/events  one JSON object a line: departures, and the commits that settled them
              (?since=SEQ to resume, ?follow=1 to stay)
  /v1/clock   what time it is here, for the hub to compare
  /v1/consumers  which replicas of ingress controllers and meshes are read, and how that goes`,
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
	fl.StringVar(&f.apiListen, "api-listen", defaultAPIListen(), "address of /v1, over TLS and for bearer tokens (default $NODE_IP:9748; not served without $NODE_IP)")
	fl.StringVar(&f.tlsCert, "tls-cert-file", "", "certificate of /v1, read again when it changes; without it one that nobody can verify is made at start")
	fl.StringVar(&f.tlsKey, "tls-key-file", "", "its private key")
	fl.StringVar(&f.debugListen, "debug-listen", "", "loopback address, such as 127.0.0.1:9749, for /v1 without TLS and without tokens: everybody on this node can read it")
	fl.DurationVar(&f.listJitter, "list-jitter", 2*time.Second, "the first LISTs start at a random moment within this time, so that a thousand agents do not ask at once")
	fl.DurationVar(&f.horizon, "horizon", 30*time.Minute, "a removal still routed after this long is counted as expired")
	fl.DurationVar(&f.poll, "poll", time.Millisecond, "how often the kernel is asked for its rule set generation while a removal is pending; it bounds the precision")
	fl.BoolVar(&f.subscribe, "subscribe", false, "also be woken by the kernel at every commit; makes kube-proxy's restores on iptables-nft slower")
	fl.BoolVar(&f.witness, "witness", true, "while a pod leaves, listen to connection tracking: new connections to it, lost ones, and whether any comes after landing")
	fl.StringVar(&f.xtablesLock, "xtables-lock", "/run/xtables.lock", "lock file of iptables-legacy, watched for being opened and never opened; where it is missing or \"\", intervals are wider")
	fl.StringVar(&f.kubeProxy, "kube-proxy-metrics", "127.0.0.1:10249", "where kube-proxy on this node serves its metrics, and tells its mode (a hint only), version and minSyncPeriod; \"\" for none")
	fl.StringVar(&f.consumers, "consumers", "", "also time ingress controllers and meshes whose replicas run on this node: auto finds them by well-known labels, a file says more (docs/consumers.md)")
	fl.BoolVar(&f.onlyConsumers, "only-consumers", false, "run beside a consumer, in its pod: read what --consumers says and not this node's kernel, for which another agent is there")
	fl.StringVar(&f.podNamespaces, "pod-namespaces", "", "directory of the pods' network namespaces, /run/netns with containerd and CRI-O: enter those of consumers that listen on their pod's localhost only; takes CAP_SYS_ADMIN")
	fl.DurationVar(&f.eventsAge, "events-age", time.Hour, "how long event lines are kept for readers")
	fl.IntVar(&f.eventsMiB, "events-mib", 8, "how many MiB of event lines are kept for readers")
	fl.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
	fl.DurationVar(&f.shutdownGrace, "shutdown-grace", 2*time.Second, "how long readers of /v1/events may take to fetch the last lines at shutdown")
	return c
}

func defaultAPIListen() string {
	if ip := os.Getenv("NODE_IP"); ip != "" {
		return net.JoinHostPort(ip, "9748")
	}
	return ""
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
	errs = append(errs, loopback("--debug-listen", f.debugListen), pair(f.tlsCert, f.tlsKey))
	if f.poll < 100*time.Microsecond || f.poll > time.Second {
		errs = append(errs, fmt.Errorf("--poll %v: must be between 100us and 1s", f.poll))
	}
	if f.horizon < time.Second {
		errs = append(errs, fmt.Errorf("--horizon %v: must be at least 1s", f.horizon))
	}
	if f.eventsMiB < 1 || f.eventsMiB > 1024 {
		errs = append(errs, fmt.Errorf("--events-mib %d: must be between 1 and 1024", f.eventsMiB))
	}
	_, _, err := consumersOf(f.consumers)
	errs = append(errs, err)
	if f.onlyConsumers && f.consumers == "" {
		errs = append(errs, errors.New("--only-consumers: say which with --consumers"))
	}
	log, err := newLog(cmd, f.logLevel)
	return log, errors.Join(append(errs, err)...)
}

// loopback says whether only this node can reach an address; "" is not served at all.
func loopback(flag, address string) error {
	if address == "" {
		return nil
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("%s: %w", flag, err)
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return fmt.Errorf("%s %s: must be a loopback address such as 127.0.0.1:9749, what it serves is not authenticated", flag, address)
	}
	return nil
}

// pair says whether a certificate comes with its key.
func pair(cert, key string) error {
	if (cert == "") != (key == "") {
		return errors.New("--tls-cert-file and --tls-key-file: give both, or neither for a certificate made at start")
	}
	return nil
}

func newLog(cmd *cobra.Command, text string) (*slog.Logger, error) {
	var level slog.Level
	err := level.UnmarshalText([]byte(text))
	if err != nil {
		err = fmt.Errorf("--log-level %q: must be debug, info, warn or error", text)
	}
	return slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level})), err
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
	keepHeapSmall()
	config, err := restConfig(f.kubeconfig)
	if err != nil {
		return err
	}
	config.UserAgent = "lastcall-agent/" + buildVersion()
	ready := &readiness{}
	ready.set("kube-proxy", errors.New("has not been looked for yet"))
	ready.set("kubernetes API", errors.New("will be watched once kube-proxy is found"))
	reg := newRegistry()
	metrics := ledger.NewMetrics(reg, place, clockMaxError)
	line := newTimeline(readClocks)
	is := &identity{node: f.node, witness: f.witness}
	s := &server{ready: ready, metrics: reg, time: line, who: is.hello, applied: is.applied,
		events: ledger.NewRing(rand.Text(), f.eventsMiB<<20, f.eventsAge, line.of)}
	hints := probes.Hints{KubeProxy: f.kubeProxy}
	unmeasured := func(backend string) { metrics.Unmeasured(backend); is.found(backend, nil) }
	unmeasured("unknown")

	// The listeners outlive the measuring, so that readers get its last lines.
	webCtx, stopWeb := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWeb()
	sites, err := agentSites(webCtx, f, s, config)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return serve(webCtx, f.shutdownGrace, log, sites...) })
	g.Go(func() error {
		every(ctx, time.Second, func(time.Time) { line.note() })
		return nil
	})
	g.Go(func() error {
		defer stopWeb()
		if f.onlyConsumers {
			return measureConsumers(ctx, f, config, s, is, metrics, log)
		}
		found, err := findKubeProxy(ctx, hints, ready, unmeasured, log)
		if err != nil {
			return ignoreCanceled(ctx, err)
		}
		return measure(ctx, f, config, found, s, is, metrics, log)
	})
	return g.Wait()
}

// keepHeapSmall trades CPU that is not missed for memory that every node pays. Nearly all of the heap is the state of the
// cluster, and an event leaves some 10 KiB behind: with 10,000 Services of 10 endpoints (24 MiB live) the peak was 69
// instead of 80 MiB, for a collection of some 20 ms every 1,000 events instead of 2,000. $GOGC wins.
func keepHeapSmall() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50)
	}
}

func newRegistry() *prometheus.Registry {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		version.NewCollector("lastcall"))
	return reg
}

// agentSites opens what the agent serves.
func agentSites(ctx context.Context, f agentFlags, s *server, config *rest.Config) ([]*site, error) {
	guard, err := newGuard(config)
	if err != nil {
		return nil, err
	}
	secure, err := serverTLS(f.tlsCert, f.tlsKey)
	if err != nil {
		return nil, err
	}
	v1 := s.v1(ctx)
	sites := []*site{
		{flag: "--listen", address: f.listen, handler: s.public(), most: 64},
		{flag: "--api-listen", address: f.apiListen, handler: guard.protect(v1), tls: secure, most: 64},
		{flag: "--debug-listen", address: f.debugListen, handler: v1, most: 16},
	}
	return sites, listenAll(sites)
}

// identity is who this agent is, as far as it is known.
type identity struct {
	node    string
	witness bool

	mu       sync.Mutex
	watch    *watcher.Watcher // nil before it runs
	tell     func()           // makes every ledger write what it opened; likewise
	backend  string
	families []ledger.Family // measured
	proxy    ledger.Proxy
}

func (i *identity) watched(w *watcher.Watcher, tell func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.watch, i.tell = w, tell
}

// applied is the newest slice resourceVersion that the watcher applied, and whose removals are told.
func (i *identity) applied() string {
	i.mu.Lock()
	w, tell := i.watch, i.tell
	i.mu.Unlock()
	if w == nil {
		return ""
	}
	version := w.ResourceVersion()
	tell()
	return version
}

func (i *identity) found(backend string, measured []ledger.Family) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.backend, i.families = backend, measured
}

// ask asks kube-proxy what it is, and reports whether it told. One that does not answer, as it is busy or starts, is still what it was.
func (i *identity) ask(address string) bool {
	p := probes.AskProxy(address)
	i.mu.Lock()
	defer i.mu.Unlock()
	told := p.Version != "" && p.MinSync != ""
	i.proxy.Version, i.proxy.MinSync = cmp.Or(p.Version, i.proxy.Version), cmp.Or(p.MinSync, i.proxy.MinSync)
	return told || address == ""
}

const (
	// askProxyEvery is how long a kube-proxy that was replaced by another may count as the one before. Its metrics cost it some
	// milliseconds.
	askProxyEvery = 5 * time.Minute
	// askProxyAgain is when one that did not answer, or not all, is asked again; then twice as long each time.
	askProxyAgain = 10 * time.Second
)

// keepAsking asks kube-proxy until ctx ends.
func (i *identity) keepAsking(ctx context.Context, address string) {
	again, told := askProxyAgain, false
	for {
		gap := askProxyEvery
		if told {
			again = askProxyAgain
		} else {
			gap, again = again, min(2*again, askProxyEvery)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(gap):
			told = i.ask(address)
		}
	}
}

func (i *identity) hello() ledger.Event {
	i.mu.Lock()
	e := ledger.Event{Node: i.node, Version: buildVersion(), Place: place, Backend: i.backend, Families: i.families, Proxy: i.proxy,
		Witnessing: i.witness && len(i.families) > 0}
	w := i.watch
	i.mu.Unlock()
	if w != nil {
		e.NodeUID = w.NodeUID() // waits for an event that is being applied
	}
	return e
}

// measure is the straight line: watcher -> ledger -> probe -> ledger -> metrics and events.
func measure(ctx context.Context, f agentFlags, config *rest.Config, found probes.Found, s *server, is *identity, metrics *ledger.Metrics, log *slog.Logger) error {
	books := ledger.New(ledger.Config{Place: place, Horizon: f.horizon, Metrics: metrics, Events: s.events})

	witness, err := newWitness(f, found.Families, books, metrics, log)
	if err != nil {
		return err
	}
	var probe *probes.KubeProxy
	forget := func(keys []ledger.Key) {
		probe.Forget(keys)
		witness.Settled(keys)
	}
	probe, err = probes.NewKubeProxy(probes.KubeProxyConfig{
		Land: func(landings []ledger.Landing) {
			books.Land(landings)
			witness.Landed(landings)
		},
		Blind:       func(at time.Time) { forget(books.Blind("kernel", at)) },
		Resurrected: books.Resurrected,
		Verified:    metrics.Verified,
		Poll:        f.poll,
		Subscribe:   f.subscribe,
		XtablesLock: f.xtablesLock,
		Log:         log,
	})
	if err != nil {
		return err
	}
	measured := func(found probes.Found) {
		log.Info("found kube-proxy", "backend", found.Backend, "families", found.Families, "node", f.node)
		forget(books.Dataplane(found.Backend, found.Families, time.Now()))
		is.ask(f.kubeProxy) // before it says hello
		is.found(found.Backend, found.Families)
	}
	unmeasured := func(backend string) {
		forget(books.Dataplane(backend, nil, time.Now()))
		is.found(backend, nil)
	}
	measured(found)
	others, err := newOthers(f, metrics, s, log)
	if err != nil {
		return err
	}
	told := watcher.Config{
		Client: config,
		Node:   f.node,
		Jitter: f.listJitter,
		Notify: func(changes []ledger.Change) {
			pending, settled := books.Apply(changes)
			witness.Note(changes) // before the probe can say what landed
			probe.Forget(settled)
			probe.Watch(pending)
		},
		Received: metrics.Received,
		Synced:   metrics.Synced,
		Lost:     func(source string) { metrics.Lost(source, 1) },
		Log:      log,
	}
	if others != nil {
		others.announce = books.Tell
		told.Ready, told.Headless, told.Pods = others.apply, true, others.pods
	}
	watch, err := watcher.New(told)
	if err != nil {
		return err
	}
	s.ready.check("kubernetes API", watch.Ready)
	s.ready.check("kernel", probe.Ready)
	is.watched(watch, func() { books.Tell(); others.tell() })
	s.events.Started(time.Now(), ledger.Start{Node: f.node, Version: buildVersion(), Place: place, Backend: found.Backend, Families: found.Families})

	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return witness.Run(ctx) })
	g.Go(func() error {
		for {
			err := probe.Run(ctx, found)
			if !errors.Is(err, probes.ErrDataplaneChanged) {
				return err
			}
			log.Warn("looking for kube-proxy again", "reason", err)
			found, err = findKubeProxy(ctx, probes.Hints{KubeProxy: f.kubeProxy, Mover: probe.Mover()}, s.ready, unmeasured, log)
			if err != nil {
				return ignoreCanceled(ctx, err)
			}
			// What is pending stays so: it lands when no hooked backend reaches it any more, old or new.
			measured(found)
		}
	})
	g.Go(func() error { return watch.Run(ctx) })
	g.Go(func() error { return others.Run(ctx) })
	g.Go(func() error {
		is.keepAsking(ctx, f.kubeProxy)
		return nil
	})
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
func findKubeProxy(ctx context.Context, hints probes.Hints, ready *readiness, unmeasured func(backend string), log *slog.Logger) (probes.Found, error) {
	said := ""
	for {
		found, err := probes.Detect(hints)
		if err == nil {
			ready.set("kube-proxy", nil)
			return found, nil
		}
		ready.set("kube-proxy", err)
		unmeasured(found.Backend)
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
