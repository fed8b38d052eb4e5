//go:build linux

package testbed

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// cgroupParent is where all containers of a cluster live, in every hierarchy.
// Cgroups are the one thing that does not end with its processes. Clusters of
// one name in two directories have two parents.
func (s Spec) cgroupParent() string {
	name := s.Name
	if s.Dir != DefaultDir {
		sum := sha256.Sum256([]byte(s.Dir))
		name += "-" + hex.EncodeToString(sum[:4])
	}
	return "/lastcall-testbed/" + name
}

// cgroupMounts lists the mounted hierarchies, v1 and v2.
func cgroupMounts(mountinfo string) []string {
	var mounts []string
	for line := range strings.Lines(mountinfo) {
		before, after, ok := strings.Cut(line, " - ")
		fields := strings.Fields(before)
		if !ok || len(fields) < 5 {
			continue
		}
		if strings.HasPrefix(after, "cgroup ") || strings.HasPrefix(after, "cgroup2 ") {
			mounts = append(mounts, fields[4])
		}
	}
	return mounts
}

// makeCgroups makes the node's cgroup in every hierarchy; the kubelet wants its
// root to exist.
func (s Spec) makeCgroups(node string) error {
	mountinfo, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for _, mount := range cgroupMounts(string(mountinfo)) {
		dir := mount
		for _, part := range strings.Split(strings.Trim(s.cgroupParent()+"/"+node, "/"), "/") {
			parent := dir
			dir = filepath.Join(dir, part)
			if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
				return fmt.Errorf("making cgroup: %w", err)
			}
			if err := inheritCgroup(parent, dir); err != nil {
				return fmt.Errorf("preparing cgroup %s: %w", dir, err)
			}
		}
	}
	return nil
}

// inheritCgroup gives a new cgroup what it does not get by itself: CPUs and
// memory nodes in v1, where a cpuset without any admits no process, and the
// controllers in v2.
func inheritCgroup(parent, dir string) error {
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		mine, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil || len(strings.TrimSpace(string(mine))) > 0 {
			continue
		}
		theirs, err := os.ReadFile(filepath.Join(parent, file))
		if err != nil || len(strings.TrimSpace(string(theirs))) == 0 {
			continue // v2: empty means "what the parent has"
		}
		if err := os.WriteFile(filepath.Join(dir, file), theirs, 0); err != nil {
			return err
		}
	}
	controllers, err := os.ReadFile(filepath.Join(parent, "cgroup.controllers"))
	if err != nil {
		return nil // v1
	}
	for _, controller := range strings.Fields(string(controllers)) {
		// One by one: some cannot be delegated everywhere, and the kubelet
		// says itself what it misses.
		os.WriteFile(filepath.Join(parent, "cgroup.subtree_control"), []byte("+"+controller), 0)
	}
	return nil
}

// removeCgroups removes a cluster's cgroups, which are empty by now, and the
// common parent if no other cluster has any. It returns how many went.
func (s Spec) removeCgroups(ctx context.Context) (int, error) {
	mountinfo, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return 0, err
	}
	removed := 0
	for _, mount := range cgroupMounts(string(mountinfo)) {
		top := filepath.Join(mount, s.cgroupParent())
		// A cgroup stays busy for a moment after its last process was reaped.
		err := waitFor(ctx, "cgroups of ended containers in "+top, 10*time.Second, func(context.Context) error {
			n, err := removeCgroupTree(top)
			removed += n
			return err
		}, nil)
		if err != nil {
			return removed, err
		}
		os.Remove(filepath.Dir(top)) // fails if another cluster is in there: fine
	}
	return removed, nil
}

// removeCgroupTree removes directories from the leaves up. Files in them are
// the kernel's and go with them.
func removeCgroupTree(top string) (int, error) {
	var dirs []string
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		}
		if d.IsDir() {
			dirs = append(dirs, path)
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	removed := 0
	for i := len(dirs) - 1; i >= 0; i-- {
		if err := os.Remove(dirs[i]); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return removed, err
		}
		removed++
	}
	return removed, nil
}
