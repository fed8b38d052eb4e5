//go:build linux

// Command proof holds what lastcall recommends against what happens: a workload from lost requests to none, delays that are known, and
// ways to stop that no preStop mends. All on a real cluster, with what users install.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/lastcall-k8s/lastcall/internal/proof"
	"github.com/lastcall-k8s/lastcall/internal/testbed"
	"github.com/lastcall-k8s/lastcall/manifests"
)

type options struct {
	parts    []string
	delays   []time.Duration
	restarts int
	out      string
	version  string
}

// part is something to prove.
type part struct {
	name string
	gap  time.Duration
	sets []string // values of the chart
	run  func(context.Context, *proof.Bed, options, *result) error
}

// The parts, each on a cluster of its own, with a gap between episodes that is as short as it can be: in a rollout, pods follow each other
// within a second or two.
var parts = []part{
	// Contour's Envoy tells of its hosts on the localhost of its pod alone.
	{"loop", 4 * time.Second, []string{"agent.consumers.enabled=true", "agent.consumers.enterPods=true"}, runLoop},
	{"delay", time.Second, nil, runDelay},
	{"stops", time.Second, nil, runStops},
}

func main() {
	o := options{version: testbed.DefaultVersion}
	only := flag.String("parts", "loop,delay,stops", "what to prove")
	delays := flag.String("delays", "3s,8s,15s", "how long a kube-proxy is stopped after a pod has left")
	flag.IntVar(&o.restarts, "restarts", 10, "restarts with the preStop recommended")
	flag.StringVar(&o.out, "out", "bench/results", `where the JSON goes; "" for nowhere`)
	render := flag.Bool("render", false, "only render bench/RESULTS.md from the JSON files")
	flag.Parse()
	o.parts = strings.Split(*only, ",")
	var errs []error
	for _, p := range o.parts {
		if !slices.ContainsFunc(parts, func(k part) bool { return k.name == p }) {
			errs = append(errs, fmt.Errorf("-parts %s: there are loop, delay and stops", p))
		}
	}
	for _, text := range strings.Split(*delays, ",") {
		d, err := time.ParseDuration(text)
		if err != nil || d <= proof.ShortBy || d%time.Second != 0 {
			errs = append(errs, fmt.Errorf("-delays %s: want whole seconds, more than %v", text, proof.ShortBy))
		}
		o.delays = append(o.delays, d)
	}
	if err := errors.Join(errs...); err != nil {
		fmt.Fprintln(os.Stderr, "proof:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if !*render {
		err = run(ctx, o)
	}
	if o.out != "" {
		err = errors.Join(err, renderResults(o.out)) // what was measured is kept if a later part fails
	}
	if err != nil {
		stop()
		fmt.Fprintln(os.Stderr, "proof:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp("", "lastcall-proof-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for _, pkg := range []string{"lastcall", "kubectl-lastcall"} {
		cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(dir, pkg), "./cmd/"+pkg)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", pkg, err, out)
		}
	}
	for _, p := range parts {
		if !slices.Contains(o.parts, p.name) {
			continue
		}
		r := newResult(o, p.gap)
		err := onTestbed(ctx, o, dir, p, func(b *proof.Bed) error { return p.run(ctx, b, o, r) })
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		if err := r.write(o.out, p.name); err != nil {
			return err
		}
		if len(r.Problems) > 0 {
			return fmt.Errorf("%s: not as it has to be:\n%s", p.name, strings.Join(r.Problems, "\n"))
		}
	}
	return nil
}

// onTestbed calls f on a cluster of its own with lastcall installed.
func onTestbed(ctx context.Context, o options, dir string, p part, f func(*proof.Bed) error) error {
	spec := proof.Spec("lastcall-proof", o.version, p.name == "loop", p.name == "delay")
	return testbed.Run(ctx, spec, os.Stderr, func(c *testbed.Cluster) error {
		image, err := testbed.ImageFromBinary("testbed.local/lastcall:proof", filepath.Join(dir, "lastcall"))
		if err != nil {
			return err
		}
		if err := c.LoadImage(ctx, image); err != nil {
			return err
		}
		values := append([]string{"image.repository=testbed.local/lastcall", "image.tag=proof", "image.pullPolicy=Never", "hub.episodeGap=" + p.gap.String()}, p.sets...)
		err = manifests.Install(ctx, c.Kubeconfig, "lastcall", "lastcall-system", os.Stderr, values...)
		if err != nil {
			return err
		}
		return f(&proof.Bed{Cluster: c, Plugin: filepath.Join(dir, "kubectl-lastcall"), Gap: p.gap})
	})
}

func runLoop(ctx context.Context, b *proof.Bed, o options, r *result) error {
	s, err := b.Shop(ctx, proof.ShopSpec{Namespace: "looped"})
	if err != nil {
		return err
	}
	if err := b.Ready(ctx, s); err != nil {
		return err
	}
	ways, err := b.Ways(ctx, s)
	if err != nil {
		return err
	}
	l, err := s.Loop(ctx, o.restarts, progress, ways...)
	r.Loop, r.Problems = &l, l.Problems()
	return err
}

func runDelay(ctx context.Context, b *proof.Bed, o options, r *result) (err error) {
	r.Delays, err = b.Delays(ctx, proof.Delays{Node: b.Nodes[0].Name, Delays: o.delays, Quantile: 0.95, Restarts: o.restarts, Log: progress})
	if err != nil {
		return err // what was not measured to the end has no verdict
	}
	for _, d := range r.Delays {
		r.Problems = append(r.Problems, d.Problems()...)
	}
	return nil
}

func runStops(ctx context.Context, b *proof.Bed, o options, r *result) error {
	node := b.Nodes[0].Name
	s, err := b.Stopping(ctx, node)
	if err != nil {
		return err
	}
	defer s.Stop()
	var leaving []proof.Leaving
	for _, shop := range s.Shops {
		leaving = append(leaving, proof.Leaving{Shop: shop, Delay: proof.LeastDelay})
	}
	for n := range 3 {
		if _, err := b.Round(ctx, node, leaving); err != nil {
			return err
		}
		progress("pods of %d workloads left, %d of 3", len(leaving), n+1)
	}
	r.Stops, err = s.Verdicts(ctx, 90*time.Second)
	for _, v := range r.Stops {
		if !v.Right() {
			r.Problems = append(r.Problems, fmt.Sprintf("%s: %v, want %s: %+v", v.Namespace, v.Got, v.Want, v.Stopping))
		}
	}
	return err
}

func progress(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
