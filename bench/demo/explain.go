//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/manifests"
)

// system is where the demo installs lastcall.
const system = "lastcall-demo-system"

// install installs the chart as a user would, and builds kubectl-lastcall.
func (c *cluster) install(ctx context.Context) error {
	begun := time.Now()
	values := append([]string{"image.repository=" + c.image, "image.tag=lastcall", "image.pullPolicy=" + c.pull}, c.values...)
	progress("installing lastcall by its chart (without helm 4 in $PATH that is built first, once: 1 to 2 minutes)")
	var said bytes.Buffer // helm's notes are about a cluster of one's own
	err := manifests.Install(ctx, c.kubeconfig, "lastcall", system, &said, values...)
	if err != nil {
		return fmt.Errorf("%w\n%s", err, said.String())
	}
	c.plugin = filepath.Join("bin", "kubectl-lastcall")
	if c.plugin, err = filepath.Abs(c.plugin); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-o", c.plugin, "./cmd/kubectl-lastcall")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build kubectl-lastcall: %w\n%s", err, out)
	}
	with := ""
	if len(c.values) > 0 {
		with = " with " + strings.Join(c.values, " and ")
	}
	progress("lastcall is installed by its chart%s, in namespace %s (%.1f s)", with, system, time.Since(begun).Seconds())
	return nil
}

func (c *cluster) kubectlLastcall(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, c.plugin, append([]string{"--lastcall-namespace", system, "-n", namespace}, args...)...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.kubeconfig)
	cmd.Stderr = os.Stderr
	return cmd
}

// explain waits until every place has answered for every pod that left, and the witness of connections, which speaks 12 s after a pod is
// gone, and shows what kubectl lastcall says.
func (c *cluster) explain(ctx context.Context, out io.Writer) error {
	progress("waiting for what the nodes' connection tracking saw")
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	begun := time.Now()
	for {
		why, err := c.unexplained(ctx)
		// Where nobody witnesses connections, explain says so.
		if err == nil && (why == "" || strings.HasSuffix(why, unwitnessed) && time.Since(begun) > 40*time.Second) {
			break
		}
		if err != nil {
			why = err.Error()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the hub has no complete answer: %s: %w", why, ctx.Err())
		case <-time.After(time.Second):
		}
	}
	return c.show(ctx, out, "explain", "deploy/shop")
}

// show runs kubectl lastcall, and shows the command too.
func (c *cluster) show(ctx context.Context, out io.Writer, args ...string) error {
	fmt.Fprintln(out, "$ kubectl lastcall "+strings.Join(args, " "))
	cmd := c.kubectlLastcall(ctx, args...)
	cmd.Stdout = out
	return cmd.Run()
}

const unwitnessed = "has no witness yet"

// unexplained says what the hub does not know yet.
func (c *cluster) unexplained(ctx context.Context) (string, error) {
	cmd := c.kubectlLastcall(ctx, "explain", "deploy/shop", "-o", "json")
	var said strings.Builder
	cmd.Stderr = &said
	text, err := cmd.Output()
	if err != nil {
		return "", errors.Join(err, errors.New(said.String()))
	}
	var x report.Explanation
	if err := json.Unmarshal(text, &x); err != nil {
		return "", fmt.Errorf("explain -o json: %w", err)
	}
	if len(x.Departures) < 3 {
		return fmt.Sprintf("%d of 3 departures", len(x.Departures)), nil
	}
	for _, d := range x.Departures {
		if !d.Complete || len(d.Containers) > 0 && d.Containers[0].ExitCode == nil {
			return d.Pod + " is not complete", nil
		}
	}
	for _, d := range x.Departures {
		if d.Refused == nil {
			return d.Pod + " " + unwitnessed, nil
		}
	}
	return "", nil
}

// tell says what the clients saw meanwhile, and returns how many of their requests failed.
func tell(w io.Writer, tallies map[string]tally) (lost int) {
	started, failed := 0, map[string]int{}
	for _, n := range slices.Sorted(maps.Keys(tallies)) {
		t := tallies[n]
		started += t.started
		for kind, k := range t.failed {
			failed[kind] += k
		}
		fmt.Fprintf(w, "clients on %s: %d requests during the restart, failed: %s\n", n, t.started, kinds(t.failed))
	}
	fmt.Fprintf(w, "%s of %d client requests failed while the pods left.\n", kinds(failed), started)
	for _, n := range failed {
		lost += n
	}
	return lost
}

func kinds(m map[string]int) string {
	total := 0
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		total += m[k]
		parts = append(parts, fmt.Sprintf("%d %s", m[k], k))
	}
	if total == 0 {
		return "0"
	}
	return fmt.Sprintf("%d (%s)", total, strings.Join(parts, ", "))
}
