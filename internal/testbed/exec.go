//go:build linux

package testbed

import (
	"fmt"
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"
)

// Exec becomes the command inside the node's network namespace, as Command
// would run it, or as HostCommand would. It returns only if that fails.
func (c *Cluster) Exec(node string, host bool, argv []string) error {
	command := c.Command
	if host {
		command = c.HostCommand
	}
	cmd := command(node, argv[0], argv[1:]...)
	if cmd.Err != nil {
		return cmd.Err
	}
	// exec(2) in place: signals and the exit code need no passing on. Environ
	// leaves one PATH, ours; with two in it getenv would find the first.
	runtime.LockOSThread()
	if err := unix.Exec(cmd.Path, cmd.Args, cmd.Environ()); err != nil {
		return fmt.Errorf("running nsenter: %w", err)
	}
	return nil
}

// HostCommand is like Command, and also enters the node's file system and
// processes: what a shell on the node would be.
func (c *Cluster) HostCommand(node, name string, args ...string) *exec.Cmd {
	cmd := c.Command(node, name, args...)
	if cmd.Err != nil {
		return cmd
	}
	m, _ := c.machine(node)
	cmd.Args = append([]string{cmd.Path, fmt.Sprintf("--target=%d", m.Process.Pid),
		"--net", "--mount", "--uts", "--pid", "--ipc", "--", name}, args...)
	return cmd
}
