//go:build linux

// Package prometheus builds Prometheus, and the tool that tests its rules, for tests.
package prometheus

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/lastcall-k8s/lastcall/internal/testbed"
)

// version is Prometheus 3.16.0: its module counts the minor versions of 3 from 300.
const version = "v0.316.0"

// programs are built together: they share nearly everything.
var programs = []string{"prometheus", "promtool"}

// tags leave out the clouds that Prometheus can discover targets in, which are most of the time to build it.
const tags = "remove_all_sd,enable_kubernetes_sd"

// Require returns the path of a program, built into the testbed's cache. Where it is not built yet the test is skipped, and with
// REQUIRE_CLUSTER=1 it builds, which takes some minutes.
func Require(t testing.TB, name string) string {
	t.Helper()
	path, err := pathOf(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath(path); err == nil {
		return path
	}
	if os.Getenv("REQUIRE_CLUSTER") != "1" {
		t.Skipf("%s is not built yet: REQUIRE_CLUSTER=1 or `make components` does that", name)
	}
	if err := build(t.Context()); err != nil {
		t.Fatal(err)
	}
	return path
}

func pathOf(name string) (string, error) {
	cache, err := testbed.DefaultCacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(cache, name+"-"+version), nil
}

// build builds beside the path and renames: go test runs packages at the same time, and each may build.
func build(ctx context.Context) error {
	cache, err := testbed.DefaultCacheDir()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return err
	}
	bin, err := os.MkdirTemp(cache, "prometheus-build-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(bin)
	args := []string{"install", "-tags", tags, "-ldflags", "-s -w -X github.com/prometheus/common/version.Version=" + version}
	for _, name := range programs {
		args = append(args, "github.com/prometheus/prometheus/cmd/"+name+"@"+version)
	}
	c := exec.CommandContext(ctx, "go", args...)
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOBIN="+bin, "GOFLAGS=")
	c.Dir = bin // in no module and no workspace
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w\n%s", c, err, out)
	}
	for _, name := range programs {
		path, err := pathOf(name)
		if err != nil {
			return err
		}
		if err := os.Rename(filepath.Join(bin, name), path); err != nil {
			return err
		}
	}
	return nil
}
