//go:build linux

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/lastcall-k8s/lastcall/internal/testbed"
)

// The watchers are a process of its own, so that its CPU is apart from the API server's and from ours. Each node is one
// connection, as each kube-proxy and each agent has, with the same watches; what comes is counted and thrown away.

// watchCommand is the hidden first argument that makes this program be the watchers.
const watchCommand = "watchers"

// watched are the requests of a node's program; NODE is its name.
var watched = map[string][]struct{ path, labels, fields string }{
	// k8s v1.36.3 cmd/kube-proxy/app/server.go:573-626 and pkg/proxy/node.go.
	"kube-proxy": {
		{"/api/v1/services", "!service.kubernetes.io/service-proxy-name", "spec.clusterIP!=None"},
		{"/apis/discovery.k8s.io/v1/endpointslices", "!service.kubernetes.io/headless", ""},
		{"/apis/networking.k8s.io/v1/servicecidrs", "", ""},
		{"/api/v1/nodes", "", "metadata.name=NODE"},
	},
	// watcher/connect.go
	"agent": {
		{"/api/v1/services", "!service.kubernetes.io/service-proxy-name", "spec.clusterIP!=None"},
		{"/apis/discovery.k8s.io/v1/endpointslices", "!service.kubernetes.io/headless", ""},
		{"/api/v1/pods", "", "spec.nodeName=NODE"},
		{"/api/v1/nodes", "", "metadata.name=NODE"},
	},
}

// counts is what the watchers have seen so far.
type counts struct {
	Open  int64 // watches
	Ended int64 // before their time
	Bytes int64 // received on the connections, TLS included
}

func watchMain(args []string) error {
	f := flag.NewFlagSet(watchCommand, flag.ExitOnError)
	who := f.String("who", "agent", "kube-proxy or agent")
	nodes := f.Int("nodes", 1, "how many")
	version := f.String("version", "", "resource version from which to watch")
	if err := f.Parse(args); err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return err
	}
	var n counter
	g := errgroup.Group{}
	g.SetLimit(20) // handshakes at once
	for i := range *nodes {
		g.Go(func() error { return n.node(config, *who, fmt.Sprintf("watcher-%d", i), *version) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	// Each line of standard input is a question; its end is ours.
	out := json.NewEncoder(os.Stdout)
	for in := bufio.NewScanner(os.Stdin); ; {
		if err := out.Encode(counts{n.open.Load(), n.ended.Load(), n.bytes.Load()}); err != nil || !in.Scan() {
			return err
		}
	}
}

type counter struct{ open, ended, bytes atomic.Int64 }

// node opens one node's watches. They last until the process ends.
func (n *counter) node(config *rest.Config, who, name, version string) error {
	tlsConfig, err := rest.TLSConfigFor(config)
	if err != nil {
		return err
	}
	tlsConfig.NextProtos = []string{"h2"}
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig: tlsConfig, ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
			return countedConn{c, &n.bytes}, err
		},
	}}
	for _, w := range watched[who] {
		q := url.Values{"watch": {"1"}, "allowWatchBookmarks": {"true"}, "timeoutSeconds": {"36000"}, "resourceVersion": {version}}
		if w.labels != "" {
			q.Set("labelSelector", w.labels)
		}
		if w.fields != "" {
			q.Set("fieldSelector", strings.ReplaceAll(w.fields, "NODE", name))
		}
		req, err := http.NewRequest(http.MethodGet, config.Host+w.path+"?"+q.Encode(), nil)
		if err != nil {
			return err
		}
		req.Header.Set("Accept", "application/vnd.kubernetes.protobuf;stream=watch")
		a, err := client.Do(req)
		if err != nil {
			return err
		}
		if a.StatusCode != http.StatusOK {
			text, _ := io.ReadAll(io.LimitReader(a.Body, 512))
			a.Body.Close()
			return fmt.Errorf("watch %s: %s: %s", w.path, a.Status, text)
		}
		n.open.Add(1)
		go func() { // ends with the process
			io.Copy(io.Discard, a.Body) //nolint:errcheck // counted
			n.ended.Add(1)
		}()
	}
	return nil
}

type countedConn struct {
	net.Conn
	bytes *atomic.Int64
}

func (c countedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.bytes.Add(int64(n))
	return n, err
}

// watchers is the process, from outside.
type watchers struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *json.Decoder
	want int64
	once sync.Once
}

// startWatchers returns when all watches are open. They run beside the API server, over its loopback.
func startWatchers(c *testbed.Cluster, who string, nodes int, version string) (*watchers, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	w := &watchers{want: int64(nodes * len(watched[who]))}
	w.cmd = c.Command("control-plane", self, watchCommand, "-who", who, "-nodes", fmt.Sprint(nodes), "-version", version)
	w.cmd.Stderr = os.Stderr
	if w.in, err = w.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	w.out = json.NewDecoder(out)
	if err := w.cmd.Start(); err != nil {
		return nil, err
	}
	var first counts
	if err := w.out.Decode(&first); err != nil {
		w.stop()
		return nil, fmt.Errorf("%d watchers like %s: %w", nodes, who, err)
	}
	return w, nil
}

func (w *watchers) read() (n counts, err error) {
	if _, err := fmt.Fprintln(w.in); err != nil {
		return n, err
	}
	if err := w.out.Decode(&n); err != nil {
		return n, err
	}
	if n.Open != w.want || n.Ended > w.want/2 {
		return n, fmt.Errorf("%d of %d watches open, %d ended: the figures would be of others", n.Open-n.Ended, w.want, n.Ended)
	}
	return n, nil
}

// stop ends the process. What it exits with says nothing: its connections are cut.
func (w *watchers) stop() {
	w.once.Do(func() {
		w.in.Close()
		done := make(chan error, 1)
		go func() { done <- w.cmd.Wait() }()
		select {
		case <-done:
		case <-time.After(5 * time.Second):
			w.cmd.Process.Kill() //nolint:errcheck // it has ended then
			<-done
		}
	})
}
