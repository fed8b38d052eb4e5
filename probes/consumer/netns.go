package consumer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// maxNamespaces bounds how many are looked into for one pod: a node has some hundred pods.
const maxNamespaces = 2000

// dialIn connects from within the network namespace of the pod that has an address. A socket stays in the namespace it was made in, so only
// the thread that makes it has to be there, and that thread ends with it.
//
// The namespace is found by the address, among the files that container runtimes keep them as: containerd
// and CRI-O mount each at /run/netns/NAME. Only CAP_SYS_ADMIN is needed to enter one; by a process' /proc/PID/ns/net it would be the
// host's PID namespace and CAP_SYS_PTRACE as well. A pod with hostNetwork has the address of this namespace: nothing is entered.
func dialIn(ctx context.Context, dir string, pod netip.Addr, to netip.AddrPort) (conn net.Conn, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		// Never unlocked: the runtime ends the thread with the goroutine. Nor does it make threads from one that is locked, which
		// would be in the pod's namespace too (Go's src/runtime/proc.go, newm and templateThread).
		runtime.LockOSThread()
		if err = enter(dir, pod); err != nil {
			err = outside{err}
			return
		}
		var d net.Dialer
		conn, err = d.DialContext(ctx, "tcp", to.String()) // of an address, on this goroutine
	}()
	<-done
	return conn, err
}

// outside: the pod's network namespace could not be entered.
type outside struct{ error }

func (o outside) Unwrap() error { return o.error }

// enter puts the calling thread into the network namespace of a pod.
func enter(dir string, pod netip.Addr) error {
	if has(pod) {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("the pods' network namespaces: %w", err)
	}
	defer d.Close()
	names, err := d.Readdirnames(maxNamespaces)
	if err != nil {
		return fmt.Errorf("no network namespace is in %s: does the container runtime keep them elsewhere?", dir)
	}
	for _, name := range names {
		switch err := enterFile(filepath.Join(dir, name)); {
		case errors.Is(err, unix.EPERM):
			return fmt.Errorf("enter a pod's network namespace: %w; it takes CAP_SYS_ADMIN", err)
		case err != nil: // it went meanwhile, or is none
		case has(pod):
			return nil
		}
	}
	return fmt.Errorf("no network namespace in %s has the address %s", dir, pod)
}

var errNoNamespace = errors.New("is no namespace")

func enterFile(path string) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil || fs.Type != unix.NSFS_MAGIC {
		return errors.Join(errNoNamespace, err)
	}
	return unix.Setns(fd, unix.CLONE_NEWNET) // refused if it is of another kind
}

// has reports whether the calling thread's network namespace has an address.
func has(pod netip.Addr) bool {
	addrs, err := net.InterfaceAddrs() // asks on this thread
	if err != nil {
		return false
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok {
			if got, ok := netip.AddrFromSlice(n.IP); ok && got.Unmap() == pod {
				return true
			}
		}
	}
	return false
}
