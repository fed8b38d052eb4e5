//go:build linux

// Command overhead measures what the agent costs: kube-proxy's syncs with and without it in paired runs, the CPU and
// memory of both, memory by size of cluster, the API server's share of the watches, and what grows over hours.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/lastcall-k8s/lastcall/internal/benchresult"
	"github.com/lastcall-k8s/lastcall/internal/nodeagent"
	"github.com/lastcall-k8s/lastcall/internal/testbed"
)

type options struct {
	measure  string
	services []int
	sizes    []int
	watchers []int
	modes    []testbed.NodeSpec
	pairs    int
	run      time.Duration
	rate     float64
	changing int
	version  string
	variants []string
	out      string
	add      bool
}

// parts are what can be measured, each with a result file and a section of RESULTS.md of its own.
var parts = []struct {
	name    string
	measure func(context.Context, *suite) (result, error)
	render  func(dir string) error
}{
	{"pairs", measurePairs, renderPairs},
	{"memory", measureMemory, renderMemory},
	{"apiserver", measureAPIServer, renderAPIServer},
	{"soak", measureSoak, renderSoak},
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == watchCommand {
		if err := watchMain(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "overhead: watchers:", err)
			os.Exit(1)
		}
		return
	}
	var o options
	services := flag.String("services", "1000,10000", "numbers of Services, of 10 endpoints each: pairs; the largest: apiserver, soak")
	sizes := flag.String("sizes", "1000,2000,5000,10000,20000,50000,100000", "numbers of endpoints: memory")
	watchers := flag.String("watchers", "100,1000,3000", "numbers of nodes that watch: apiserver")
	variants := flag.String("variants", "", "flags of the agent to compare with no agent, separated by commas, such as \",--subscribe\": pairs")
	modes := flag.String("modes", "nftables,iptables-nft,iptables-legacy", "kube-proxy's modes; memory and apiserver take the first")
	flag.StringVar(&o.measure, "measure", "pairs", "what to measure, separated by commas: pairs, memory, apiserver, soak")
	flag.IntVar(&o.pairs, "pairs", 10, "paired runs for each mode, number of Services and variant")
	flag.DurationVar(&o.run, "run", 15*time.Second, "length of one run of a pair, of one measurement of apiserver, of the whole soak")
	flag.Float64Var(&o.rate, "departures", 10, "departures a second")
	flag.IntVar(&o.changing, "changing", 50, "Services over which they are spread")
	flag.StringVar(&o.version, "kubernetes-version", testbed.DefaultVersion, "of the testbed")
	flag.StringVar(&o.out, "out", "bench/results", "where the JSON goes; \"\" for nowhere")
	flag.BoolVar(&o.add, "add", false, "keep what the newest result has of pairs that this run does not make, for a machine that is to be had for an hour only")
	onlyRender := flag.Bool("render", false, "only render bench/RESULTS.md from the JSON files")
	flag.Parse()
	o.variants = strings.Split(*variants, ",")
	var errs []error
	for _, l := range []struct {
		flag, text string
		to         *[]int
	}{{"services", *services, &o.services}, {"sizes", *sizes, &o.sizes}, {"watchers", *watchers, &o.watchers}} {
		for _, s := range strings.Split(l.text, ",") {
			n, err := strconv.Atoi(s)
			if err != nil || n < 1 {
				errs = append(errs, fmt.Errorf("-%s: %q is no number above 0", l.flag, s))
			}
			*l.to = append(*l.to, n)
		}
	}
	var err error
	o.modes, err = testbed.ParseNodes(*modes)
	errs = append(errs, err)
	if len(o.sizes) < 3 || slices.Min(o.sizes) <= 10*o.changing {
		errs = append(errs, fmt.Errorf("-sizes: a slope with an error takes three at least, of more than the %d endpoints of -changing", 10*o.changing))
	}
	if o.pairs < 2 || o.rate <= 0 || o.changing < 1 || o.changing > 250 {
		errs = append(errs, errors.New("-pairs: at least 2; -departures: above 0; -changing: 1 to 250"))
	}
	if err := errors.Join(errs...); err != nil {
		fmt.Fprintln(os.Stderr, "overhead:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if *onlyRender {
		err = render(o.out)
	} else {
		err = run(ctx, o)
	}
	if err != nil {
		stop()
		fmt.Fprintln(os.Stderr, "overhead:", err)
		os.Exit(1)
	}
}

func render(dir string) error {
	var errs []error
	for _, p := range parts {
		errs = append(errs, p.render(dir))
	}
	return errors.Join(errs...)
}

// result is what a part measured.
type result interface {
	// print shows it to who waits for it.
	print() error
}

// suite is what all parts share.
type suite struct {
	options
	cluster *testbed.Cluster
	binary  string // the agent
	dir     string // for logs
	about   benchresult.Run
}

func run(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp("", "lastcall-overhead-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	binary, err := nodeagent.Build(ctx, dir)
	if err != nil {
		return err
	}
	for _, name := range strings.Split(o.measure, ",") {
		found := false
		for _, p := range parts {
			if p.name == name {
				found = true
				s := &suite{options: o, binary: binary, dir: dir}
				if err := s.part(ctx, p.name, p.measure, p.render); err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
			}
		}
		if !found {
			return fmt.Errorf("-measure %q: must be pairs, memory, apiserver or soak", name)
		}
	}
	return nil
}

// part measures on a cluster of its own: what one leaves behind is no part of the next.
func (s *suite) part(ctx context.Context, name string, measure func(context.Context, *suite) (result, error), render func(string) error) error {
	s.about = benchresult.Describe(strings.TrimSpace("go run ./bench/overhead " + strings.Join(os.Args[1:], " ")))
	s.about.Versions["kubernetes"] = s.version
	nodes := s.modes
	if name == "memory" || name == "apiserver" {
		nodes = nodes[:1]
	}
	spec := testbed.Spec{Name: "lastcall-overhead", Version: s.version, Nodes: nodes,
		KubeProxy: []string{"nftables.minSyncPeriod=50ms", "iptables.minSyncPeriod=50ms"}}
	var r result
	err := testbed.Run(ctx, spec, os.Stderr, func(c *testbed.Cluster) (err error) {
		s.cluster = c
		r, err = measure(ctx, s)
		return err
	})
	if err != nil {
		return err
	}
	if s.out != "" {
		file := name
		if name == "pairs" {
			file = "overhead"
		}
		if err := errors.Join(benchresult.Write(s.out, file, s.about.Date, r), render(s.out)); err != nil {
			return err
		}
	}
	return r.print()
}

// agent starts the agent on a node; its log is thrown away with the directory.
func (s *suite) agent(ctx context.Context, node string, args ...string) (*nodeagent.Agent, error) {
	log, err := os.Create(filepath.Join(s.dir, "agent-"+node+".log"))
	if err != nil {
		return nil, err
	}
	defer log.Close() // the process has its own copy
	a, err := nodeagent.Start(ctx, s.cluster, s.binary, node, log, args...)
	if err != nil {
		said, _ := os.ReadFile(log.Name())
		return nil, fmt.Errorf("%w\n%s", err, said)
	}
	return a, nil
}
