//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/lastcall-k8s/lastcall/internal/benchresult"
	"github.com/lastcall-k8s/lastcall/internal/nodeagent"
	"github.com/lastcall-k8s/lastcall/internal/scrape"
	"github.com/lastcall-k8s/lastcall/internal/testbed"
)

// measurePairs compares kube-proxy's syncs with and without the agent, on one node after the other. One kube-proxy runs at a time: three
// of them on two cores take the processor away in turn, and make putting 10,000 Services there take half an hour.
func measurePairs(ctx context.Context, s *suite) (result, error) {
	r := &pairResults{Run: s.about, Rate: s.rate, Changing: s.changing}
	if s.add {
		var earlier pairResults
		if _, _, err := benchresult.Newest(s.out, "overhead", &earlier); err != nil {
			return nil, err
		}
		r.keep(earlier)
	}
	c, err := newChurn(ctx, s.cluster.Client(), s.changing, s.rate)
	if err != nil {
		return nil, err
	}
	if err := s.cluster.StopKubeProxies(ctx); err != nil {
		return nil, err
	}
	for _, n := range s.services {
		if err := s.cluster.Load(ctx, testbed.LoadSpec{Services: n, Endpoints: 10}, os.Stderr); err != nil {
			return nil, err
		}
		for _, node := range s.cluster.Nodes {
			b := &bench{suite: s, churn: c, node: node}
			if err := b.measure(ctx, n, r); err != nil {
				return nil, fmt.Errorf("%s, %d Services: %w", node.Mode, n, err)
			}
		}
	}
	return r, nil
}

// bench compares on one node.
type bench struct {
	*suite
	churn *churn
	node  testbed.Node
}

// measure compares with each variant of the agent, and takes the figures into r. What cannot be measured is named there, and the others
// are.
func (b *bench) measure(ctx context.Context, services int, r *pairResults) (err error) {
	unable := b.cluster.StartKubeProxy(ctx, b.node.Name)
	defer func() { err = errors.Join(err, b.cluster.StopKubeProxy(ctx, b.node.Name)) }()
	for _, v := range b.variants {
		f, err := figures{Mode: string(b.node.Mode), Services: services, Agent: v}, unable
		if err == nil {
			f, err = b.compare(ctx, services, strings.Fields(v))
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s, %d Services, %q: %v\n", b.node.Mode, services, v, err)
			f.Unmeasured = err.Error()
		}
		r.add(f)
	}
	return nil
}

// sample is one run.
type sample struct {
	sync       float64 // mean duration of kube-proxy's syncs, seconds
	syncs      uint64
	departures int
	proxyCPU   float64 // seconds of kube-proxy and the programs it ran
	agentCPU   float64
	agent      memory
	proxy      memory
	landed     uint64 // removals that landed, and those with a slop of at most 5 ms
	tight      uint64
}

// compare makes paired runs, the order within a pair changing each time.
func (b *bench) compare(ctx context.Context, services int, args []string) (figures, error) {
	f := figures{Mode: string(b.node.Mode), Services: services, Agent: strings.Join(args, " "), Run: b.options.run.String()}
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
	f.fill(with, without, b.options.run)
	return f, nil
}

// once churns for a while, with or without the agent.
func (b *bench) once(ctx context.Context, agent bool, args []string) (s sample, err error) {
	var a *nodeagent.Agent
	if agent {
		if a, err = b.agent(ctx, b.node.Name, args...); err != nil {
			return s, err
		}
		defer func() { err = errors.Join(err, a.Stop()) }()
	}
	kp, err := b.cluster.KubeProxy(b.node.Name)
	if err != nil {
		return s, err
	}
	if err := b.churn.during(ctx, 2*time.Second); err != nil { // warm
		return s, err
	}
	before, err := scrape.Families(ctx, b.cluster, b.node.Name, scrape.KubeProxy)
	if err != nil {
		return s, err
	}
	made, proxyCPU, agentCPU := b.churn.made, cpu(kp.Pid), 0.0
	if a != nil {
		agentCPU = cpu(a.Pid())
	}
	if err := b.churn.during(ctx, b.options.run); err != nil {
		return s, err
	}
	s.departures, s.proxyCPU, s.proxy = b.churn.made-made, cpu(kp.Pid)-proxyCPU, memoryOf(kp.Pid)
	if a != nil {
		s.agentCPU, s.agent = cpu(a.Pid())-agentCPU, memoryOf(a.Pid())
	}
	after, err := scrape.Families(ctx, b.cluster, b.node.Name, scrape.KubeProxy)
	if err != nil {
		return s, err
	}
	const metric = "kubeproxy_sync_partial_proxy_rules_duration_seconds"
	n0, sum0 := scrape.Histogram(before[metric])
	n1, sum1 := scrape.Histogram(after[metric])
	if n1 == n0 {
		return s, fmt.Errorf("kube-proxy made no partial sync in %v of churn", b.options.run)
	}
	s.syncs, s.sync = n1-n0, (sum1-sum0)/float64(n1-n0)
	if a != nil {
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
