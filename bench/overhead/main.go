//go:build linux

// Command overhead measures what the agent costs beside kube-proxy: kube-proxy's syncs with and without it in
// paired runs, and the CPU and memory of both.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lastcall-k8s/lastcall/internal/benchresult"
	"github.com/lastcall-k8s/lastcall/internal/handmade"
	"github.com/lastcall-k8s/lastcall/internal/nodeagent"
	"github.com/lastcall-k8s/lastcall/internal/scrape"
	"github.com/lastcall-k8s/lastcall/internal/testbed"
)

type options struct {
	services  []int
	pairs     int
	run       time.Duration
	pause     time.Duration
	version   string
	variants  []string
	out       string
	render    bool
	modesFlag string
}

func main() {
	var o options
	services := flag.String("services", "1000", "numbers of Services, of 10 endpoints each")
	variants := flag.String("variants", ",--subscribe", "flags of the agent to compare with no agent, separated by commas")
	flag.StringVar(&o.modesFlag, "modes", "nftables,iptables-nft", "kube-proxy's modes")
	flag.IntVar(&o.pairs, "pairs", 10, "paired runs for each mode, number of Services and variant")
	flag.DurationVar(&o.run, "run", 10*time.Second, "length of one run")
	flag.DurationVar(&o.pause, "pause", 400*time.Millisecond, "time between two changes of a slice")
	flag.StringVar(&o.version, "kubernetes-version", testbed.DefaultVersion, "of the testbed")
	flag.StringVar(&o.out, "out", "bench/results", "where the JSON goes; \"\" for nowhere")
	flag.BoolVar(&o.render, "render", false, "only render bench/RESULTS.md from the JSON files")
	flag.Parse()
	o.variants = strings.Split(*variants, ",")
	for _, s := range strings.Split(*services, ",") {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			fmt.Fprintf(os.Stderr, "overhead: -services: %q is no number of Services\n", s)
			os.Exit(2)
		}
		o.services = append(o.services, n)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		stop()
		fmt.Fprintln(os.Stderr, "overhead:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) (err error) {
	if o.render {
		return render(o.out)
	}
	nodes, err := testbed.ParseNodes(o.modesFlag)
	if err != nil {
		return err
	}
	c, err := testbed.Up(ctx, testbed.Spec{Name: "lastcall-overhead", Version: o.version, Nodes: nodes,
		KubeProxy: []string{"nftables.minSyncPeriod=50ms", "iptables.minSyncPeriod=50ms"}}, os.Stderr)
	if err != nil {
		return err
	}
	defer func() {
		end, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		err = errors.Join(err, c.Down(end))
	}()
	dir, err := os.MkdirTemp("", "lastcall-overhead-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	binary, err := nodeagent.Build(ctx, dir)
	if err != nil {
		return err
	}
	r := &results{Run: benchresult.Describe("go run ./bench/overhead " + strings.Join(os.Args[1:], " "))}
	if len(os.Args) == 1 {
		r.Command = "make overhead"
	}
	r.Versions["kubernetes"] = o.version
	r.Pause = o.pause.String()
	for _, n := range o.services {
		if err := c.Load(ctx, testbed.LoadSpec{Services: n, Endpoints: 10}, os.Stderr); err != nil {
			return err
		}
		for _, node := range c.Nodes {
			// The others would take the processor away in turn.
			for _, other := range c.Nodes {
				if other.Name != node.Name {
					if err := c.StopKubeProxy(ctx, other.Name); err != nil {
						return err
					}
				}
			}
			for _, v := range o.variants {
				b := &bench{options: o, cluster: c, node: node, binary: binary, log: filepath.Join(dir, "agent.log")}
				f, err := b.compare(ctx, n, strings.Fields(v))
				if err != nil {
					return fmt.Errorf("%s, %d Services: %w", node.Mode, n, err)
				}
				r.Figures = append(r.Figures, f)
			}
			for _, other := range c.Nodes {
				if other.Name != node.Name {
					if err := c.StartKubeProxy(ctx, other.Name); err != nil {
						return err
					}
				}
			}
		}
	}
	if o.out != "" {
		if err := errors.Join(benchresult.Write(o.out, "overhead", r.Date, r), render(o.out)); err != nil {
			return err
		}
	}
	return r.print(os.Stdout)
}

// bench compares on one node.
type bench struct {
	options
	cluster *testbed.Cluster
	node    testbed.Node
	binary  string
	log     string
	slice   *discoveryv1.EndpointSlice
	flips   int
}

// sample is one run.
type sample struct {
	sync           float64 // mean duration of kube-proxy's syncs, seconds
	syncs          uint64
	proxyCPU       float64 // seconds of kube-proxy and the programs it ran
	agentCPU       float64
	agentRSS, prox int    // KiB at the end
	landed, tight  uint64 // removals that landed, and those with a slop of at most 5 ms
}

// compare makes paired runs, the order within a pair changing each time.
func (b *bench) compare(ctx context.Context, services int, args []string) (figures, error) {
	f := figures{Mode: string(b.node.Mode), Services: services, Agent: strings.Join(args, " "), Pairs: b.pairs, Run: b.run.String()}
	const namespace = "overhead"
	name := "flip-" + b.node.Name
	if _, err := handmade.Service(ctx, b.cluster.Client(), namespace, name, nil); err != nil {
		return f, err
	}
	var err error
	if b.slice, err = handmade.Slice(ctx, b.cluster.Client(), namespace, name); err != nil {
		return f, err
	}
	if err := scrape.Quiet(ctx, b.cluster, b.node.Name); err != nil {
		return f, err
	}
	var with, without []sample
	for i := range b.pairs {
		for _, agent := range []bool{i%2 == 0, i%2 != 0} {
			s, err := b.once(ctx, agent, args)
			if err != nil {
				return f, err
			}
			if agent {
				with = append(with, s)
			} else {
				without = append(without, s)
			}
		}
		fmt.Fprintf(os.Stderr, "%s, %d Services, %q: pair %d: sync %.2f ms without, %.2f ms with\n", b.node.Mode, services, f.Agent, i+1,
			1000*without[i].sync, 1000*with[i].sync)
	}
	f.fill(with, without)
	return f, nil
}

// once churns for a while, with or without the agent.
func (b *bench) once(ctx context.Context, agent bool, args []string) (s sample, err error) {
	var a *nodeagent.Agent
	if agent {
		log, err := os.Create(b.log)
		if err != nil {
			return s, err
		}
		defer log.Close()
		if a, err = nodeagent.Start(ctx, b.cluster, b.binary, b.node.Name, log, args...); err != nil {
			return s, err
		}
		defer func() { err = errors.Join(err, a.Stop()) }()
	}
	kp, err := b.cluster.KubeProxy(b.node.Name)
	if err != nil {
		return s, err
	}
	if err := b.churn(ctx, 2*time.Second); err != nil { // warm
		return s, err
	}
	before, err := scrape.Families(ctx, b.cluster, b.node.Name, scrape.KubeProxy)
	if err != nil {
		return s, err
	}
	proxyCPU, agentCPU := cpu(kp.Pid), 0.0
	if a != nil {
		agentCPU = cpu(a.Pid())
	}
	if err := b.churn(ctx, b.run); err != nil {
		return s, err
	}
	after, err := scrape.Families(ctx, b.cluster, b.node.Name, scrape.KubeProxy)
	if err != nil {
		return s, err
	}
	const metric = "kubeproxy_sync_partial_proxy_rules_duration_seconds"
	n0, sum0 := scrape.Histogram(before[metric])
	n1, sum1 := scrape.Histogram(after[metric])
	if n1 == n0 {
		return s, fmt.Errorf("kube-proxy made no partial sync in %v of churn", b.run)
	}
	s = sample{syncs: n1 - n0, sync: (sum1 - sum0) / float64(n1-n0), proxyCPU: cpu(kp.Pid) - proxyCPU, prox: rss(kp.Pid)}
	if a != nil {
		s.agentCPU, s.agentRSS = cpu(a.Pid())-agentCPU, rss(a.Pid())
		own, err := scrape.Families(ctx, b.cluster, b.node.Name, "http://127.0.0.1:9747/metrics")
		if err != nil {
			return s, err
		}
		for _, m := range own["lastcall_removal_uncertainty_seconds"].GetMetric() {
			s.landed += m.GetHistogram().GetSampleCount()
			for _, bucket := range m.GetHistogram().GetBucket() {
				if bucket.GetUpperBound() == .005 {
					s.tight += bucket.GetCumulativeCount()
				}
			}
		}
	}
	return s, nil
}

var addresses = []netip.Addr{netip.MustParseAddr("10.251.0.1"), netip.MustParseAddr("10.251.0.2")}

// churn removes an endpoint and puts it back, again and again.
func (b *bench) churn(ctx context.Context, d time.Duration) error {
	updates := b.cluster.Client().DiscoveryV1().EndpointSlices("overhead")
	end := time.After(d)
	tick := time.NewTicker(b.pause)
	defer tick.Stop()
	for {
		b.flips++
		uid := fmt.Sprintf("%s-%d", b.node.Name, b.flips/2)
		b.slice.Endpoints = []discoveryv1.Endpoint{handmade.Endpoint(addresses[0], "stays"), handmade.Endpoint(addresses[1], uid)}
		if b.flips%2 == 1 {
			b.slice.Endpoints[1].Conditions = handmade.Terminating()
		}
		if _, err := updates.Update(ctx, b.slice, metav1.UpdateOptions{}); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-end:
			return nil
		case <-tick.C:
		}
	}
}

// cpu is the processor time of a process and the children it has waited for, in seconds
// (proc_pid_stat(5): utime, stime, cutime, cstime; in clock ticks of 10 ms).
func cpu(pid int) float64 {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	ticks := 0
	for _, f := range fields[11:15] {
		n, _ := strconv.Atoi(f)
		ticks += n
	}
	return float64(ticks) / 100
}

// rss is the peak resident size of a process in KiB.
func rss(pid int) int {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(status))
	if i := slices.Index(fields, "VmHWM:"); i >= 0 {
		n, _ := strconv.Atoi(fields[i+1])
		return n
	}
	return 0
}
