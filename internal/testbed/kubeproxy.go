//go:build linux

package testbed

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// kubeProxyConfig is a KubeProxyConfiguration. A file and not flags, like real
// clusters do it, because flags reach only some of it: nothing of nftables.
func (c *Cluster) kubeProxyConfig(n Node, more []string) (map[string]any, error) {
	config := map[string]any{
		"apiVersion":       "kubeproxy.config.k8s.io/v1alpha1",
		"kind":             "KubeProxyConfiguration",
		"mode":             n.Mode.proxyMode(),
		"hostnameOverride": n.Name,
		"clusterCIDR":      c.Spec.joined(clusterCIDR, clusterCIDR6),
		"clientConnection": map[string]any{"kubeconfig": c.identityKubeconfig("kube-proxy")},
		// 0 leaves sysctls alone that a network namespace may not set.
		"conntrack": map[string]any{"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
	}
	if err := applySettings(config, c.Spec.KubeProxy); err != nil {
		return nil, err
	}
	return config, applySettings(config, more)
}

// applySettings puts values like "nftables.minSyncPeriod=10s" into a
// configuration. A value that is not JSON is a string.
func applySettings(config map[string]any, settings []string) error {
	for _, setting := range settings {
		path, text, ok := strings.Cut(setting, "=")
		if !ok || path == "" {
			return fmt.Errorf("kube-proxy setting %q: want FIELD=VALUE, like nftables.minSyncPeriod=10s", setting)
		}
		var value any
		if json.Unmarshal([]byte(text), &value) != nil {
			value = text
		}
		fields := strings.Split(path, ".")
		at := config
		for _, field := range fields[:len(fields)-1] {
			if _, exists := at[field]; !exists {
				at[field] = map[string]any{}
			}
			below, ok := at[field].(map[string]any)
			if !ok {
				return fmt.Errorf("kube-proxy setting %q: %s has no fields", setting, field)
			}
			at = below
		}
		at[fields[len(fields)-1]] = value
	}
	return nil
}

// startKubeProxy writes the file before the start: kube-proxy exits when its
// file changes under it.
func (c *Cluster) startKubeProxy(ctx context.Context, n Node, more []string) error {
	m := c.machines[n.Name]
	config, err := c.kubeProxyConfig(n, more)
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(config, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(m.dir, "kube-proxy.json")
	if err := os.WriteFile(path, text, 0o644); err != nil {
		return err
	}
	binary := componentPath(c.Spec.CacheDir, n.Version, "kube-proxy")
	return m.start(ctx, command{name: "kube-proxy", args: []string{binary, "--config=" + path, c.verbosity()}})
}

// KubeProxy finds a node's kube-proxy; its Pid can be sent SIGSTOP and SIGCONT.
func (c *Cluster) KubeProxy(node string) (Service, error) { return c.Service(node, "kube-proxy") }

// StopKubeProxy ends a node's kube-proxy. Its rules stay, as on a real node.
func (c *Cluster) StopKubeProxy(ctx context.Context, node string) error {
	n, err := c.Node(node)
	if err != nil {
		return err
	}
	return c.machines[n.Name].stop(ctx, "kube-proxy", 10*time.Second)
}

// StopKubeProxies ends those of all nodes, for measurements in which one at a time is to run.
func (c *Cluster) StopKubeProxies(ctx context.Context) error {
	for _, n := range c.Nodes {
		if err := c.StopKubeProxy(ctx, n.Name); err != nil {
			return err
		}
	}
	return nil
}

// StartKubeProxy starts it again and waits for its first sync. Settings, for
// this run only, are written like Spec.KubeProxy: "mode=iptables".
func (c *Cluster) StartKubeProxy(ctx context.Context, node string, settings ...string) error {
	n, err := c.Node(node)
	if err != nil {
		return err
	}
	if err := c.startKubeProxy(ctx, n, settings); err != nil {
		return err
	}
	return c.waitKubeProxy(ctx, n)
}

// waitKubeProxy waits long: with 10,000 Services the first sync takes minutes where others want the processor too.
func (c *Cluster) waitKubeProxy(ctx context.Context, n Node) error {
	m := c.machines[n.Name]
	return waitFor(ctx, "kube-proxy's first sync on "+n.Name, 5*time.Minute, func(ctx context.Context) error {
		return c.kubeProxySynced(ctx, n)
	}, func() error { return m.broken(ctx, []string{"kube-proxy"}) })
}

// kubeProxySynced looks for the time of kube-proxy's last sync. Its /healthz
// answers 200 before the first one.
func (c *Cluster) kubeProxySynced(ctx context.Context, n Node) error {
	text, err := c.kubeProxyMetrics(ctx, n)
	if err != nil {
		return err
	}
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "kubeproxy_sync_proxy_rules_last_timestamp_seconds") {
			continue
		}
		fields := strings.Fields(line)
		if at, err := strconv.ParseFloat(fields[len(fields)-1], 64); err == nil && at > 0 {
			return nil
		}
	}
	return fmt.Errorf("kube-proxy on %s has not synced yet", n.Name)
}

func (c *Cluster) kubeProxyMetrics(ctx context.Context, n Node) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	transport := &http.Transport{DialContext: netnsDialer(n.NetnsPath), DisableKeepAlives: true}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:10249/metrics", nil)
	if err != nil {
		return "", err
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return string(text), err
}
