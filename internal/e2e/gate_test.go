//go:build linux

package e2e

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"testing"
)

// gate is a way from a node to the API server that can be closed to one agent while everybody else on the node goes on.
type gate struct {
	kubeconfig string
	dial       func() (net.Conn, error)
	listener   net.Listener

	mu     sync.Mutex
	closed bool
	conns  []net.Conn
	wg     sync.WaitGroup
}

var serverLine = regexp.MustCompile(`https://([\d.]+:\d+)`)

func (w *world) gate(t *testing.T, node string) *gate {
	t.Helper()
	config, err := os.ReadFile(w.NodeKubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	server := serverLine.FindSubmatch(config)
	if server == nil {
		t.Fatalf("no server in\n%s", config)
	}
	dial := w.Dialer(node)
	g := &gate{kubeconfig: filepath.Join(t.TempDir(), "kubeconfig"),
		dial: func() (net.Conn, error) { return dial(t.Context(), "tcp", string(server[1])) }}
	err = w.RunIn(node, func() (err error) { g.listener, err = net.Listen("tcp", "127.0.0.1:0"); return err })
	if err != nil {
		t.Fatal(err)
	}
	config = serverLine.ReplaceAll(config, []byte("https://"+g.listener.Addr().String()))
	if err := os.WriteFile(g.kubeconfig, config, 0o600); err != nil {
		t.Fatal(err)
	}
	g.wg.Go(g.serve)
	t.Cleanup(func() {
		g.listener.Close()
		g.close()
		g.wg.Wait()
	})
	return g
}

func (g *gate) serve() {
	for {
		in, err := g.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		out, err := g.dial()
		if err != nil || !g.admit(in, out) {
			in.Close()
			if err == nil {
				out.Close()
			}
			continue
		}
		pipe := func(to, from net.Conn) { io.Copy(to, from); to.Close(); from.Close() } //nolint:errcheck // a closed gate
		g.wg.Go(func() { pipe(out, in) })
		g.wg.Go(func() { pipe(in, out) })
	}
}

func (g *gate) admit(conns ...net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		g.conns = append(g.conns, conns...)
	}
	return !g.closed
}

// close cuts every connection, and those that come.
func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	for _, c := range g.conns {
		c.Close()
	}
	g.conns = nil
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = false
}
