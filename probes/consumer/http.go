package consumer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// getter asks one server over HTTP. It knows GET only, goes through no proxy, follows no redirect
// and accepts no compression: an answer is as large as it is on the wire.
type getter struct {
	source Source
	client *http.Client
}

func newGetter(s Source) *getter {
	t := &http.Transport{
		DialContext:            func(ctx context.Context, _, _ string) (net.Conn, error) { return s.dial(ctx) },
		TLSClientConfig:        &tls.Config{InsecureSkipVerify: s.SkipVerify}, //nolint:gosec // asked for; what is read are addresses
		DisableCompression:     true,
		MaxResponseHeaderBytes: 64 << 10,
		MaxIdleConns:           1,
		IdleConnTimeout:        time.Minute,
	}
	return &getter{s, &http.Client{
		Transport:     t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func (g *getter) close() { g.client.CloseIdleConnections() }

// get asks for a path and has the body parsed. Nothing of the body is in any error.
func (g *getter) get(ctx context.Context, path, accept string, parse func(*http.Response, *bounded) error) error {
	u := &url.URL{Scheme: "http", Host: "localhost"}
	if g.source.TLS {
		u.Scheme = "https"
	}
	if g.source.Unix == "" {
		u.Host = g.source.Addr.String()
	}
	full, err := u.Parse(path)
	if err != nil || full.Host != u.Host {
		return fmt.Errorf("the path %q is none", path)
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, full.String(), nil)
	if err != nil {
		return fmt.Errorf("ask for %s: %w", path, err)
	}
	q.Header.Set("User-Agent", "lastcall-agent")
	if accept != "" {
		q.Header.Set("Accept", accept)
	}
	a, err := g.client.Do(q)
	if err != nil {
		return fmt.Errorf("ask %s: %w", g.source, broken(plain(err)))
	}
	defer a.Body.Close()
	switch {
	case a.StatusCode >= 300 && a.StatusCode < 400:
		return fmt.Errorf("GET %s answers with a redirect to %.100q, which is not followed; is it the right port?", path, host(a.Header.Get("Location")))
	case a.StatusCode != http.StatusOK:
		return fmt.Errorf("GET %s answers with status %d; is it the right port?", path, a.StatusCode)
	}
	body := &bounded{r: a.Body}
	if err := parse(a, body); err != nil {
		return fmt.Errorf("GET %s: %w", path, broken(err))
	}
	// What was not needed must have arrived too: an answer that is cut off says nothing of who is missing.
	// By marking, what is skipped counts to the body only.
	if _, err := io.Copy(io.Discard, readMarking{body}); err != nil {
		return fmt.Errorf("GET %s: %w", path, broken(err))
	}
	return nil
}

// host is all that is told of where a redirect leads: the rest may hold what is nobody's business.
func host(location string) string {
	u, err := url.Parse(location)
	if err != nil || u.Host == "" {
		return "another path"
	}
	return u.Host
}

type readMarking struct{ *bounded }

func (m readMarking) Read(p []byte) (int, error) {
	m.mark()
	return m.bounded.Read(p)
}

var (
	errNotHTTP     = errors.New("what answers does not speak HTTP as it should; is it the right port?")
	errCertificate = errors.New("its certificate cannot be verified; skipVerify does without")
)

// plain is an error of net/http without the URL, and without anything that was answered: it quotes that.
func plain(err error) error {
	if u := (*url.Error)(nil); errors.As(err, &u) {
		err = u.Err
	}
	switch {
	case errors.As(err, new(*tls.CertificateVerificationError)):
		return errCertificate
	case errors.As(err, new(*net.OpError)), errors.As(err, new(outside)), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled),
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return err
	}
	return errNotHTTP
}
