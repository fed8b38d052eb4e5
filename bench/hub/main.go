//go:build linux

// Command hub measures the hub with thousands of simulated agents over TLS: what it takes in, what it needs for that, how
// it catches up after a pause, and how fast its pages are meanwhile. The agents are another process.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/lastcall-k8s/lastcall/internal/benchresult"
)

type options struct {
	shape
	warm    time.Duration
	window  time.Duration // 0: no measuring, for tests
	pause   time.Duration // 0: no restart
	preload int
	pages   int // requests of each kind
	profile string
	out     string
}

func main() {
	if text := os.Getenv(generatorEnv); text != "" {
		if err := generate(text, os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "hub: generator:", err)
			os.Exit(1)
		}
		return
	}
	var o options
	flag.IntVar(&o.Agents, "agents", 5000, "simulated agents, each at a loopback address of its own")
	flag.IntVar(&o.Rate, "rate", 10, "departures a second; every agent has each of them")
	flag.IntVar(&o.Gone, "gone", 8, "seconds after which a departing pod is gone")
	flag.DurationVar(&o.warm, "warm", 15*time.Second, "time before measuring")
	flag.DurationVar(&o.window, "for", time.Minute, "length of the measured window")
	flag.DurationVar(&o.pause, "pause", 30*time.Second, "how long the hub is stopped before it catches up; 0 for no restart and no pages")
	flag.IntVar(&o.preload, "preload", 100_000, "departures in the store before")
	flag.IntVar(&o.pages, "pages", 200, "requests of each page")
	flag.StringVar(&o.profile, "profile", "", "directory for profiles of the hub's processor time in the window, while it catches up, and of its memory")
	flag.StringVar(&o.out, "out", "bench/results", "where the JSON goes; \"\" for nowhere")
	flag.Parse()
	if o.Agents < 1 || o.Agents > 200_000 || o.Rate < 1 || o.Gone < 1 {
		fmt.Fprintln(os.Stderr, "hub: -agents 1 to 200000, -rate and -gone above 0")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	r, err := measure(ctx, o)
	if err == nil {
		r.Run = benchresult.Describe("go run ./bench/hub " + strings.Join(os.Args[1:], " "))
		if o.out != "" {
			err = o.publish(r)
		}
		r.print(os.Stdout)
	}
	if err != nil {
		stop()
		fmt.Fprintln(os.Stderr, "hub:", err)
		os.Exit(1)
	}
}

// publish writes the result's file, and RESULTS.md beside its directory.
func (o options) publish(r *results) error {
	if err := benchresult.Write(o.out, "hub", r.Date, r); err != nil {
		return err
	}
	var newest results
	file, _, err := benchresult.Newest(o.out, "hub", &newest)
	if err != nil {
		return err
	}
	return benchresult.ReplaceSection(filepath.Join(filepath.Dir(o.out), "RESULTS.md"), "hub", newest.section(file))
}

// measure is the whole of it.
func measure(ctx context.Context, o options) (r *results, err error) {
	r = &results{Cluster: o.shape, Preloaded: o.preload, Pause: o.pause.String()}
	dir, err := os.MkdirTemp("", "lastcall-bench-hub-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path, tokenFile := filepath.Join(dir, "hub.db"), filepath.Join(dir, "token")
	if err := os.WriteFile(tokenFile, []byte(token), 0o600); err != nil {
		return nil, err
	}
	begun := time.Now()
	have, err := preload(ctx, path, o.preload, o.Agents)
	if err != nil {
		return nil, err
	}
	note("%d departures stored in %.1f s", o.preload, time.Since(begun).Seconds())
	g, err := start(o.shape)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, g.close()) }()
	resetPeak()
	b := &bench{options: o, generator: g, results: r, path: path, token: tokenFile}
	if b.subject, err = run(ctx, g, path, tokenFile); err != nil {
		return nil, err
	}
	defer func() {
		if b.subject != nil {
			end, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			err = errors.Join(err, b.subject.stop(end))
		}
	}()
	for _, step := range []func(context.Context) error{b.connect, b.steady, b.catchUp} {
		if err := step(ctx); err != nil {
			return r, err
		}
	}
	if o.pause > 0 {
		if err := b.look(ctx, have); err != nil {
			return r, err
		}
	}
	return r, b.check(ctx)
}

func note(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
