//go:build linux

package testbed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
)

// Down ends the cluster of that name and removes everything it made. It works
// on one that never came up completely, or whose up was killed; if there is
// none it says so and succeeds.
func Down(ctx context.Context, dir, name string, progressTo io.Writer) error {
	if dir == "" {
		dir = DefaultDir
	}
	if name == "" {
		name = DefaultName
	}
	dir, err := filepath.Abs(filepath.Join(dir, name))
	if err != nil {
		return err
	}
	if !namePattern.MatchString(name) {
		return fmt.Errorf("%q is not the name of a cluster", name)
	}
	p := newProgress(progressTo)
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		p.say("cluster %q does not run: nothing in %s", name, dir)
		return nil
	}
	release, err := lockFile(ctx, dir+".lock", true, func() { p.say("waiting for another up or down of %q", name) })
	if err != nil {
		return err
	}
	defer os.Remove(DefaultDir) // after release; fails while another cluster is in there: fine
	defer release()
	return tearDown(ctx, dir, p)
}

// Down ends this cluster, see Down.
func (c *Cluster) Down(ctx context.Context) error {
	return Down(ctx, c.Spec.Dir, c.Spec.Name, nil)
}

// Run brings a cluster up, calls f, and takes the cluster down whatever f says, also when ctx has ended.
func Run(ctx context.Context, spec Spec, progressTo io.Writer, f func(*Cluster) error) (err error) {
	c, err := Up(ctx, spec, progressTo)
	if err != nil {
		return err
	}
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		err = errors.Join(err, c.Down(end))
	}()
	return f(c)
}

// tearDown does it; the caller holds the lock.
func tearDown(ctx context.Context, dir string, p *progress) error {
	s, err := readState(dir)
	if errors.Is(err, ErrNotRunning) {
		// Killed before the first write: nothing was started, nothing is in it.
		// Not RemoveAll: without a state file this may be anybody's directory.
		os.Remove(statePath(dir) + ".next")
		if err := os.Remove(dir); err != nil {
			return fmt.Errorf("%s holds no testbed cluster: %w", dir, err)
		}
		return nil
	}
	if err != nil {
		return err
	}
	var group errgroup.Group
	ended := make([]bool, len(s.Machines))
	for i, m := range s.Machines {
		group.Go(func() error {
			ended[i] = m.Process.alive()
			if err := m.Process.kill(30 * time.Second); err != nil {
				return fmt.Errorf("ending %s: %w", m.Name, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	killed := 0
	for _, was := range ended {
		if was {
			killed++
		}
	}
	p.say("ended %d of %d machines with everything in them, %d were gone already", killed, len(ended), len(ended)-killed)
	cgroups, err := s.Spec.removeCgroups(ctx)
	if err != nil {
		return err
	}
	if cgroups > 0 {
		p.say("removed %d cgroups", cgroups)
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("removing the cluster's files: %w", err)
	}
	p.say("removed %s", dir)
	return nil
}

func localPort(l net.Listener) int { return l.Addr().(*net.TCPAddr).Port }
