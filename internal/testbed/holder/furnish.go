//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// furnish gives this machine its own /run, /var and /tmp, so that containerd,
// kubelet, CNI and the xtables lock have their usual paths and still share
// nothing with the machine underneath or with the other nodes. The rest of the
// root file system is read-only here: containerd (/opt/containerd) and the
// kubelet (/usr/libexec/kubernetes) would leave directories behind.
func furnish(cfg config) error {
	// Private first: where / is shared (systemd makes it so) our mounts would
	// otherwise propagate back.
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	kept := make([]*os.File, len(cfg.Keep))
	for i, dir := range cfg.Keep {
		f, err := os.Open(dir)
		if err != nil {
			return err
		}
		defer f.Close()
		kept[i] = f
	}
	own := filepath.Join(cfg.Dir, "var")
	for _, dir := range []string{"lib", "log", "tmp", "cache"} {
		if err := os.MkdirAll(filepath.Join(own, dir), 0o755); err != nil {
			return err
		}
	}
	if err := os.Symlink("/run", filepath.Join(own, "run")); err != nil && !os.IsExist(err) {
		return err
	}
	if err := syscall.Mount(own, "/var", "", syscall.MS_BIND, ""); err != nil {
		return fmt.Errorf("mounting own /var: %w", err)
	}
	// What the machine has mounted there, as `ip netns` does, is hidden by our /run and still listed: containerd looks up the mount of a
	// host's path in that list, and would take it for the one that is below.
	if err := syscall.Unmount("/run/netns", syscall.MNT_DETACH); err != nil && err != syscall.EINVAL && err != syscall.ENOENT {
		return fmt.Errorf("unmounting the machine's /run/netns: %w", err)
	}
	for dir, mode := range map[string]string{"/run": "mode=755", "/tmp": "mode=1777"} {
		if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV, mode); err != nil {
			return fmt.Errorf("mounting own %s: %w", dir, err)
		}
	}
	// As systemd makes it, among the mounts of this machine: what is mounted there later, such as a pod's network namespace, is seen
	// by containers that asked for it (mountPropagation).
	if err := syscall.Mount("", "/run", "", syscall.MS_SHARED, ""); err != nil {
		return fmt.Errorf("making /run shared: %w", err)
	}
	if err := os.Mkdir("/run/lock", 0o755); err != nil {
		return err
	}
	// The state directory usually lives in the /run just hidden: bring it back.
	for i, dir := range cfg.Keep {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := syscall.Mount(fmt.Sprintf("/proc/self/fd/%d", kept[i].Fd()), dir, "", syscall.MS_BIND|syscall.MS_REC, ""); err != nil {
			return fmt.Errorf("keeping %s visible: %w", dir, err)
		}
	}
	if err := syscall.Mount("", "/", "", syscall.MS_BIND|syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("making / read-only: %w", err)
	}
	if err := syscall.Mount("proc", "/proc", "proc", syscall.MS_NOSUID|syscall.MS_NODEV|syscall.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mounting /proc: %w", err)
	}
	return mask(cfg)
}

// mask covers single files of /proc/sys. The kubelet insists on values of
// settings that belong to the whole machine (kernel.panic and friends); it
// reads first and writes only what differs, so it finds what it wants and the
// machine keeps what it has.
func mask(cfg config) error {
	dir := filepath.Join(cfg.Dir, "mask")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, text := range cfg.Mask {
		target := "/proc/sys/" + name
		if _, err := os.Stat(target); err != nil {
			continue // not every kernel has every setting
		}
		file := filepath.Join(dir, strings.ReplaceAll(name, "/", "."))
		if err := os.WriteFile(file, []byte(text+"\n"), 0o644); err != nil {
			return err
		}
		if err := syscall.Mount(file, target, "", syscall.MS_BIND, ""); err != nil {
			return fmt.Errorf("masking %s: %w", target, err)
		}
	}
	return nil
}
