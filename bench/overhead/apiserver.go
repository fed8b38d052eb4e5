//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lastcall-k8s/lastcall/internal/benchresult"
	"github.com/lastcall-k8s/lastcall/internal/scrape"
	"github.com/lastcall-k8s/lastcall/internal/testbed"
)

// windows is into how many parts a measurement is cut, for an interval.
const windows = 5

// serverLoad is what so many nodes cost the API server in a steady state.
type serverLoad struct {
	Nodes  int    `json:"nodes"`
	Who    string `json:"who"` // "kube-proxy", or "kube-proxy and agent"
	Opened string `json:"opened_in"`

	Sent        estimate `json:"sent_bytes_per_second"` // received by the watchers, TLS included
	CPU         estimate `json:"api_server_cpu_percent"`
	WatchersCPU float64  `json:"watchers_cpu_percent"`
	RSS         float64  `json:"api_server_rss_mib"`
	// Cut are watches that the API server ended because their reader was too slow for it (its cacher's forced closing):
	// a sign that the machine is too small. They are not opened again.
	Cut     int64   `json:"watches_cut"`
	Changes float64 `json:"changes_per_second"` // of slices: as many as there was time for
	// For one change: what stays comparable where the API server could not keep up.
	SentEach float64 `json:"sent_bytes_per_change"`
	CPUEach  float64 `json:"api_server_cpu_ms_per_change"`
}

type serverResults struct {
	benchresult.Run
	Services int          `json:"services"`
	Rate     float64      `json:"departures_per_second"`
	For      string       `json:"measured_for"`
	Loads    []serverLoad `json:"loads"`
}

// measureAPIServer opens watches like those of so many kube-proxies, measures, opens those of as many agents, and
// measures again.
func measureAPIServer(ctx context.Context, s *suite) (result, error) {
	r := &serverResults{Run: s.about, Services: maxOf(s.services), Rate: s.rate, For: s.options.run.String()}
	c, err := newChurn(ctx, s.cluster.Client(), s.changing, s.rate)
	if err != nil {
		return nil, err
	}
	node := s.cluster.Nodes[0].Name
	if err := scrape.Quiet(ctx, s.cluster, node); err != nil {
		return nil, err
	}
	if err := s.cluster.StopKubeProxy(ctx, node); err != nil { // it would take the processor
		return nil, err
	}
	if err := s.cluster.Load(ctx, testbed.LoadSpec{Services: r.Services, Endpoints: 10}, os.Stderr); err != nil {
		return nil, err
	}
	for _, n := range s.watchers {
		loads, err := s.serverLoads(ctx, c, n)
		r.Loads = append(r.Loads, loads...)
		if err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (s *suite) serverLoads(ctx context.Context, c *churn, n int) (loads []serverLoad, err error) {
	var open []*watchers
	defer func() {
		for _, w := range open {
			w.stop()
		}
	}()
	for _, who := range []string{"kube-proxy", "agent"} {
		slices, err := s.cluster.Client().DiscoveryV1().EndpointSlices(churnNamespace).List(ctx, metav1.ListOptions{Limit: 1})
		if err != nil {
			return loads, err
		}
		begun := time.Now()
		w, err := startWatchers(s.cluster, who, n, slices.ResourceVersion)
		if err != nil {
			return loads, err
		}
		open = append(open, w)
		l := serverLoad{Nodes: n, Who: who, Opened: span(time.Since(begun))}
		if len(open) > 1 {
			l.Who = "kube-proxy and agent"
		}
		if err := c.during(ctx, 3*time.Second); err != nil { // warm
			return loads, err
		}
		if err := l.measure(ctx, s, c, open); err != nil {
			return loads, err
		}
		fmt.Fprintf(os.Stderr, "%d x %s: %.2f MB/s, API server %.1f %% of a core, watchers %.1f %%\n", n, l.Who, l.Sent.Value/1e6, l.CPU.Value, l.WatchersCPU)
		loads = append(loads, l)
	}
	return loads, nil
}

func (l *serverLoad) measure(ctx context.Context, s *suite, c *churn, open []*watchers) error {
	server, err := s.cluster.Service("control-plane", "kube-apiserver")
	if err != nil {
		return err
	}
	read := func() (bytes int64, own float64, err error) {
		l.Cut = 0
		for _, w := range open {
			n, err := w.read()
			if err != nil {
				return 0, 0, err
			}
			bytes += n.Bytes
			l.Cut += n.Ended
			own += cpu(w.cmd.Process.Pid)
		}
		return bytes, own, nil
	}
	var sent, load []float64
	turn, begun := c.turn, time.Now()
	b0, own0, err := read()
	if err != nil {
		return err
	}
	cpu0, t0, own1 := cpu(server.Pid), time.Now(), own0
	for range windows {
		if err := c.during(ctx, s.options.run/windows); err != nil {
			return err
		}
		b1, own, err := read()
		if err != nil {
			return err
		}
		cpu1, t1 := cpu(server.Pid), time.Now()
		d := t1.Sub(t0).Seconds()
		sent, load = append(sent, float64(b1-b0)/d), append(load, 100*(cpu1-cpu0)/d)
		b0, cpu0, t0, own1 = b1, cpu1, t1, own
	}
	total := time.Since(begun).Seconds()
	l.Sent, l.CPU = mean(sent), mean(load)
	l.WatchersCPU, l.RSS = 100*(own1-own0)/total, memoryOf(server.Pid).RSS
	l.Changes = float64(c.turn-turn) / total
	if l.Changes > 0 {
		l.SentEach, l.CPUEach = l.Sent.Value/l.Changes, 10*l.CPU.Value/l.Changes
	}
	return nil
}

func (r *serverResults) rows() [][]string {
	rows := [][]string{{"nodes", "watch like", "sent to watchers", "API server's CPU, of one core", "its RSS", "watchers' CPU", "slices changed/s", "sent for each", "API server's CPU for each", "watches cut"}}
	for _, l := range r.Loads {
		rows = append(rows, []string{fmt.Sprint(l.Nodes), l.Who, fmt.Sprintf("%.2f MB/s (%.2f to %.2f)", l.Sent.Value/1e6, l.Sent.Low/1e6, l.Sent.High/1e6),
			fmt.Sprintf("%.1f %% (%.1f to %.1f)", l.CPU.Value, l.CPU.Low, l.CPU.High), fmt.Sprintf("%.0f MiB", l.RSS),
			fmt.Sprintf("%.1f %%", l.WatchersCPU), fmt.Sprintf("%.1f", l.Changes), fmt.Sprintf("%.0f kB", l.SentEach/1e3), fmt.Sprintf("%.1f ms", l.CPUEach), fmt.Sprint(l.Cut)})
	}
	return rows
}

func (r *serverResults) print() error { return printTable(r.rows()) }

func renderAPIServer(dir string) error {
	var r serverResults
	return renderPart(dir, "apiserver", &r, &r.Run, func() string {
		return fmt.Sprintf("%d Services of 10 endpoints, %.0f departures a second (two slice updates each), %s a row in %d windows.", r.Services, r.Rate, r.For, windows)
	}, r.rows)
}

func maxOf(xs []int) (most int) {
	for _, x := range xs {
		most = max(most, x)
	}
	return most
}
