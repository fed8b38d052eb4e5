package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/client-go/rest"
)

// hubFlags say where the hub is, if it is not to be found through the API server.
type hubFlags struct {
	url, caFile, tokenFile string
	insecure               bool
	namespace              string
}

func (f *hubFlags) add(fl *pflag.FlagSet) {
	fl.StringVar(&f.url, "hub", "", "address of the hub, https://HOST[:PORT]; without it, its pod is found and reached by a port-forward")
	fl.StringVar(&f.caFile, "hub-ca-file", "", "certificates (PEM) that --hub is checked against; without it, this machine's")
	fl.BoolVar(&f.insecure, "hub-insecure", false, "do not check the certificate of --hub; only with --hub-token-file")
	fl.StringVar(&f.tokenFile, "hub-token-file", "", "file with the token for --hub; without it, the token of the kubeconfig")
	fl.StringVar(&f.namespace, "lastcall-namespace", "", "namespace that lastcall runs in; without it, all are searched")
}

const defaultNamespace = "lastcall-system"

// validate reports everything that is wrong with the flags.
func (f hubFlags) validate() error {
	var errs []error
	if f.url == "" {
		for flag, set := range map[string]bool{"--hub-ca-file": f.caFile != "", "--hub-insecure": f.insecure, "--hub-token-file": f.tokenFile != ""} {
			if set {
				errs = append(errs, fmt.Errorf("%s is of use only with --hub", flag))
			}
		}
		return errors.Join(errs...)
	}
	if u, err := url.Parse(f.url); err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		errs = append(errs, fmt.Errorf("--hub %s: must be https://HOST or https://HOST:PORT; a token goes there, so http is not taken", f.url))
	}
	if f.insecure && f.caFile != "" {
		errs = append(errs, errors.New("--hub-insecure and --hub-ca-file contradict each other"))
	}
	if f.insecure && f.tokenFile == "" {
		errs = append(errs, errors.New("--hub-insecure: the token of your kubeconfig is not sent to a server whose certificate is not checked; give --hub-ca-file, or a token for the hub alone by --hub-token-file"))
	}
	return errors.Join(errs...)
}

// connect returns a client of the hub: the one --hub names, else the one in the cluster.
func (c *cli) connect(ctx context.Context) (*client, error) {
	if c.hub.url == "" {
		return c.forward(ctx)
	}
	token, err := c.hubToken()
	if err != nil {
		return nil, err
	}
	roots, err := c.hub.roots()
	if err != nil {
		return nil, err
	}
	base := strings.TrimRight(c.hub.url, "/")
	t := transport(&tls.Config{RootCAs: roots, InsecureSkipVerify: c.hub.insecure, MinVersion: tls.VersionTLS12}) //nolint:gosec // --hub-insecure
	t.Proxy = http.ProxyFromEnvironment
	return &client{base: base, token: token, http: httpClient(t), name: base,
		advice: "Is the address of --hub right, and can it be reached from here? Without --hub, the API server leads there.",
		refuse: "It wants one for the audience \"lastcall\", of somebody who may read it, in --hub-token-file; for example from:\n  " + createToken,
		close:  t.CloseIdleConnections}, nil
}

func (f hubFlags) roots() (*x509.CertPool, error) {
	if f.caFile == "" {
		return nil, nil // the machine's own
	}
	pem, err := os.ReadFile(f.caFile)
	if err != nil {
		return nil, fmt.Errorf("--hub-ca-file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("--hub-ca-file %s: holds no certificate in PEM", f.caFile)
	}
	return pool, nil
}

// hubToken is the token for --hub: that of the file, else the one that the kubeconfig has for the API server.
func (c *cli) hubToken() (string, error) {
	if c.hub.tokenFile != "" {
		b, err := os.ReadFile(c.hub.tokenFile)
		if err != nil {
			return "", fmt.Errorf("--hub-token-file: %w", err)
		}
		token := strings.TrimSpace(string(b))
		if token == "" || strings.ContainsAny(token, " \t\r\n") {
			return "", fmt.Errorf("--hub-token-file %s: must hold one token and nothing else", c.hub.tokenFile)
		}
		return token, nil
	}
	config, err := c.config.ToRESTConfig()
	if err != nil {
		return "", fmt.Errorf("the kubeconfig, for the token of --hub: %w\nOr give --hub-token-file", err)
	}
	token, err := bearerToken(config)
	if err != nil {
		return "", fmt.Errorf("the kubeconfig's token, for --hub: %w\nOr give --hub-token-file", err)
	}
	if token == "" {
		return "", errors.New("--hub: the kubeconfig has no token (a client certificate cannot be shown to the hub)\n" +
			"Give --hub-token-file, for example with:\n  " + createToken + " > FILE")
	}
	return token, nil
}

const createToken = "kubectl -n " + defaultNamespace + " create token lastcall-viewer --audience=" + audience

// bearerToken is the token that client-go would send to the API server; credential plugins are asked.
func bearerToken(config *rest.Config) (token string, err error) {
	only := &rest.Config{Host: config.Host, BearerToken: config.BearerToken, BearerTokenFile: config.BearerTokenFile,
		ExecProvider: config.ExecProvider, AuthProvider: config.AuthProvider}
	caught := errors.New("caught")
	rt, err := rest.HTTPWrappersForConfig(only, roundTrip(func(q *http.Request) (*http.Response, error) {
		token, _ = strings.CutPrefix(q.Header.Get("Authorization"), "Bearer ")
		return nil, caught // the request itself goes nowhere
	}))
	if err != nil {
		return "", err
	}
	q, err := http.NewRequest(http.MethodGet, "https://nowhere.invalid", nil)
	if err != nil {
		return "", err
	}
	if _, err := rt.RoundTrip(q); err != nil && !errors.Is(err, caught) { //nolint:bodyclose // there is no response
		return "", err
	}
	return token, nil
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(q *http.Request) (*http.Response, error) { return f(q) }

func transport(t *tls.Config) *http.Transport {
	return &http.Transport{TLSClientConfig: t, TLSHandshakeTimeout: 10 * time.Second,
		DialContext: (&net.Dialer{Timeout: 10 * time.Second}).DialContext, ResponseHeaderTimeout: answerTime}
}

func httpClient(t http.RoundTripper) *http.Client {
	// A redirection is an answer like any other that is not 200: the token goes nowhere else.
	return &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}
