package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"k8s.io/klog/v2"

	"github.com/lastcall-k8s/lastcall/hub"
	"github.com/lastcall-k8s/lastcall/hub/routes"
	"github.com/lastcall-k8s/lastcall/hub/store"
)

// hubFlags are the hub's whole configuration.
type hubFlags struct {
	kubeconfig    string
	listen        string
	metricsListen string
	pagesListen   string
	namespace     string
	agentSelector string
	agentPort     int
	agentCA       string
	tokenFile     string
	tlsCert       string
	tlsKey        string
	store         string
	retentionAge  time.Duration
	retentionMiB  int64
	episodeGap    time.Duration
	consumerKinds []string
	routes        bool
	besideIn      []string
	logLevel      string
}

func hubCommand() *cobra.Command {
	var f hubFlags
	c := &cobra.Command{
		Use:   "hub",
		Short: "Joins what all agents saw to one row per departing pod",
		Long: `One per cluster. It follows every agent's events, compares their clocks with its own, and says of each
pod that left: when the last place let go, which that was, and whether the pod had been told to stop before.
It needs no privilege on its node, and writes nothing to the cluster.

On --listen, over TLS and for bearer tokens that the API server knows (audience lastcall, allowed to get the path):

  /v1/...     what kubectl lastcall asks for

On --metrics-listen: /metrics, /healthz, /readyz. On --pages-listen, which only kubectl port-forward and this pod
reach: pages for people.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, err := f.validate(cmd)
			if err != nil {
				return err
			}
			return runHub(cmd.Context(), f, log)
		},
	}
	fl := c.Flags()
	fl.SortFlags = false
	fl.StringVar(&f.kubeconfig, "kubeconfig", "", "path to a kubeconfig; without it, the service account of the pod this runs in")
	fl.StringVar(&f.listen, "listen", ":9750", "address of /v1, over TLS and for bearer tokens")
	fl.StringVar(&f.metricsListen, "metrics-listen", ":9751", "address of /metrics, /healthz and /readyz")
	fl.StringVar(&f.pagesListen, "pages-listen", "127.0.0.1:9752", "loopback address of the pages: kubectl port-forward leads there, with the API server's permission")
	fl.StringVar(&f.namespace, "namespace", os.Getenv("POD_NAMESPACE"), "where the agents run (default $POD_NAMESPACE)")
	fl.StringVar(&f.agentSelector, "agent-selector", "app.kubernetes.io/name=lastcall,app.kubernetes.io/component=agent", "labels of the agents' pods")
	fl.IntVar(&f.agentPort, "agent-port", 9748, "port of every agent's /v1, on its node's address")
	fl.StringVar(&f.agentCA, "agent-ca-file", "", "certificate authority of the agents; without it the connection is encrypted, and who answers is not verified")
	fl.StringVar(&f.tokenFile, "token-file", "/var/run/secrets/lastcall/token", "token for the agents, with audience lastcall; read again as it is renewed")
	fl.StringVar(&f.tlsCert, "tls-cert-file", "", "certificate of /v1, read again when it changes; without it one that nobody can verify is made at start")
	fl.StringVar(&f.tlsKey, "tls-key-file", "", "its private key")
	fl.StringVar(&f.store, "store", "/var/lib/lastcall/hub.db", "file of the rows; its directory must exist")
	fl.DurationVar(&f.retentionAge, "retention-age", 30*24*time.Hour, "how long rows are kept")
	fl.Int64Var(&f.retentionMiB, "retention-mib", 2048, "how many MiB of rows are kept")
	fl.DurationVar(&f.episodeGap, "episode-gap", time.Minute, "a departure that begins this long after the last one's last call begins another episode")
	fl.StringSliceVar(&f.consumerKinds, "consumer-kinds", nil, "kinds of places that the agents' --consumers file declares, such as kong; those that need no declaration are known")
	fl.StringSliceVar(&f.besideIn, "sidecar-namespaces", nil, "namespaces with pods labelled lastcall/sidecar, in which an agent runs beside a consumer (docs/consumers.md)")
	fl.BoolVar(&f.routes, "routes", true, "follow Services, Ingresses and routes, which say what besides kube-proxy serves a workload; without, that is said to be unknown")
	fl.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
	return c
}

// validate checks everything at once.
func (f *hubFlags) validate(cmd *cobra.Command) (*slog.Logger, error) {
	errs := []error{loopback("--pages-listen", f.pagesListen), pair(f.tlsCert, f.tlsKey)}
	if f.namespace == "" {
		errs = append(errs, errors.New("--namespace: say where the agents run, or set $POD_NAMESPACE"))
	}
	if f.agentPort < 1 || f.agentPort > 65535 {
		errs = append(errs, fmt.Errorf("--agent-port %d: must be between 1 and 65535", f.agentPort))
	}
	if f.retentionAge < time.Hour {
		errs = append(errs, fmt.Errorf("--retention-age %v: must be at least 1h", f.retentionAge))
	}
	if f.retentionMiB < 64 {
		errs = append(errs, fmt.Errorf("--retention-mib %d: must be at least 64", f.retentionMiB))
	}
	if f.episodeGap < time.Second {
		errs = append(errs, fmt.Errorf("--episode-gap %v: must be at least 1s", f.episodeGap))
	}
	if err := hub.CheckConsumers(f.consumerKinds); err != nil {
		errs = append(errs, fmt.Errorf("--consumer-kinds: %w", err))
	}
	log, err := newLog(cmd, f.logLevel)
	return log, errors.Join(append(errs, err)...)
}

func runHub(ctx context.Context, f hubFlags, log *slog.Logger) error {
	klog.SetLogger(logr.FromSlogHandler(log.With("from", "client-go").Handler()))
	config, err := restConfig(f.kubeconfig)
	if err != nil {
		return err
	}
	config.UserAgent = "lastcall-hub/" + buildVersion()
	cluster, err := hub.NewCluster(config)
	if err != nil {
		return err
	}
	agents, err := agentClient(f, agentServerName)
	if err != nil {
		return err
	}
	beside, err := agentClient(f, besideServerName)
	if err != nil {
		return err
	}
	guard, err := newGuard(config)
	if err != nil {
		return err
	}
	secure, err := serverTLS(f.tlsCert, f.tlsKey)
	if err != nil {
		return err
	}
	if f.agentCA == "" {
		log.Warn("agents' certificates are not verified; give --agent-ca-file")
	}
	rows, err := store.Open(ctx, f.store, store.Config{RetentionAge: f.retentionAge, RetentionBytes: f.retentionMiB << 20, Log: log})
	if err != nil {
		log.Error("rows are not kept until this is mended; measuring goes on", "err", err)
	}
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if err := rows.Close(end); err != nil {
			log.Warn("closing the store", "err", err)
		}
	}()
	line := newTimeline(readClocks)
	reg := newRegistry()
	told := hub.Config{Version: buildVersion(), Now: line.now, Store: rows, Agents: agents, Beside: beside, AgentPort: f.agentPort,
		Gap: f.episodeGap, Consumers: f.consumerKinds, Tag: cluster.Tag, Serves: hub.NoRoutes, Metrics: reg, Log: log}
	follow := func(context.Context) error { return nil }
	if f.routes {
		r, err := routes.New(config, log)
		if err != nil {
			return err
		}
		told.Serves, told.Served, told.Routes, follow = r.Serves, r.Served, r.Trouble, r.Run
	}
	h := hub.New(ctx, told)
	sites := []*site{
		{flag: "--listen", address: f.listen, handler: guard.protect(h.V1()), tls: secure, most: 256},
		{flag: "--metrics-listen", address: f.metricsListen, handler: hubPublic(h, reg), most: 64},
		{flag: "--pages-listen", address: f.pagesListen, handler: h.Pages(), most: 64},
	}
	if err := listenAll(sites); err != nil {
		return err
	}
	log.Info("started", "version", buildVersion(), "store", f.store, "agents", f.agentSelector, "namespace", f.namespace)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return serve(ctx, 5*time.Second, log, sites...) })
	g.Go(func() error { return h.Run(ctx) })
	g.Go(func() error { return h.Find(ctx, cluster, f.namespace, f.agentSelector) })
	g.Go(func() error { return h.FindBeside(ctx, cluster, f.besideIn) })
	g.Go(func() error { return follow(ctx) })
	err = g.Wait()
	log.Info("stopped")
	return err
}

// agentClient speaks to agents whose certificates are for a name.
func agentClient(f hubFlags, name string) (*http.Client, error) {
	trusted, err := agentTLS(f.agentCA, name)
	if err != nil {
		return nil, err
	}
	c, err := hub.NewClient(trusted, f.tokenFile)
	if err != nil {
		return nil, fmt.Errorf("--token-file: %w", err)
	}
	return c, nil
}

func hubPublic(h *hub.Hub, reg *prometheus.Registry) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{EnableOpenMetrics: true}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := h.Ready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	return mux
}
