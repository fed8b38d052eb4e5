//go:build linux

// Package prometheus builds Prometheus, the tool that tests its rules, and Alertmanager, for tests.
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

// program is what "go install" makes of a module's cmd/NAME.
type program struct{ name, module, version string }

// programs by name. Prometheus counts the minor versions of 3 from 300. Alertmanager is the newest whose module has its pages as Go: later
// ones take npm to build.
var programs = map[string]program{
	"prometheus":   {"prometheus", "github.com/prometheus/prometheus", "v0.316.0"},
	"promtool":     {"promtool", "github.com/prometheus/prometheus", "v0.316.0"},
	"alertmanager": {"alertmanager", "github.com/prometheus/alertmanager", "v0.28.1"},
}

// tags leave out the clouds that Prometheus can discover targets in, which are most of the time to build it.
const tags = "remove_all_sd,enable_kubernetes_sd"

// Require returns the path of a program, built into the testbed's cache. Where it is not built yet the test is skipped, and with
// REQUIRE_CLUSTER=1 it builds, which takes some minutes.
func Require(t testing.TB, name string) string {
	t.Helper()
	p, ok := programs[name]
	if !ok {
		t.Fatalf("nobody knows how to build %s", name)
	}
	path, err := p.path()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath(path); err == nil {
		return path
	}
	if os.Getenv("REQUIRE_CLUSTER") != "1" {
		t.Skipf("%s is not built yet: REQUIRE_CLUSTER=1 or `make components` does that", name)
	}
	if err := p.build(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	return path
}

func (p program) path() (string, error) {
	cache, err := testbed.DefaultCacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(cache, p.name+"-"+p.version), nil
}

// build builds beside the path and renames: go test runs packages at the same time, and each may build.
func (p program) build(ctx context.Context, path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	bin, err := os.MkdirTemp(filepath.Dir(path), p.name+"-build-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(bin)
	c := exec.CommandContext(ctx, "go", "install", "-tags", tags, "-ldflags", "-s -w -X github.com/prometheus/common/version.Version="+p.version,
		p.module+"/cmd/"+p.name+"@"+p.version)
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOBIN="+bin, "GOFLAGS=")
	c.Dir = bin // in no module and no workspace
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w\n%s", c, err, out)
	}
	return os.Rename(filepath.Join(bin, p.name), path)
}
