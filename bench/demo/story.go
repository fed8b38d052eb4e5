//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"regexp"
	"time"
)

// story is what the demo is for: a restart that drops requests, why, how long preStop must sleep, and a restart that drops none.
func (c *cluster) story(ctx context.Context, out io.Writer, seconds string) (err error) {
	fmt.Fprintln(out, "$ kubectl rollout restart deploy/shop      # which has no preStop")
	if _, err := c.underLoad(ctx, out, c.restart); err != nil {
		return err
	}
	fmt.Fprintln(out)
	if err := c.explain(ctx, out); err != nil {
		return err
	}
	fmt.Fprintln(out)
	if err := c.show(ctx, out, "recommend", "deploy/shop"); err != nil {
		return err
	}
	if seconds == "" {
		fmt.Fprintln(out)
		if seconds, err = c.measure(ctx, out); err != nil {
			return err
		}
	}
	patch := fmt.Sprintf(`{"spec":{"template":{"spec":{"containers":[{"name":"server","lifecycle":{"preStop":{"sleep":{"seconds":%s}}}}]}}}}`, seconds)
	fmt.Fprintf(out, "\n$ kubectl patch deploy shop -p '%s'\n", patch)
	progress("patched; the pods that leave now still have no preStop")
	if err := c.rollout(ctx, patch); err != nil {
		return err
	}
	if err := c.served(ctx); err != nil {
		return err
	}
	fmt.Fprintln(out, "$ kubectl rollout restart deploy/shop      # which sleeps in preStop now")
	lost, err := c.underLoad(ctx, out, c.restart)
	if err == nil && lost > 0 {
		err = fmt.Errorf("%d requests failed though preStop sleeps %s s", lost, seconds)
	}
	return err
}

// underLoad calls f, and tells what clients saw meanwhile and until the last of their requests was over.
func (c *cluster) underLoad(ctx context.Context, out io.Writer, f func(context.Context) error) (lost int, err error) {
	since := time.Now()
	if err := f(ctx); err != nil {
		return 0, err
	}
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-time.After(4 * time.Second): // a request takes 3 s at most, and is told of a second later
	}
	all, err := c.tallies(ctx, since)
	if err != nil {
		return 0, err
	}
	return tell(out, all), nil
}

var mustSleep = regexp.MustCompile(`preStop\s+must\s+sleep\s+(?:>=\s+)?([0-9]+)\s+s`)

// measure makes trials for 90 s, and returns how many seconds preStop must sleep by them.
func (c *cluster) measure(ctx context.Context, out io.Writer) (seconds string, err error) {
	var said bytes.Buffer
	if err := c.show(ctx, io.MultiWriter(out, &said), "measure"); err != nil {
		return "", err
	}
	m := mustSleep.FindSubmatch(said.Bytes())
	if m == nil {
		return "", fmt.Errorf("measure has no number on this machine: see what it says, and try `kubectl lastcall measure -n %s --for 3m`", namespace)
	}
	return string(m[1]), nil
}
