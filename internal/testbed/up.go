//go:build linux

package testbed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Up brings a cluster up and returns when its nodes are ready and every
// kube-proxy has synced once. If one with the same spec already runs it is
// returned at once. If it fails, or ctx ends, it removes what it began.
func Up(ctx context.Context, spec Spec, progressTo io.Writer) (*Cluster, error) {
	p := newProgress(progressTo)
	spec, err := spec.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := checkHost(); err != nil {
		return nil, err
	}
	dir := filepath.Join(spec.Dir, spec.Name)
	release, err := lockFile(ctx, dir+".lock", true, func() { p.say("waiting for another up or down of %q", spec.Name) })
	if err != nil {
		return nil, err
	}
	defer release()
	if c, err := running(ctx, dir, spec); c != nil || err != nil {
		return c, err
	}
	if err := build(ctx, spec, p); err != nil {
		return nil, err
	}
	c, err := bringUp(ctx, spec, p)
	if _, none := os.Stat(statePath(dir)); err != nil && none != nil {
		return nil, err // before anything was begun
	}
	if err != nil {
		return nil, errors.Join(err, cleanUpAfter(ctx, dir, p))
	}
	return c, nil
}

// Build fills the cache with what Up would need, and does nothing else.
func Build(ctx context.Context, spec Spec, progressTo io.Writer) error {
	spec, err := spec.withDefaults()
	if err != nil {
		return err
	}
	p := newProgress(progressTo)
	if err := build(ctx, spec, p); err != nil {
		return err
	}
	for _, name := range []string{"holder", "pause", "server"} {
		if _, err := program(ctx, spec.CacheDir, name); err != nil {
			return err
		}
	}
	p.say("Kubernetes %s is in %s", spec.Version, spec.CacheDir)
	return nil
}

// running returns the cluster in dir if it is the one asked for and works.
// Neither cluster nor error means there is none.
func running(ctx context.Context, dir string, spec Spec) (*Cluster, error) {
	s, err := readState(dir)
	if errors.Is(err, ErrNotRunning) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	hint := "run `testbed down --name " + spec.Name + "` first"
	if !s.Complete {
		return nil, fmt.Errorf("cluster %q did not finish coming up: %s", spec.Name, hint)
	}
	c := newCluster(s)
	if err := c.healthy(ctx); err != nil {
		return nil, fmt.Errorf("cluster %q is broken: %w: %s", spec.Name, err, hint)
	}
	if !spec.sameCluster(s.Spec) {
		return nil, fmt.Errorf("cluster %q runs with another spec (%s): %s", spec.Name, s.Spec.summary(), hint)
	}
	return c, c.connect()
}

// sameCluster says whether running is what s asks for. It ignores what does
// not show in a running cluster, and a port that nobody asked for.
func (s Spec) sameCluster(running Spec) bool {
	s.CacheDir = running.CacheDir
	if s.Port == 0 {
		s.Port = running.Port
	}
	lists := slices.Equal(s.Nodes, running.Nodes) && slices.Equal(s.Thin, running.Thin) && slices.Equal(s.KubeProxy, running.KubeProxy) &&
		slices.Equal(s.With, running.With)
	s.Nodes, s.Thin, s.KubeProxy, s.With = nil, nil, nil, nil
	running.Nodes, running.Thin, running.KubeProxy, running.With = nil, nil, nil, nil
	return lists && reflect.DeepEqual(s, running)
}

func (s Spec) summary() string {
	text := fmt.Sprintf("%s, nodes %s", s.Version, FormatNodes(s.Nodes))
	if len(s.Thin) > 0 {
		text += ", thin " + FormatNodes(s.Thin)
	}
	if len(s.KubeProxy) > 0 {
		text += ", kube-proxy " + strings.Join(s.KubeProxy, " ")
	}
	if len(s.With) > 0 {
		text += ", with " + strings.Join(s.With, ", ")
	}
	return text
}

func cleanUpAfter(ctx context.Context, dir string, p *progress) error {
	if ctx.Err() != nil {
		p.say("interrupted: removing what was begun")
	} else if kept := keepLogs(dir); kept != "" {
		p.say("failed; logs are kept in %s", kept)
	}
	// The caller's context may be the reason we are here.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	if err := tearDown(ctx, dir, p); err != nil {
		return fmt.Errorf("cleaning up (run `testbed down` to try again): %w", err)
	}
	return nil
}

// keepLogs saves the logs of a cluster that failed to come up.
func keepLogs(dir string) string {
	s, err := readState(dir)
	if err != nil {
		return ""
	}
	kept, err := os.MkdirTemp("", "testbed-"+s.Spec.Name+"-logs-")
	if err != nil || newCluster(s).Logs(kept) != nil {
		return ""
	}
	return kept
}

