//go:build linux

// Command consumers holds landings at an ingress controller's Envoy, at HAProxy and at CoreDNS against a truth made by somebody
// else: clients of each of them, while pods are restarted one at a time and all at once. See internal/restarts.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/lastcall-k8s/lastcall/internal/benchresult"
	"github.com/lastcall-k8s/lastcall/internal/nodeagent"
	"github.com/lastcall-k8s/lastcall/internal/restarts"
	"github.com/lastcall-k8s/lastcall/internal/testbed"
)

type options struct {
	ones, alls, pods, rate int
	out                    string
	add, render            bool
}

func main() {
	var o options
	flag.IntVar(&o.ones, "ones", 200, "restarts of one pod")
	flag.IntVar(&o.alls, "alls", 25, "restarts of the whole Deployment")
	flag.IntVar(&o.pods, "pods", 8, "pods of the Deployment")
	flag.IntVar(&o.rate, "rate", 250, "requests a second of the client of each replica")
	flag.StringVar(&o.out, "out", "bench/results", "where the JSON goes; \"\" for nowhere")
	flag.BoolVar(&o.add, "add", false, "keep what the newest result has of the other kind of restart, for a machine that is to be had for minutes only")
	flag.BoolVar(&o.render, "render", false, "only render bench/RESULTS.md from the JSON files")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		stop()
		fmt.Fprintln(os.Stderr, "consumers:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	if o.render {
		return render(o.out)
	}
	return testbed.Run(ctx, restarts.Spec("lastcall-restarts"), os.Stderr, func(c *testbed.Cluster) error { return onCluster(ctx, c, o) })
}

func onCluster(ctx context.Context, c *testbed.Cluster, o options) error {
	dir, err := os.MkdirTemp("", "lastcall-consumers-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	binary, err := nodeagent.Build(ctx, dir)
	if err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(dir, "agent.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	r := newResults(o)
	if o.add {
		if _, _, err := benchresult.Newest(o.out, "consumers", &r.earlier); err != nil {
			return err
		}
	}
	if err := r.versions(c); err != nil {
		return err
	}
	if err := measure(ctx, c, binary, log, o, r); err != nil {
		text, _ := os.ReadFile(log.Name())
		return fmt.Errorf("%w\nthe agent's log:\n%s", err, text)
	}
	if err := r.print(os.Stdout); err != nil || o.out == "" {
		return err
	}
	return render(o.out)
}

func measure(ctx context.Context, c *testbed.Cluster, binary string, log *os.File, o options, r *results) error {
	b, err := restarts.Up(ctx, c, binary, o.pods, o.rate, log)
	if err != nil {
		return err
	}
	defer b.Down() //nolint:errcheck // what it measured is what counts
	for _, part := range []struct {
		how string
		n   int
		do  func(context.Context) error
	}{{onePod, o.ones, b.One}, {allPods, o.alls, b.All}} {
		if part.n == 0 {
			continue
		}
		for i := range part.n {
			if err := part.do(ctx); err != nil {
				return fmt.Errorf("restart %d of %s: %w", i+1, part.how, err)
			}
			if i%10 == 9 || i+1 == part.n {
				fmt.Fprintf(os.Stderr, "  %s: %d of %d restarts\n", part.how, i+1, part.n)
			}
		}
		got, err := b.Compare(ctx)
		if err != nil {
			return err
		}
		for _, s := range got.Samples {
			if !s.Inside() {
				fmt.Fprintf(os.Stderr, "  outside: %s %s: landed (%v, %v], last request %v, gone by %v\n", s.Place, s.Replica, s.Landed.Lo, s.Landed.Hi, s.Last, s.Gone)
			}
		}
		r.add(part.how, got, b.Clients())
		// What is measured is kept if a later part fails.
		if o.out != "" {
			if err := r.write(o.out); err != nil {
				return err
			}
		}
	}
	return nil
}

// versions notes what was measured against.
func (r *results) versions(c *testbed.Cluster) error {
	r.Versions["kubernetes"] = c.Spec.Version
	for _, w := range c.Spec.With {
		if name, version, ok := strings.Cut(w, "@"); ok {
			r.Versions[name] = version
		}
	}
	r.Versions["envoy"] = testbed.EnvoyVersion
	out, err := exec.Command("haproxy", "-v").Output()
	if err != nil {
		return fmt.Errorf("ask HAProxy for its version: %w", err)
	}
	r.Versions["haproxy"] = strings.TrimSuffix(strings.Fields(string(out))[2], ",")
	return nil
}
