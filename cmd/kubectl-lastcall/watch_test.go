package main

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/cli-runtime/pkg/genericclioptions"
)

// TestStayRenews: a token that is about to expire is renewed without a word.
func TestStayRenews(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("token"), 0o600); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	x := &explain{cli: &cli{out: &said, err: &said, view: view{now: time.Now}, config: genericclioptions.NewConfigFlags(true),
		hub: hubFlags{url: server.URL, insecure: true, tokenFile: file}}}
	closed := false
	old := &client{renew: time.Now().Add(-time.Second), close: func() { closed = true }}
	ctx, cancel := context.WithCancel(t.Context())
	got, err := x.stay(ctx, old, &follower{}, func(context.Context, *client) ([]news, error) {
		cancel()
		return nil, nil
	})
	if err != nil || got == old || got.token != "token" || !closed || said.Len() > 0 {
		t.Errorf("%v, the same client: %v, the old one closed: %v, said: %q", err, got == old, closed, said.String())
	}
}
