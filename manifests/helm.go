//go:build linux

// Package manifests holds the Helm chart, install.yaml rendered from it, and how tests and the demo install it.
package manifests

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/lastcall-k8s/lastcall/internal/testbed"
)

//go:embed all:chart
var chart embed.FS

// helmVersion is built where no helm is found.
const helmVersion = "v4.3.1"

// Dir writes the chart below parent, which must exist, and returns where: callers have any working directory.
func Dir(parent string) (string, error) {
	sub, err := fs.Sub(chart, "chart")
	if err != nil {
		return "", err
	}
	dir := filepath.Join(parent, "lastcall")
	if err := os.CopyFS(dir, sub); err != nil {
		return "", fmt.Errorf("write the chart: %w", err)
	}
	return dir, nil
}

// Helm returns the path of helm 4: that in $PATH or Go's bin directory, else one built from source into the testbed's
// cache, once (some minutes). Helm 3 would install as well, but writes other blank lines into install.yaml.
func Helm(ctx context.Context) (string, error) {
	if path, err := exec.LookPath("helm"); err == nil && isHelm4(ctx, path) {
		return path, nil
	}
	out, err := exec.CommandContext(ctx, "go", "env", "GOPATH").Output()
	if err != nil {
		return "", fmt.Errorf("no helm 4 in $PATH, and go env GOPATH: %w", err)
	}
	for _, gopath := range filepath.SplitList(strings.TrimSpace(string(out))) {
		if path, err := exec.LookPath(filepath.Join(gopath, "bin", "helm")); err == nil && isHelm4(ctx, path) {
			return path, nil
		}
	}
	cache, err := testbed.DefaultCacheDir()
	if err != nil {
		return "", err
	}
	path := filepath.Join(cache, "helm-"+helmVersion)
	if found, err := exec.LookPath(path); err == nil {
		return found, nil
	}
	return path, buildHelm(ctx, cache, path)
}

func isHelm4(ctx context.Context, path string) bool {
	out, err := exec.CommandContext(ctx, path, "version", "--template", "{{.Version}}").Output()
	return err == nil && strings.HasPrefix(string(out), "v4.")
}

// buildHelm builds beside path and renames: go test runs packages at the same time, and each may build.
func buildHelm(ctx context.Context, cache, path string) error {
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return err
	}
	bin, err := os.MkdirTemp(cache, "helm-build-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(bin)
	c := exec.CommandContext(ctx, "go", "install", "helm.sh/helm/v4/cmd/helm@"+helmVersion)
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOBIN="+bin, "GOFLAGS=")
	c.Dir = bin // in no module and no workspace
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("no helm 4 in $PATH, and %v: %w\n%s", c, err, out)
	}
	return os.Rename(filepath.Join(bin, "helm"), path)
}

// Install installs the chart, or upgrades it, and returns when everything is ready. sets are like "image.tag=v1".
func Install(ctx context.Context, kubeconfig, release, namespace string, out io.Writer, sets ...string) error {
	return upgrade(ctx, kubeconfig, release, namespace, out, []string{"--wait", "--timeout", "3m"}, sets)
}

func upgrade(ctx context.Context, kubeconfig, release, namespace string, out io.Writer, args, sets []string) error {
	tmp, err := os.MkdirTemp("", "lastcall-chart-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	dir, err := Dir(tmp)
	if err != nil {
		return err
	}
	args = append([]string{"upgrade", "--install", release, dir, "--kubeconfig", kubeconfig, "--namespace", namespace, "--create-namespace"}, args...)
	for _, s := range sets {
		args = append(args, "--set", s)
	}
	return run(ctx, out, args...)
}

// Template renders the chart, without a cluster.
func Template(ctx context.Context, release, namespace string, sets ...string) ([]byte, error) {
	tmp, err := os.MkdirTemp("", "lastcall-chart-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	dir, err := Dir(tmp)
	if err != nil {
		return nil, err
	}
	args := []string{"template", release, dir, "--namespace", namespace}
	for _, s := range sets {
		args = append(args, "--set", s)
	}
	helm, err := Helm(ctx)
	if err != nil {
		return nil, err
	}
	var said bytes.Buffer
	c := exec.CommandContext(ctx, helm, args...)
	c.Stderr = &said
	out, err := c.Output()
	if err != nil {
		return nil, fmt.Errorf("helm template: %w\n%s", err, said.String())
	}
	return out, nil
}

// Uninstall removes what Install installed, but for the namespace. Nothing there is no error.
func Uninstall(ctx context.Context, kubeconfig, release, namespace string) error {
	return run(ctx, io.Discard, "uninstall", release, "--kubeconfig", kubeconfig, "--namespace", namespace, "--ignore-not-found", "--wait", "--timeout", "2m")
}

func run(ctx context.Context, out io.Writer, args ...string) error {
	helm, err := Helm(ctx)
	if err != nil {
		return err
	}
	var said bytes.Buffer
	c := exec.CommandContext(ctx, helm, args...)
	c.Stdout, c.Stderr = out, io.MultiWriter(out, &said)
	// An interrupted helm marks the release as failed; a killed one leaves it pending, and refuses the next upgrade.
	c.Cancel = func() error { return c.Process.Signal(os.Interrupt) }
	c.WaitDelay = 10 * time.Second
	if err := c.Run(); err != nil {
		return fmt.Errorf("helm %s: %w", args[0], errors.Join(err, errors.New(strings.TrimSpace(said.String()))))
	}
	return nil
}
