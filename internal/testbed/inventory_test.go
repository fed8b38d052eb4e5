//go:build linux

package testbed

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// inventory are the processes of a cluster: all those under its holders. Nobody leaves it, since a holder is the first process of
// a PID namespace, to which the kernel gives orphans. (A namespace's inode number would not do: the kernel gives one that is free
// again to the next namespace, perhaps of a cluster that another test has just brought up.)
type inventory map[process]bool

// add takes what runs now under these processes: it follows parents from every process.
func (inv inventory) add(t *testing.T, holders map[int]bool) {
	t.Helper()
	for _, pid := range pids(t) {
		for p := pid; p > 1; p = parent(p) {
			if !holders[p] {
				continue
			}
			if p, ok := processOf(pid); ok {
				inv[p] = true
			}
			break
		}
	}
	if len(inv) == 0 {
		t.Fatalf("no process found under %d holders", len(holders))
	}
}

func (c *Cluster) holders() map[int]bool {
	all := map[int]bool{c.control.Process.Pid: true}
	for _, m := range c.machines {
		all[m.Process.Pid] = true
	}
	return all
}

func pids(t *testing.T) []int {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	var all []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			all = append(all, pid)
		}
	}
	return all
}

func parent(pid int) int {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	ppid, _ := strconv.Atoi(fields[1])
	return ppid
}

// leftovers lists what still exists of a cluster that was taken down.
func leftovers(t *testing.T, spec Spec, inv inventory, linksBefore []string) []string {
	t.Helper()
	var left []string
	for p := range inv {
		if p.alive() {
			left = append(left, fmt.Sprintf("process %d", p.Pid))
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(spec.Dir, spec.Name)
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, dir) {
			left = append(left, "mount "+line)
		}
	}
	if after := linkNames(t); strings.Join(after, " ") != strings.Join(linksBefore, " ") {
		left = append(left, fmt.Sprintf("links %v, before %v", after, linksBefore))
	}
	for _, mount := range cgroupMounts(string(mounts)) {
		if path := filepath.Join(mount, spec.cgroupParent()); exists(path) {
			left = append(left, "cgroup "+path)
		}
	}
	for _, path := range []string{dir, dir + ".lock"} {
		if exists(path) {
			left = append(left, "file "+path)
		}
	}
	return left
}

func exists(path string) bool { return unix.Access(path, unix.F_OK) == nil }

func linkNames(t *testing.T) []string {
	t.Helper()
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, l := range links {
		names = append(names, l.Attrs().Name)
	}
	return names
}
