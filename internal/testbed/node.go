//go:build linux

package testbed

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Node is one node of a running cluster.
type Node struct {
	Name    string
	Mode    Mode
	Version string // of its kube-proxy
	PodCIDR string
	IP      string
	Thin    bool

	PodCIDR6, IP6 string // of a dual-stack cluster, else ""

	NetnsPath string // its network namespace, good for setns and netns.GetFromPath
	Root      string // its file system from outside: /run, /var and /proc are its own
	Logs      string // directory of its logs
}

// plan lists the nodes of a spec, without what only a running cluster has.
func (s Spec) plan() []Node {
	var nodes []Node
	add := func(specs []NodeSpec, prefix string, thin bool) {
		for i, spec := range specs {
			version := spec.Version
			if version == "" {
				version = s.Version
			}
			n := Node{
				Name: prefix + strconv.Itoa(i+1), Mode: spec.Mode, Version: version, Thin: thin,
				PodCIDR: podCIDR(i+1, thin), IP: nodeAddress(i+1, thin),
			}
			if s.DualStack {
				n.PodCIDR6, n.IP6 = podCIDR6(i+1, thin), nodeAddress6(i+1, thin)
			}
			nodes = append(nodes, n)
		}
	}
	add(s.Nodes, "node-", false)
	add(s.Thin, "thin-", true)
	return nodes
}

// services lists what must run on a node.
func (n Node) services() []string {
	if n.Thin {
		return []string{"kube-proxy"}
	}
	return []string{"containerd", "kubelet", "kube-proxy"}
}