func bringUp(ctx context.Context, spec Spec, p *progress) (*Cluster, error) {
	p.say("bringing up cluster %q: %s", spec.Name, spec.summary())
	holder, err := program(ctx, spec.CacheDir, "holder")
	if err != nil {
		return nil, err
	}
	images, err := baseImages(ctx, spec.CacheDir)
	if err != nil {
		return nil, err
	}
	door, err := listenForKubectl(spec.Port)
	if err != nil {
		return nil, err
	}
	defer door.Close()

	s := &state{Spec: spec, Boot: bootID(), Started: time.Now(), Port: localPort(door)}
	c := newCluster(s)
	if err := makeDir(c.dir); err != nil {
		return nil, err
	}
	if err := s.write(c.dir); err != nil {
		return nil, err
	}
	if err := c.startMachines(ctx, holder, door); err != nil {
		return nil, err
	}
	if err := errors.Join(c.wire(), c.writeIdentities(), c.connect()); err != nil {
		return nil, err
	}
	p.say("namespaces, links and certificates are made")
	if err := c.startEverything(ctx, images, p); err != nil {
		return nil, err
	}
	if err := c.startGuests(ctx, p); err != nil {
		return nil, err
	}
	s.Complete = true
	if err := s.write(c.dir); err != nil {
		return nil, err
	}
	p.say("cluster %q is up", spec.Name)
	return c, nil
}

// makeDir makes the cluster's directory. It refuses one with something in it:
// down will remove it with all it holds.
func makeDir(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	if len(entries) > 0 {
		return fmt.Errorf("%s is not empty and holds no cluster: choose another --dir or --name", dir)
	}
	return nil
}

// startMachines starts all holders; each is on record before it does anything.
func (c *Cluster) startMachines(ctx context.Context, holder string, door interface{ File() (*os.File, error) }) error {
	var mu sync.Mutex
	record := func(m *machine) error {
		mu.Lock()
		defer mu.Unlock()
		c.state.Machines = append(c.state.Machines, m)
		c.adopt(m)
		return c.state.write(c.dir)
	}
	doorFile, err := door.File()
	if err != nil {
		return err
	}
	defer doorFile.Close()
	config := func(name string) holderConfig {
		dir := filepath.Join(c.dir, name)
		return holderConfig{
			Hostname: name, Dir: dir, Socket: filepath.Join(dir, holderSocket),
			Keep: []string{c.dir, c.Spec.CacheDir},
			// Forwarding: nodes between pods; the control plane only so that
			// addresses nobody routes are refused, not swallowed.
			Sysctls: map[string]string{"net/ipv4/ip_forward": "1"},
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	group.Go(func() error {
		cfg := config(controlPlane)
		cfg.Forward = fmt.Sprintf("%s:%d", controlPlaneIP, apiServerPort)
		_, err := startMachine(ctx, holder, cfg, doorFile, record)
		return err
	})
	for _, n := range c.Nodes {
		group.Go(func() error {
			cfg := config(n.Name)
			cfg.Mask = kubeletSettings
			_, err := startMachine(ctx, holder, cfg, nil, record)
			return err
		})
	}
	return group.Wait()
}

// startEverything overlaps what can be: container runtimes load images while
// the API server starts, nodes start while controllers do.
func (c *Cluster) startEverything(ctx context.Context, images []Image, p *progress) error {
	apiReady := make(chan struct{})
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := c.startControlPlane(ctx, p); err != nil {
			return err
		}
		close(apiReady)
		return c.waitServiceAccount(ctx)
	})
	for _, n := range c.Nodes {
		group.Go(func() error {
			if err := c.prepare(n); err != nil {
				return err
			}
			if !n.Thin {
				if err := c.startRuntime(ctx, n, images); err != nil {
					return err
				}
			}
			select {
			case <-apiReady:
			case <-ctx.Done():
				return ctx.Err()
			}
			return c.startNode(ctx, n, p)
		})
	}
	return group.Wait()
}

func (c *Cluster) startNode(ctx context.Context, n Node, p *progress) error {
	m := c.machines[n.Name]
	if err := c.startKubeProxy(ctx, n, nil); err != nil {
		return err
	}
	if !n.Thin {
		if err := m.start(ctx, c.kubelet(n)); err != nil {
			return err
		}
	}
	err := waitFor(ctx, "node "+n.Name, 2*time.Minute, func(ctx context.Context) error {
		return c.nodeReady(ctx, n)
	}, func() error { return m.broken(ctx, n.services()) })
	if err != nil {
		return err
	}
	if err := c.waitKubeProxy(ctx, n); err != nil {
		return err
	}
	p.say("%s (%s) is ready", n.Name, n.Mode)
	return nil
}

// waitServiceAccount: until the controller manager has made it, creating a pod
// in the default namespace is an error.
func (c *Cluster) waitServiceAccount(ctx context.Context) error {
	return waitFor(ctx, "the default service account", time.Minute, func(ctx context.Context) error {
		_, err := c.client.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{})
		return err
	}, func() error { return c.control.broken(ctx, controlPlaneServices) })
}
