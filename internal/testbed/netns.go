//go:build linux

package testbed

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// inNetns calls f on an OS thread of its own that has entered the network
// namespace at path, and throws the thread away. Sockets f opens stay in that
// namespace wherever they are used later. Goroutines that f starts run
// elsewhere.
func inNetns(path string, f func() error) error {
	done := make(chan error, 1)
	go func() {
		defer close(done) // also when f calls runtime.Goexit, as t.Fatal does
		// Never unlocked: the runtime ends a thread whose goroutine returns
		// locked, so no other goroutine ever runs in the wrong namespace.
		runtime.LockOSThread()
		ns, err := os.Open(path)
		if err != nil {
			done <- fmt.Errorf("opening network namespace: %w", err)
			return
		}
		defer ns.Close()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("entering network namespace %s: %w", path, err)
			return
		}
		done <- f()
	}()
	err, ok := <-done
	if !ok {
		return errors.New("function exited its goroutine inside the network namespace")
	}
	return err
}

// netnsDialer dials from inside the namespace at path. The socket is opened on
// the locked thread as long as the address is a literal one.
func netnsDialer(path string) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (conn net.Conn, err error) {
		err = inNetns(path, func() error {
			conn, err = (&net.Dialer{}).DialContext(ctx, network, addr)
			return err
		})
		return conn, err
	}
}
