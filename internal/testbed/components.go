//go:build linux

package testbed

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// componentNames are built in this order: kube-proxy alone is useful already
// and shares most of its dependencies with the rest.
var componentNames = []string{"kube-proxy", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet"}

func componentPackage(name string) string { return "k8s.io/kubernetes/cmd/" + name }

// componentPath is where a built component is kept.
func componentPath(cacheDir, version, name string) string {
	return filepath.Join(cacheDir, version, name)
}

// missingComponents lists what is not in the cache yet: everything of the
// spec's version, kube-proxy alone of the others.
func missingComponents(spec Spec) map[string][]string {
	missing := map[string][]string{}
	for i, version := range spec.versions() {
		names := componentNames
		if i > 0 {
			names = names[:1]
		}
		for _, name := range names {
			if !isExecutable(componentPath(spec.CacheDir, version, name)) {
				missing[version] = append(missing[version], name)
			}
		}
	}
	return missing
}

// build fills the cache with what the spec needs. Two builds at once wait for
// each other; a component appears in the cache whole or not at all.
func build(ctx context.Context, spec Spec, p *progress) error {
	if len(missingComponents(spec)) == 0 && len(missingGuests(spec)) == 0 {
		return nil
	}
	if lookPath("go") == "" {
		return errors.New("building the Kubernetes components needs go (https://go.dev/dl) in PATH")
	}
	release, err := lockFile(ctx, filepath.Join(spec.CacheDir, "lock"), false, func() {
		p.say("waiting for another build in %s", spec.CacheDir)
	})
	if err != nil {
		return err
	}
	defer release()
	removeAbandoned(spec.CacheDir)
	for version, names := range missingComponents(spec) {
		if err := buildVersion(ctx, spec.CacheDir, version, names, p); err != nil {
			return fmt.Errorf("building Kubernetes %s: %w", version, err)
		}
	}
	return buildGuests(ctx, spec, p)
}

// removeAbandoned deletes what a killed build left. The caller holds the lock.
func removeAbandoned(cacheDir string) {
	left, _ := filepath.Glob(filepath.Join(cacheDir, "tmp-*"))
	for _, dir := range left {
		os.RemoveAll(dir)
	}
}

func buildVersion(ctx context.Context, cacheDir, version string, names []string, p *progress) error {
	p.say("building %d components of Kubernetes %s: once per version, some minutes", len(names), version)
	dir, err := os.MkdirTemp(cacheDir, "tmp-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := writeModule(ctx, dir, version); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(cacheDir, version), 0o755); err != nil {
		return err
	}
	for _, name := range names {
		started := time.Now()
		built := filepath.Join(dir, "bin", name)
		stop := stillBuilding(p, name, started)
		_, err := runGo(ctx, dir, "build", "-buildvcs=false", "-trimpath", "-ldflags", versionFlags(version), "-o", built, componentPackage(name))
		stop()
		if err != nil {
			return err
		}
		if err := os.Rename(built, componentPath(cacheDir, version, name)); err != nil {
			return err
		}
		p.say("built %s %s in %s", name, version, time.Since(started).Round(time.Second))
	}
	return nil
}

// writeModule makes the nested module, see componentsModule. Upstream's go.sum
// covers all but k8s.io/X; go adds those.
func writeModule(ctx context.Context, dir, version string) error {
	out, err := runGo(ctx, os.TempDir(), "mod", "download", "-json", "k8s.io/kubernetes@"+version)
	if err != nil {
		return err
	}
	var module struct{ Dir, GoMod string }
	if err := json.Unmarshal(out, &module); err != nil {
		return fmt.Errorf("reading the answer of go mod download: %w", err)
	}
	upstream, err := os.ReadFile(module.GoMod)
	if err != nil {
		return err
	}
	gomod, err := componentsModule(version, upstream)
	if err != nil {
		return err
	}
	sums, err := os.ReadFile(filepath.Join(module.Dir, "go.sum"))
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "go.mod"), gomod, 0o644),
		os.WriteFile(filepath.Join(dir, "go.sum"), sums, 0o644),
	)
}

// stillBuilding says every half minute that it is.
func stillBuilding(p *progress, name string, started time.Time) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(30 * time.Second)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				p.say("still building %s (%s)", name, time.Since(started).Round(time.Second))
			}
		}
	}()
	return func() { close(done); <-ended }
}

// runGo runs the go command in dir, static and reproducible.
func runGo(ctx context.Context, dir string, args ...string) ([]byte, error) {
	return outputOf(ctx, goCommand(ctx, dir, args...))
}

func goCommand(ctx context.Context, dir string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, lookPath("go"), args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=mod", "GOWORK=off", "GO111MODULE=on", "GOOS=", "GOARCH=")
	// An interrupt lets go end its compilers; a kill would orphan them.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

func outputOf(ctx context.Context, cmd *exec.Cmd) ([]byte, error) {
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("%s %s: %w\n%s", filepath.Base(cmd.Path), cmd.Args[1], err, lastLines(stderr.Bytes(), 20))
	}
	return out, nil
}

func lastLines(text []byte, n int) []byte {
	lines := bytes.Split(bytes.TrimRight(text, "\n"), []byte("\n"))
	return bytes.Join(lines[max(0, len(lines)-n):], []byte("\n"))
}
