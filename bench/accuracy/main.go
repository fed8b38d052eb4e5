//go:build linux

// Command accuracy holds the agent's landings against a truth made by somebody else: clients that connect
// through the ClusterIP as fast as they can. The truth of a removal is the last connection started that
// reached the removed pod.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/lastcall-k8s/lastcall/internal/nodeagent"
	"github.com/lastcall-k8s/lastcall/internal/scrape"
	"github.com/lastcall-k8s/lastcall/internal/testbed"
)

type options struct {
	removals, pods int
	services       []int
	nodes, thin    []testbed.NodeSpec
	minSync        time.Duration
	agentArgs      []string
	out            string
	version        string
	render         bool
}

func main() {
	var o options
	services := flag.String("services", "10,1000", "numbers of Services to measure at")
	modes := flag.String("modes", "nftables,iptables-nft,iptables-legacy", "kube-proxy's modes")
	thin := flag.String("thin", "nftables@v1.35.4,iptables-nft@v1.35.4,iptables-legacy@v1.35.4,nftables@v1.34.4,iptables-nft@v1.34.4,iptables-legacy@v1.34.4",
		"modes and versions of further kube-proxies, on nodes without a kubelet and so without real pods")
	agentArgs := flag.String("agent-args", "", "flags for the agent, space separated")
	flag.IntVar(&o.removals, "removals", 1000, "removals by flipping hand-made slices, for each mode and number of Services")
	flag.IntVar(&o.pods, "pods", 24, "removals of real pods, for each mode, at the first number of Services")
	flag.DurationVar(&o.minSync, "min-sync-period", 50*time.Millisecond, "kube-proxy's minSyncPeriod: its default of 1s would make the run take hours and changes no commit")
	flag.StringVar(&o.version, "kubernetes-version", testbed.DefaultVersion, "of the testbed")
	flag.StringVar(&o.out, "out", "bench/results", "where the JSON goes; \"\" for nowhere")
	flag.BoolVar(&o.render, "render", false, "only render bench/RESULTS.md from the JSON files")
	flag.Parse()
	o.agentArgs = strings.Fields(*agentArgs)
	var errs []error
	for _, s := range strings.Split(*services, ",") {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			errs = append(errs, fmt.Errorf("-services: %q is no number of Services", s))
		}
		o.services = append(o.services, n)
	}
	var err error
	o.nodes, err = testbed.ParseNodes(*modes)
	errs = append(errs, err)
	o.thin, err = testbed.ParseNodes(*thin)
	if err := errors.Join(append(errs, err)...); err != nil {
		fmt.Fprintln(os.Stderr, "accuracy:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		stop()
		fmt.Fprintln(os.Stderr, "accuracy:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	if o.render {
		return render(o.out)
	}
	spec := testbed.Spec{Name: "lastcall-accuracy", Version: o.version, Nodes: o.nodes, Thin: o.thin,
		KubeProxy: []string{"nftables.minSyncPeriod=" + o.minSync.String(), "iptables.minSyncPeriod=" + o.minSync.String()}}
	return testbed.Run(ctx, spec, os.Stderr, func(c *testbed.Cluster) error { return onCluster(ctx, c, o) })
}

func onCluster(ctx context.Context, c *testbed.Cluster, o options) error {
	dir, err := os.MkdirTemp("", "lastcall-accuracy-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	binary, err := nodeagent.Build(ctx, dir)
	if err != nil {
		return err
	}
	r := newResults(o)
	last := map[string]*knocker{}
	if err := c.StopKubeProxies(ctx); err != nil {
		return err
	}
	for i, n := range o.services {
		if err := c.Load(ctx, testbed.LoadSpec{Services: n, Endpoints: 10}, os.Stderr); err != nil {
			return err
		}
		for _, node := range c.Nodes {
			b := &bench{options: o, cluster: c, node: node, services: n, knocker: last[node.Name]}
			if err := b.measure(ctx, binary, filepath.Join(dir, node.Name+".log"), i == 0 && !node.Thin, r); err != nil {
				return err
			}
			last[node.Name] = b.knocker
			// What is measured is kept if a later part fails.
			if o.out != "" {
				if err := r.write(o.out); err != nil {
					return err
				}
			}
		}
	}
	if o.out == "" {
		return r.print(os.Stdout)
	}
	if err := render(o.out); err != nil {
		return err
	}
	return r.print(os.Stdout)
}

// measure makes the removals of one node at one number of Services. No other kube-proxy runs meanwhile: on one machine it would take
// the processor away whenever this node's does.
func (b *bench) measure(ctx context.Context, binary, logFile string, withPods bool, r *results) (err error) {
	if err := b.cluster.StartKubeProxy(ctx, b.node.Name); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.cluster.StopKubeProxy(ctx, b.node.Name)) }()
	if err := scrape.Quiet(ctx, b.cluster, b.node.Name); err != nil {
		return err
	}
	log, err := os.Create(logFile)
	if err != nil {
		return err
	}
	defer log.Close()
	fmt.Fprintf(os.Stderr, "%s %s, %d Services: %d removals\n", b.node.Mode, b.node.Version, b.services, b.removals)
	figures, err := b.flips(ctx, binary, log)
	if err == nil {
		r.add(figures)
	}
	if err == nil && withPods && b.pods > 0 {
		fmt.Fprintf(os.Stderr, "%s %s, %d Services: %d removals of real pods\n", b.node.Mode, b.node.Version, b.services, b.pods)
		if figures, err = b.realPods(ctx, binary, log); err == nil {
			r.add(figures)
		}
	}
	if err != nil {
		text, _ := os.ReadFile(logFile)
		return fmt.Errorf("%s %s, %d Services: %w\nthe agent's log:\n%s", b.node.Mode, b.node.Version, b.services, err, text)
	}
	return nil
}
