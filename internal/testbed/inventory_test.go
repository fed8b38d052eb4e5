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

// inventory is what a cluster has in the kernel: the namespaces of every
// process under its holders.
type inventory map[string]bool

// own are the namespaces this test itself lives in; nobody removes those.
func own() inventory {
	mine := inventory{}
	mine.addProcess(os.Getpid())
	return mine
}

var namespaceKinds = []string{"net", "mnt", "pid", "uts", "ipc"}

func (inv inventory) addProcess(pid int) {
	for _, kind := range namespaceKinds {
		if ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, kind)); err == nil {
			inv[ns] = true
		}
	}
}

// takeInventory follows parents from every process to a holder.
func takeInventory(t *testing.T, c *Cluster) inventory {
	t.Helper()
	holders := map[int]bool{c.control.Process.Pid: true}
	for _, m := range c.machines {
		holders[m.Process.Pid] = true
	}
	inv, mine := inventory{}, own()
	for _, pid := range pids(t) {
		for p := pid; p > 1; p = parent(p) {
			if holders[p] {
				inv.addProcess(pid)
				break
			}
		}
	}
	for ns := range mine {
		delete(inv, ns) // user and cgroup namespaces are shared on purpose
	}
	if len(inv) < len(namespaceKinds)*len(holders) {
		t.Fatalf("only %d namespaces found for %d machines", len(inv), len(holders))
	}
	return inv
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

// runningNow are all processes of this machine. What they are in is known by inode numbers, and the kernel gives a number that
// is free again to the next namespace, perhaps of a cluster that another test has just brought up.
func runningNow(t *testing.T) map[process]bool {
	t.Helper()
	all := map[process]bool{}
	for _, pid := range pids(t) {
		if p, ok := processOf(pid); ok {
			all[p] = true
		}
	}
	return all
}

// leftovers lists what still exists of a cluster that was taken down; before are the processes that ran until then.
func leftovers(t *testing.T, spec Spec, inv inventory, before map[process]bool, linksBefore []string) []string {
	t.Helper()
	var left []string
	for _, pid := range pids(t) {
		if p, ok := processOf(pid); !ok || !before[p] {
			continue
		}
		for _, kind := range namespaceKinds {
			if ns, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, kind)); inv[ns] {
				left = append(left, fmt.Sprintf("process %d is in namespace %s", pid, ns))
			}
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
