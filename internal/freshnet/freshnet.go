// Package freshnet gives a test a network namespace of its own.
package freshnet

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Namespace is a network namespace without a name: it ends with its last user.
type Namespace struct{ fd int }

// New makes a namespace with loopback up. It skips the test if that is not permitted, unless
// REQUIRE_KERNEL=1, and if a program the test names is missing likewise.
func New(t testing.TB, programs ...string) *Namespace {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			Missing(t, fmt.Sprintf("program %s: %v", p, err))
		}
	}
	ns := &Namespace{}
	err := onOwnThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make a network namespace (run as root): %w", err)
		}
		fd, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		ns.fd = fd
		return err
	})
	if err != nil {
		Missing(t, err.Error())
	}
	t.Cleanup(func() { unix.Close(ns.fd) })
	ns.Exec(t, "", "ip", "link", "set", "lo", "up")
	return ns
}

// Missing skips a test for what the machine lacks, visibly; with REQUIRE_KERNEL=1 it fails instead.
func Missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("REQUIRE_KERNEL") == "1" {
		t.Fatal(what)
	}
	t.Skip(what + " (REQUIRE_KERNEL=1 makes this a failure)")
}

// Do runs f on a thread inside the namespace. f may start no goroutine that needs to be in it.
func (ns *Namespace) Do(f func() error) error {
	return onOwnThread(func() error {
		if err := unix.Setns(ns.fd, unix.CLONE_NEWNET); err != nil {
			return err
		}
		return f()
	})
}

// Exec runs a program inside the namespace and returns its standard output.
func (ns *Namespace) Exec(t testing.TB, stdin, name string, args ...string) string {
	t.Helper()
	var out, stderr strings.Builder
	err := ns.Do(func() error {
		cmd := exec.Command(name, args...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &stderr
		return cmd.Run()
	})
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, stderr.String())
	}
	return out.String()
}

// Path leads to the namespace while this process lives, for programs that want a name.
func (ns *Namespace) Path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), ns.fd) }

// onOwnThread runs f on a thread that ends with it, whatever f did to the thread.
func onOwnThread(f func() error) error {
	errc := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the runtime ends the thread
		errc <- f()
	}()
	return <-errc
}
