//go:build linux

// Package apiserver starts etcd and a real kube-apiserver on loopback for tests of watch semantics.
package apiserver

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/lastcall-k8s/lastcall/internal/testbed"
)

// Server is an API server with RBAC and two users: Admin, who may do everything, and Agent, who may
// do what the test grants.
type Server struct {
	t      testing.TB
	dir    string
	binary string
	args   []string
	etcd   *exec.Cmd
	api    *exec.Cmd
	etcdAt string
	at     string // host:port
}

const (
	adminToken = "admin-token"
	agentToken = "agent-token"
	// Agent is the user that AgentConfig speaks as.
	Agent = "agent"
)

// Start runs etcd and the testbed's kube-apiserver until the test ends. Without them the test is skipped, and
// with REQUIRE_CLUSTER=1 it fails. extra are more flags of the API server.
func Start(t testing.TB, extra ...string) *Server {
	t.Helper()
	etcd, err := exec.LookPath("etcd")
	if err != nil {
		if os.Getenv("REQUIRE_CLUSTER") == "1" {
			t.Fatal(err)
		}
		t.Skip(err, " (REQUIRE_CLUSTER=1 makes this a failure)")
	}
	binary := testbed.RequireComponent(t, "kube-apiserver")
	s := &Server{t: t, dir: t.TempDir(), binary: binary, at: freeAddr(t), etcdAt: freeAddr(t)}
	s.etcd = s.start(etcd, "--data-dir", filepath.Join(s.dir, "etcd"), "--unsafe-no-fsync", "--log-level", "error",
		"--listen-client-urls", "http://"+s.etcdAt, "--advertise-client-urls", "http://"+s.etcdAt,
		"--listen-peer-urls", "http://"+freeAddr(t))
	t.Cleanup(func() { s.kill(s.etcd) })
	s.await("etcd", "http://"+s.etcdAt+"/health", http.DefaultClient)

	s.write("tokens.csv", []byte(adminToken+",admin,1,system:masters\n"+agentToken+","+Agent+",2\n"))
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	s.write("sa.key", pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
	_, port, _ := net.SplitHostPort(s.at)
	s.args = append([]string{
		"--etcd-servers", "http://" + s.etcdAt, "--service-cluster-ip-range", "10.96.0.0/16",
		"--bind-address", "127.0.0.1", "--secure-port", port, "--cert-dir", filepath.Join(s.dir, "certs"),
		"--token-auth-file", filepath.Join(s.dir, "tokens.csv"), "--authorization-mode", "RBAC",
		"--service-account-key-file", filepath.Join(s.dir, "sa.key"),
		"--service-account-signing-key-file", filepath.Join(s.dir, "sa.key"),
		"--service-account-issuer", "https://kubernetes.default.svc",
		// No controllers run: pods need no service account, and nodes become ready by themselves.
		"--disable-admission-plugins", "ServiceAccount,TaintNodesByCondition",
		"--endpoint-reconciler-type", "none",
	}, extra...)
	s.StartAPI()
	t.Cleanup(func() {
		if s.api != nil {
			s.KillAPI()
		}
	})
	return s
}

// Addr is where the API server listens, also while it does not run.
func (s *Server) Addr() string { return s.at }

// AdminConfig speaks for the admin.
func (s *Server) AdminConfig() *rest.Config { return config(s.at, adminToken) }

// AgentConfig speaks for Agent, to the API server or to something in front of it.
func (s *Server) AgentConfig(addr string) *rest.Config { return config(addr, agentToken) }

func config(addr, token string) *rest.Config {
	return &rest.Config{Host: "https://" + addr, BearerToken: token, TLSClientConfig: rest.TLSClientConfig{Insecure: true}}
}

// StartAPI starts the API server and returns when it is ready.
func (s *Server) StartAPI() {
	s.t.Helper()
	s.api = s.start(s.binary, s.args...)
	client, err := rest.HTTPClientFor(s.AdminConfig())
	if err != nil {
		s.t.Fatal(err)
	}
	s.await("kube-apiserver", "https://"+s.at+"/readyz", client)
}

// KillAPI kills the API server: nobody is told goodbye.
func (s *Server) KillAPI() {
	s.kill(s.api)
	s.api = nil
}

// Compact drops the history of etcd up to now.
func (s *Server) Compact() {
	s.t.Helper()
	var revision string
	for _, q := range []struct{ path, body string }{
		{"/v3/kv/range", `{"key":"AA==","limit":1}`}, {"/v3/kv/compaction", `{"revision":%s,"physical":true}`}} {
		body := q.body
		if strings.Contains(body, "%s") {
			body = fmt.Sprintf(body, revision)
		}
		a, err := http.Post("http://"+s.etcdAt+q.path, "application/json", strings.NewReader(body))
		if err != nil {
			s.t.Fatal(err)
		}
		text, err := io.ReadAll(a.Body)
		a.Body.Close()
		if err != nil || a.StatusCode != http.StatusOK {
			s.t.Fatalf("etcd %s: %s: %s %v", q.path, a.Status, text, err)
		}
		if _, after, ok := strings.Cut(string(text), `"revision":"`); ok {
			revision, _, _ = strings.Cut(after, `"`)
		}
	}
}

func (s *Server) start(binary string, args ...string) *exec.Cmd {
	s.t.Helper()
	log := &lastBytes{}
	cmd := exec.Command(binary, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if s.t.Failed() {
			s.t.Logf("the last words of %s:\n%s", filepath.Base(binary), log)
		}
	})
	return cmd
}

func (s *Server) kill(cmd *exec.Cmd) {
	cmd.Process.Kill()
	cmd.Wait() // its error says that it was killed
}

func (s *Server) await(what, url string, client *http.Client) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	every := time.NewTicker(50 * time.Millisecond)
	defer every.Stop()
	for {
		q, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			s.t.Fatal(err)
		}
		a, err := client.Do(q)
		if err == nil {
			a.Body.Close()
			if a.StatusCode == http.StatusOK {
				return
			}
			err = errors.New(a.Status)
		}
		select {
		case <-ctx.Done():
			s.t.Fatalf("%s does not get ready: %v", what, err)
		case <-every.C:
		}
	}
}

func (s *Server) write(name string, data []byte) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), data, 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func freeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// lastBytes keeps the end of a log. os/exec writes to it from one goroutine, which Wait ends.
type lastBytes struct{ bytes.Buffer }

func (b *lastBytes) Write(p []byte) (int, error) {
	if b.Len() > 1<<16 {
		b.Next(b.Len() / 2)
	}
	return b.Buffer.Write(p)
}
