package hub

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"time"

	"k8s.io/client-go/transport"
)

// What an agent may take to answer, and how much it may say before it does.
const (
	dialing    = 5 * time.Second
	answering  = 10 * time.Second
	maxHeaders = 32 << 10
)

// NewClient speaks to agents: over TLS, with the hub's token, which is read again as it is renewed, and following no redirect
// with it.
func NewClient(config *tls.Config, tokenFile string) (*http.Client, error) {
	short := &http.Transport{TLSClientConfig: config, DialContext: (&net.Dialer{Timeout: dialing}).DialContext, TLSHandshakeTimeout: dialing,
		ResponseHeaderTimeout: answering, MaxIdleConnsPerHost: 1, IdleConnTimeout: dialing, MaxResponseHeaderBytes: maxHeaders}
	withToken, err := transport.NewBearerAuthWithRefreshRoundTripper("", tokenFile, agentTransport{short, streams{config}})
	if err != nil {
		return nil, fmt.Errorf("token for the agents: %w", err)
	}
	return &http.Client{Transport: withToken, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, nil
}

// agentTransport has a way for requests that are answered at once, and another for those whose answer does not end.
type agentTransport struct {
	short   *http.Transport
	streams streams
}

func (t agentTransport) RoundTrip(q *http.Request) (*http.Response, error) {
	if q.URL.Path == "/v1/events" {
		return t.streams.RoundTrip(q)
	}
	return t.short.RoundTrip(q)
}

// streams makes a connection for each request, and no goroutine. http.Transport has two for each connection, for
// pipelining and reuse that a stream has no use for: with 5,000 agents that is 80 MiB of stacks.
type streams struct{ config *tls.Config }

func (t streams) RoundTrip(q *http.Request) (*http.Response, error) {
	ctx := q.Context()
	begin, cancel := context.WithTimeout(ctx, dialing)
	defer cancel()
	conn, err := (&tls.Dialer{Config: t.config}).DialContext(begin, "tcp", q.URL.Host)
	if err != nil {
		return nil, err
	}
	s := &stream{conn: conn, ended: context.AfterFunc(ctx, func() { conn.Close() })} // ends a blocked read
	a, err := s.ask(q)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return a, nil
}

// stream is the body of an answer that has its connection for itself.
type stream struct {
	io.ReadCloser
	conn  net.Conn
	ended func() bool
}

func (s *stream) ask(q *http.Request) (*http.Response, error) {
	if err := s.conn.SetDeadline(time.Now().Add(answering)); err != nil {
		return nil, err
	}
	if err := q.Write(s.conn); err != nil {
		return nil, err
	}
	limited := &io.LimitedReader{R: s.conn, N: maxHeaders}
	// A small buffer: who reads the body has one.
	a, err := http.ReadResponse(bufio.NewReaderSize(limited, 512), q)
	if err != nil {
		return nil, err
	}
	limited.N = math.MaxInt64
	s.ReadCloser, a.Body = a.Body, s
	return a, s.conn.SetDeadline(time.Time{})
}

func (s *stream) Close() error {
	s.ended()
	return s.conn.Close()
}
