//go:build linux

package testbed

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// cniDirs are where distributions put the CNI plugins.
var cniDirs = []string{"/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"}

// needs lists the programs of the machine that a cluster runs on, with the
// Debian package each comes from. Go itself is needed to build.
var needs = []struct{ program, pkg string }{
	{"etcd", "etcd-server"},
	{"containerd", "containerd"},
	{"ctr", "containerd"},
	{"runc", "runc"},
	{"nft", "nftables"},
	{"xtables-nft-multi", "iptables"},
	{"xtables-legacy-multi", "iptables"},
	{"ipset", "ipset"},
	{"conntrack", "conntrack"},
	{"nsenter", "util-linux"},
	{"mount", "mount"},
}

// ErrCannotRun says that this machine cannot run a cluster, and what to do.
var ErrCannotRun = errors.New("this machine cannot run the testbed")

// checkHost reports everything that is missing, in one line.
func checkHost() error {
	var missing, packages []string
	add := func(program, pkg string) {
		missing = append(missing, program)
		if len(packages) == 0 || packages[len(packages)-1] != pkg {
			packages = append(packages, pkg)
		}
	}
	for _, n := range needs {
		if lookPath(n.program) == "" {
			add(n.program, n.pkg)
		}
	}
	if cniDir() == "" {
		add("CNI plugins", "containernetworking-plugins")
	}
	var parts []string
	if os.Geteuid() != 0 || !canMakeNamespaces() {
		parts = append(parts, "not root, or without CAP_SYS_ADMIN and CAP_NET_ADMIN (use sudo, or a privileged container)")
	}
	if len(missing) > 0 {
		parts = append(parts, fmt.Sprintf("missing %s (apt-get install %s)", strings.Join(missing, ", "), strings.Join(packages, " ")))
	}
	if len(parts) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrCannotRun, strings.Join(parts, "; "))
}

// canMakeNamespaces looks for CAP_SYS_ADMIN and CAP_NET_ADMIN: root in a
// container often has neither.
func canMakeNamespaces() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return false
	}
	has := func(c uint) bool { return data[c/32].Effective&(1<<(c%32)) != 0 }
	return has(unix.CAP_SYS_ADMIN) && has(unix.CAP_NET_ADMIN)
}

// systemPath is where system programs are; the PATH of a non-login root shell
// may lack sbin.
const systemPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

func lookPath(program string) string {
	if path, err := exec.LookPath(program); err == nil {
		if abs, err := filepath.Abs(path); err == nil {
			return abs
		}
	}
	for _, dir := range filepath.SplitList(systemPath) {
		if path := filepath.Join(dir, program); isExecutable(path) {
			return path
		}
	}
	return ""
}

func cniDir() string {
	for _, dir := range cniDirs {
		if isExecutable(filepath.Join(dir, "ptp")) && isExecutable(filepath.Join(dir, "host-local")) {
			return dir
		}
	}
	return ""
}

func isExecutable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}
