// Package artifact makes lastcall's container image out of its source.
package artifact

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// Module is what is built, and Program its main package.
const (
	Module  = "github.com/lastcall-k8s/lastcall"
	Program = Module + "/cmd/lastcall"
)

// Archs are what releases are built for.
var Archs = []string{"amd64", "arm64"}

// Root is the directory of the module's source, for a process that was started anywhere in it.
func Root(ctx context.Context) (string, error) {
	out, err := run(exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", Module))
	if err != nil {
		return "", fmt.Errorf("find the source of %s (run this inside a checkout): %w", Module, err)
	}
	return strings.TrimSpace(out), nil
}

// Compile builds the program from the source in root for linux and one architecture into a file. What is built depends
// on the source, the commit and the Go version, and on nothing else of this machine: no C, no paths, and none of the
// caller's GOFLAGS, GOAMD64 or GOEXPERIMENT.
func Compile(ctx context.Context, root, arch, binary string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs="+stamp(ctx, root), "-ldflags", "-s -w", "-o", binary, "./cmd/lastcall")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, "GOAMD64=v1", "GOARM64=v8.0", "GOFLAGS=", "GOEXPERIMENT=", "GOWORK=off")
	if _, err := run(cmd); err != nil {
		return fmt.Errorf("build %s for linux/%s: %w", Program, arch, err)
	}
	return nil
}

// stamp says whether the commit can go into the binary. go itself would fail where git does, as in a checkout that
// belongs to another user ("dubious ownership"), and a tree without history is no reason not to build.
func stamp(ctx context.Context, root string) string {
	if exec.CommandContext(ctx, "git", "-C", root, "status", "--porcelain").Run() != nil {
		return "false"
	}
	return "true"
}

func run(cmd *exec.Cmd) (string, error) {
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args[:2], " "), err, stderr.Bytes())
	}
	return string(out), nil
}
