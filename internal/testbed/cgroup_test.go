//go:build linux

package testbed

import (
	"slices"
	"testing"
)

func TestCgroupMounts(t *testing.T) {
	mountinfo := `21 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 21 0:26 / /sys/fs/cgroup rw,relatime shared:3 - tmpfs tmpfs rw,mode=755
31 30 0:27 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
32 30 0:28 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
33 21 0:29 / /mnt/cgroup rw,relatime - ext4 /dev/cgroup rw
`
	want := []string{"/sys/fs/cgroup/cpu", "/sys/fs/cgroup/unified"}
	if got := cgroupMounts(mountinfo); !slices.Equal(got, want) {
		t.Errorf("cgroupMounts = %q, want %q", got, want)
	}
}

func TestCgroupParentsDoNotCollide(t *testing.T) {
	a := Spec{Name: "a", Dir: DefaultDir}.cgroupParent()
	b := Spec{Name: "a", Dir: "/elsewhere"}.cgroupParent()
	if a == b || a != "/lastcall-testbed/a" {
		t.Errorf("cgroup parents %q and %q", a, b)
	}
}
