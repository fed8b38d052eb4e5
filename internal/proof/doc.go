//go:build linux

// Package proof makes pods of real workloads leave on the testbed while clients connect, one node's kube-proxy being late on purpose,
// and asks what is installed what it makes of that. bench/proof runs all of it, internal/e2e a short form.
package proof

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/lastcall-k8s/lastcall/internal/testbed"
)

// Bed is a cluster with lastcall installed as users install it.
type Bed struct {
	*testbed.Cluster
	Plugin string        // kubectl-lastcall
	Gap    time.Duration // the hub's --episode-gap
}

// ask runs kubectl lastcall and returns what it prints.
func (b *Bed) ask(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, b.Plugin, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+b.Kubeconfig)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("kubectl lastcall %v: %w: %s", args, err, said.Bytes())
	}
	return out.Bytes(), nil
}

// wait asks again and again until f succeeds, and gives up after limit.
func wait(ctx context.Context, limit time.Duration, f func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := f()
		if err == nil {
			return nil
		}
		if pause(ctx, 100*time.Millisecond) != nil {
			return fmt.Errorf("after %v: %w", limit, err)
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
