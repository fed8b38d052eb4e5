package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/streaming/pkg/httpstream"
)

// tunnel is a port-forward to one port of one pod. Unlike `kubectl port-forward` it has no listener on this
// machine: nobody else here can use it.
type tunnel struct {
	conn httpstream.Connection
	port int
	ids  atomic.Int64
}

// openTunnel dials as kubectl does: over a websocket, and over SPDY where the API server or a proxy before it does
// not take that, or where the user may create pods/portforward but not get it, which is the websocket's verb.
// The errors of the dialers are those of k8s.io/streaming (client-go v0.36): apimachinery's IsUpgradeFailure, of the
// same text, does not know them.
func openTunnel(ctx context.Context, config *rest.Config, client rest.Interface, namespace, pod string, port int) (*tunnel, error) {
	at := client.Post().Resource("pods").Namespace(namespace).Name(pod).SubResource("portforward").URL()
	rt, upgrader, err := spdy.RoundTripperFor(config)
	if err != nil {
		return nil, err
	}
	overWebsocket, err := portforward.NewSPDYOverWebsocketDialerForStreaming(at, config)
	if err != nil {
		return nil, err
	}
	dialer := portforward.NewFallbackDialerForStreaming(overWebsocket, spdy.NewDialerForStreaming(upgrader, &http.Client{Transport: rt}, http.MethodPost, at),
		func(err error) bool { return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err) })

	// Dial takes no context. Left behind at Ctrl-C, it ends with the process.
	type dialed struct {
		conn httpstream.Connection
		err  error
	}
	done := make(chan dialed, 1)
	go func() {
		conn, _, err := dialer.Dial(portforward.PortForwardProtocolV1Name)
		done <- dialed{conn, err}
	}()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case d := <-done:
		if d.err != nil {
			return nil, d.err
		}
		return &tunnel{conn: d.conn, port: port}, nil
	}
}

// dial opens one connection to the port: a pair of streams, one for data, one on which the kubelet says what went
// wrong.
func (t *tunnel) dial(context.Context, string, string) (net.Conn, error) {
	h := http.Header{}
	h.Set(corev1.StreamType, corev1.StreamTypeError)
	h.Set(corev1.PortHeader, strconv.Itoa(t.port))
	h.Set(corev1.PortForwardRequestIDHeader, strconv.FormatInt(t.ids.Add(1), 10))
	errs, err := t.conn.CreateStream(h)
	if err != nil {
		return nil, fmt.Errorf("the port-forward: %w", err)
	}
	errs.Close() // nothing is written to it
	h.Set(corev1.StreamType, corev1.StreamTypeData)
	data, err := t.conn.CreateStream(h)
	if err != nil {
		t.conn.RemoveStreams(errs)
		return nil, fmt.Errorf("the port-forward: %w", err)
	}
	return &forwarded{t: t, data: data, errs: errs}, nil
}

func (t *tunnel) close() { t.conn.Close() }

// forwarded is one connection through the tunnel.
type forwarded struct {
	t          *tunnel
	data, errs httpstream.Stream
	once       sync.Once
}

func (f *forwarded) Read(p []byte) (int, error) {
	n, err := f.data.Read(p)
	if n > 0 || !errors.Is(err, io.EOF) {
		return n, err
	}
	// The other end is closed, and so is the stream of errors: this does not wait.
	if text, _ := io.ReadAll(io.LimitReader(f.errs, 4096)); len(text) > 0 {
		return 0, fmt.Errorf("the port-forward: %s", strings.TrimSpace(string(text)))
	}
	return 0, err
}

func (f *forwarded) Write(p []byte) (int, error) { return f.data.Write(p) }

func (f *forwarded) Close() error {
	var err error
	f.once.Do(func() {
		err = f.data.Reset()
		f.t.conn.RemoveStreams(f.data, f.errs)
	})
	return err
}

// Streams have no addresses and no deadlines: requests end by their contexts, which close the connection.
func (f *forwarded) LocalAddr() net.Addr              { return forwardedAddr{} }
func (f *forwarded) RemoteAddr() net.Addr             { return forwardedAddr{} }
func (f *forwarded) SetDeadline(time.Time) error      { return nil }
func (f *forwarded) SetReadDeadline(time.Time) error  { return nil }
func (f *forwarded) SetWriteDeadline(time.Time) error { return nil }

type forwardedAddr struct{}

func (forwardedAddr) Network() string { return "port-forward" }
func (forwardedAddr) String() string  { return "pod" }
