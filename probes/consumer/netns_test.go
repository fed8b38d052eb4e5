package consumer

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lastcall-k8s/lastcall/internal/freshnet"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// TestEnter: what listens on a pod's localhost is read from within the pod's network namespace, which is found by the pod's
// address; no thread stays there.
func TestEnter(t *testing.T) {
	dir := t.TempDir() // as /run/netns
	const port = 9001
	for i, addr := range []string{"10.7.0.1", "10.7.0.2", "fd07::3"} {
		ns := freshnet.New(t, "ip")
		bits := "/32"
		if strings.Contains(addr, ":") {
			bits = "/128"
		}
		ns.Exec(t, "", "ip", "addr", "add", addr+bits, "dev", "lo", "nodad")
		if err := os.Symlink(ns.Path(), filepath.Join(dir, fmt.Sprint("cni-", i))); err != nil {
			t.Fatal(err)
		}
		var l net.Listener
		if err := ns.Do(func() (err error) {
			l, err = net.Listen("tcp", fmt.Sprint("127.0.0.1:", port))
			return err
		}); err != nil {
			t.Fatal(err)
		}
		s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"cluster_statuses":[{"host_statuses":[{"address":{"socket_address":{"address":"10.0.0.%d","port_value":80}}}]}]}`, i)
		})}
		go s.Serve(l) //nolint:errcheck // until it is closed
		t.Cleanup(func() { s.Close() })
	}
	// What is no namespace is passed over.
	if err := os.WriteFile(filepath.Join(dir, "a-file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/proc/self/ns/uts", filepath.Join(dir, "another")); err != nil {
		t.Fatal(err)
	}
	home := networkOf(t)

	c := Config{Namespaces: dir}
	ask := func(addr string) (string, error) {
		p := pod("e", map[string]string{"app": "envoy"})
		p.Containers[1].Name, p.IPs = "envoy", []netip.Addr{netip.MustParseAddr(addr)}
		rs, _ := c.Find([]Pod{p})
		if len(rs) != 1 || rs[0].Unread != "" {
			t.Fatalf("found %+v", rs)
		}
		r, err := envoy.Open(rs[0].Source)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		var got []string
		_, err = r.Read(t.Context(), nil, func(_ ledger.ServicePort, at netip.AddrPort) { got = append(got, at.String()) })
		return strings.Join(got, " "), err
	}
	var all sync.WaitGroup
	for range 20 {
		for i, addr := range []string{"10.7.0.1", "10.7.0.2", "fd07::3"} {
			all.Go(func() {
				if got, err := ask(addr); err != nil || got != fmt.Sprintf("10.0.0.%d:80", i) {
					t.Errorf("of the pod at %s: %q, %v", addr, got, err)
				}
			})
		}
	}
	all.Wait()
	for range 50 {
		all.Go(func() {
			if is := networkOf(t); is != home {
				t.Errorf("a thread is in %s, not in %s", is, home)
			}
		})
	}
	all.Wait()

	// An address of this namespace, as of a pod with hostNetwork: nothing is entered, so nothing of Envoy's is there.
	l := listen(t, "tcp", "127.0.0.1:0")
	defer l.Close()
	go func() {
		conn, err := l.Accept()
		if err == nil {
			io.WriteString(conn, "here") //nolint:errcheck // the test says what is missing
			conn.Close()
		}
	}()
	conn, err := dialIn(t.Context(), "/nonexistent", netip.MustParseAddr("127.0.0.1"), netip.MustParseAddrPort(l.Addr().String()))
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(conn); string(b) != "here" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	conn.Close()

	if _, err := ask("10.7.0.9"); err == nil || !strings.Contains(err.Error(), "no network namespace in "+dir+" has the address 10.7.0.9") {
		t.Errorf("of a pod that there is not: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := dialIn(ctx, dir, netip.MustParseAddr("10.7.0.1"), netip.MustParseAddrPort("127.0.0.1:9001")); err == nil {
		t.Error("connected although canceled")
	}
	if _, err := dialIn(t.Context(), t.TempDir(), netip.MustParseAddr("10.7.0.1"), netip.MustParseAddrPort("127.0.0.1:9001")); err == nil || !strings.Contains(err.Error(), "does the container runtime keep them elsewhere") {
		t.Errorf("an empty directory: %v", err)
	}
	if err := withoutCapabilities(func() error { return enter(dir, netip.MustParseAddr("10.7.0.1")) }); err == nil || !strings.Contains(err.Error(), "CAP_SYS_ADMIN") {
		t.Errorf("without a capability: %v", err)
	}
}

// networkOf is the network namespace of the calling goroutine's thread.
func networkOf(t *testing.T) string {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	name, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		t.Error(err)
	}
	return name
}

// withoutCapabilities runs f on a thread that ends after it, and has no capability but that to read what root may not.
func withoutCapabilities(f func() error) error {
	errc := make(chan error)
	go func() {
		runtime.LockOSThread()
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		keep := uint32(1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_SYS_PTRACE)
		data[0] = unix.CapUserData{Effective: keep, Permitted: keep}
		if err := unix.Capset(&header, &data[0]); err != nil {
			errc <- err
			return
		}
		errc <- f()
	}()
	return <-errc
}
