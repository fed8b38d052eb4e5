package consumer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
)

// Source is where a replica is asked: an address, or a unix socket of its own pod.
type Source struct {
	Addr netip.AddrPort
	Unix string
	TLS  bool
	// SkipVerify: the certificate is not verified. A pod's address is rarely in one.
	SkipVerify bool
	// Path of HTTP requests, "" for the kind's own.
	Path string
	// Domain is the cluster's DNS domain.
	Domain string
	// Pod, if it is given, is the address of the pod in whose network namespace the connection is made, and Namespaces the
	// directory where that is found.
	Pod        netip.Addr
	Namespaces string
}

// ParseSource reads "unix:/path" or a URL whose host is an IP address or localhost: the agent resolves no
// names, what it reads must be a replica and not whoever a Service chooses.
func ParseSource(s string) (Source, error) {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		if !strings.HasPrefix(path, "/") {
			return Source{}, fmt.Errorf("%q: a socket is given as unix:/absolute/path", s)
		}
		return Source{Unix: path}, nil
	}
	u, err := url.Parse(s)
	if err != nil {
		return Source{}, fmt.Errorf("%q: must be unix:/path or a URL such as http://127.0.0.1:8080", s)
	}
	ports := map[string]string{"http": "80", "https": "443", "dns": "53"}
	if ports[u.Scheme] == "" || u.User != nil {
		return Source{}, fmt.Errorf("%q: must be unix:/path, http://ADDRESS:PORT, https://ADDRESS:PORT or dns://ADDRESS, without a password", s)
	}
	host, port := u.Hostname(), u.Port()
	if host == "localhost" {
		host = "127.0.0.1"
	}
	if port == "" {
		port = ports[u.Scheme]
	}
	at, err := netip.ParseAddrPort(net.JoinHostPort(host, port))
	if err != nil {
		return Source{}, fmt.Errorf("%q: the host must be an IP address or localhost", s)
	}
	src := Source{Addr: at, TLS: u.Scheme == "https"}
	if p := u.RequestURI(); p != "/" && p != "" {
		src.Path = p
	}
	return src, nil
}

func (s Source) String() string {
	switch {
	case s.Unix != "":
		return "unix:" + s.Unix + s.Path
	case s.TLS:
		return "https://" + s.Addr.String() + s.Path + s.inside()
	}
	return s.Addr.String() + s.Path + s.inside()
}

func (s Source) dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	if s.Unix != "" {
		return d.DialContext(ctx, "unix", s.Unix)
	}
	if s.Pod.IsValid() {
		return dialIn(ctx, s.Namespaces, s.Pod, s.Addr)
	}
	return d.DialContext(ctx, "tcp", s.Addr.String())
}

func (s Source) inside() string {
	if !s.Pod.IsValid() {
		return ""
	}
	return " of the pod at " + s.Pod.String()
}

// errBroken: the connection was refused or broke. Whoever answers next may be another process, which never had
// what the one before had.
var errBroken = errors.New("connection broke")

// broken marks errors that a process which ended could have caused.
func broken(err error) error {
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		errors.Is(err, syscall.ENOENT) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: %w", errBroken, err)
	}
	return err
}

const (
	// maxBody bounds an answer: a cluster with 50,000 endpoints behind one Envoy is about that large.
	maxBody = 64 << 20
	// maxValue bounds what of it is held at once: a line, or one value of JSON.
	maxValue = 1 << 20
)

var (
	errTooLarge = fmt.Errorf("the answer is larger than %d MiB", maxBody>>20)
	errTooLong  = errors.New("one value of the answer is too large")
)

// bounded reads no more of an answer than is allowed.
type bounded struct {
	r           io.Reader
	body, value int64 // read so far, of all and since mark
	most        int64 // of a value; 0 is maxValue
}

// mark says that a value was taken.
func (b *bounded) mark() { b.value = 0 }

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	b.body += int64(n)
	b.value += int64(n)
	switch {
	case b.body > maxBody:
		return 0, errTooLarge
	case b.value > cmp.Or(b.most, maxValue):
		return 0, errTooLong
	}
	return n, err
}