// prepare writes a node's configuration files.
func (c *Cluster) prepare(n Node) error {
	m := c.machines[n.Name]
	if err := linkIPTables(filepath.Join(m.dir, "bin"), n.Mode); err != nil {
		return err
	}
	if n.Thin {
		return nil
	}
	if err := c.Spec.makeCgroups(n.Name); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(m.dir, "cni"), 0o755); err != nil {
		return err
	}
	kubelet, err := json.MarshalIndent(c.kubeletConfig(n), "", "  ")
	if err != nil {
		return err
	}
	for name, text := range map[string]string{
		"containerd.toml":     containerdConfig(m.dir),
		"kubelet.json":        string(kubelet),
		"cni/10-ptp.conflist": cniConfig(n),
	} {
		if err := os.WriteFile(filepath.Join(m.dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// linkIPTables makes dir, first on the node's PATH, say which iptables this
// node has: kube-proxy and the kubelet just call "iptables".
func linkIPTables(dir string, mode Mode) error {
	target := lookPath(mode.xtables())
	for _, family := range []string{"iptables", "ip6tables"} {
		for _, suffix := range []string{"", "-save", "-restore"} {
			link := filepath.Join(dir, family+suffix)
			os.Remove(link)
			if err := os.Symlink(target, link); err != nil {
				return err
			}
		}
	}
	return nil
}

// containerdConfig: every path is the usual one, because /run and /var are the
// node's own. restrict_oom_score_adj: without it, where CAP_SYS_RESOURCE is
// missing, every sandbox fails with "can't get final child's PID from pipe".
// native: needs nothing of the kernel or the file system below.
func containerdConfig(dir string) string {
	return fmt.Sprintf(`version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.tracing.processor.v1.otlp"]
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = %q
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = %q
    conf_dir = %q
`, PauseImage, cniDir(), filepath.Join(dir, "cni"))
}

func cniConfig(n Node) string {
	ranges, routes := fmt.Sprintf(`[{"subnet": %q}]`, n.PodCIDR), `{"dst": "0.0.0.0/0"}`
	if n.PodCIDR6 != "" {
		ranges += fmt.Sprintf(`, [{"subnet": %q}]`, n.PodCIDR6)
		routes += `, {"dst": "::/0"}`
	}
	return fmt.Sprintf(`{
  "cniVersion": "0.4.0",
  "name": "testbed",
  "plugins": [{
    "type": "ptp",
    "ipMasq": false,
    "ipam": {"type": "host-local", "ranges": [%s], "routes": [%s], "dataDir": "/var/lib/cni"}
  }]
}
`, ranges, routes)
}

// kubeletConfig is a KubeletConfiguration.
func (c *Cluster) kubeletConfig(n Node) map[string]any {
	config := map[string]any{
		"apiVersion": "kubelet.config.k8s.io/v1beta1",
		"kind":       "KubeletConfiguration",
		"authentication": map[string]any{
			"anonymous": map[string]any{"enabled": false},
			"webhook":   map[string]any{"enabled": true},
			"x509":      map[string]any{"clientCAFile": c.pki() + "/ca.crt"},
		},
		"authorization":     map[string]any{"mode": "Webhook"},
		"tlsCertFile":       c.pki() + "/" + n.Name + ".crt",
		"tlsPrivateKeyFile": c.pki() + "/" + n.Name + ".key",

		"containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
		"resolvConf":               "",
		"podLogsDir":               "/var/log/pods",
		"volumePluginDir":          "/var/lib/kubelet/volume-plugins", // the default is in /usr, which is the machine's

		// All pods under a cgroup of the cluster's own, so that down finds them.
		// (Without QoS levels the kubelet ignores cgroupRoot and containerd
		// puts everything under /k8s.io.)
		"cgroupRoot":             c.Spec.cgroupParent() + "/" + n.Name,
		"cgroupDriver":           "cgroupfs",
		"cgroupsPerQOS":          true,
		"enforceNodeAllocatable": []string{},
		"failCgroupV1":           false, // some machines have nothing else

		"failSwapOn":                    false,
		"oomScoreAdj":                   0,
		"localStorageCapacityIsolation": false,
		"evictionHard":                  map[string]string{"memory.available": "1Mi"},
		"imageGCHighThresholdPercent":   100,
		"registryPullQPS":               0,
		"eventRecordQPS":                0,
		"kubeAPIQPS":                    200,
		"kubeAPIBurst":                  400,
	}
	if _, ok := c.Spec.has("coredns"); ok {
		config["clusterDNS"], config["clusterDomain"] = []string{dnsIP}, clusterDomain
	}
	return config
}

func (c *Cluster) kubelet(n Node) command {
	m := c.machines[n.Name]
	return command{name: "kubelet", args: []string{c.component("kubelet"),
		"--config=" + filepath.Join(m.dir, "kubelet.json"),
		"--kubeconfig=" + c.identityKubeconfig(n.Name),
		"--hostname-override=" + n.Name, "--node-ip=" + c.Spec.joined(n.IP, n.IP6),
		c.verbosity(),
	}}
}

// startRuntime starts containerd and loads the images; it needs no API server.
func (c *Cluster) startRuntime(ctx context.Context, n Node, images []Image) error {
	m := c.machines[n.Name]
	err := m.start(ctx, command{name: "containerd", args: []string{lookPath("containerd"), "--config", filepath.Join(m.dir, "containerd.toml"), "--log-level", "warn"}})
	if err != nil {
		return err
	}
	socket := filepath.Join(m.root(), "run/containerd/containerd.sock")
	err = waitFor(ctx, "containerd on "+n.Name, 30*time.Second, func(context.Context) error {
		_, err := os.Stat(socket)
		return err
	}, func() error { return m.broken(ctx, []string{"containerd"}) })
	if err != nil {
		return err
	}
	for _, image := range images {
		if err := c.loadImage(ctx, n, image); err != nil {
			return err
		}
	}
	return nil
}

// LoadImage makes an image available on every node that runs containers.
func (c *Cluster) LoadImage(ctx context.Context, image Image) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, n := range c.Nodes {
		if !n.Thin {
			group.Go(func() error { return c.loadImage(ctx, n, image) })
		}
	}
	return group.Wait()
}

func (c *Cluster) loadImage(ctx context.Context, n Node, image Image) error {
	archive, err := os.CreateTemp(c.machines[n.Name].dir, "image-*.tar")
	if err != nil {
		return err
	}
	archive.Close()
	defer os.Remove(archive.Name())
	if err := image.write(archive.Name()); err != nil {
		return err
	}
	if err := c.importImage(ctx, n, archive.Name()); err != nil {
		return fmt.Errorf("loading image %s: %w", image.Name, err)
	}
	return nil
}

// LoadArchive makes the images of a tar archive, as docker save writes it,
// available on every node that runs containers.
func (c *Cluster) LoadArchive(ctx context.Context, path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	// A copy where the nodes can see it: their /tmp and /var are their own.
	archive := filepath.Join(c.dir, "image.tar")
	if err := os.WriteFile(archive, text, 0o644); err != nil {
		return err
	}
	defer os.Remove(archive)
	group, ctx := errgroup.WithContext(ctx)
	for _, n := range c.Nodes {
		if !n.Thin {
			group.Go(func() error { return c.importImage(ctx, n, archive) })
		}
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("loading images of %s: %w", path, err)
	}
	return nil
}

func (c *Cluster) importImage(ctx context.Context, n Node, archive string) error {
	_, err := c.machines[n.Name].run(ctx, command{
		name: "import-" + filepath.Base(archive),
		args: []string{lookPath("ctr"), "-n", "k8s.io", "images", "import", "--snapshotter", "native", archive},
	})
	return err
}

// nodeReady asks the API server.
func (c *Cluster) nodeReady(ctx context.Context, n Node) error {
	node, err := c.client.CoreV1().Nodes().Get(ctx, n.Name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	for _, cond := range node.Status.Conditions {
		if cond.Type == corev1.NodeReady {
			if cond.Status == corev1.ConditionTrue {
				return nil
			}
			return fmt.Errorf("not ready: %s", cond.Message)
		}
	}
	return fmt.Errorf("the kubelet has not reported yet")
}
