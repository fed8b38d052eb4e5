package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// TestAskerComesBack: a hub that goes away is told once, asked ever more seldom, connected to anew, and told to be back.
func TestAskerComesBack(t *testing.T) {
	away, asked := true, 0
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		asked++
		if since, err := time.ParseDuration(q.FormValue("since")); q.FormValue("namespace") != "sandbox" || err != nil || since != 15*time.Second {
			t.Errorf("asked %s", q.URL)
		}
		if away {
			http.Error(w, "{}", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprint(w, `[{"uid":"a"}]`)
	}))
	defer server.Close()
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("token"), 0o600); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	c := &cli{out: &said, err: &said, view: view{now: time.Now}, config: genericclioptions.NewConfigFlags(true), hub: hubFlags{url: server.URL, insecure: true, tokenFile: file}}
	hub, err := c.connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	a := &asker{cli: c, hub: hub, say: c.note, wait: hubAgain}
	ask := func() bool {
		ds, ok := a.departures(t.Context(), "sandbox", 5*time.Second)
		return ok && len(ds) == 1 && ds[0].UID == "a"
	}
	first, second := ask(), ask()
	if first || second || asked != 1 || a.lost == nil || a.wait != 2*hubAgain {
		t.Errorf("asked %d times at once, the next after %v", asked, a.wait)
	}
	a.next = time.Time{} // that time is over
	if ask() || a.wait != 4*hubAgain || strings.Count(said.String(), "Trying again.") != 1 {
		t.Errorf("waits %v, said: %s", a.wait, &said)
	}
	away, a.next = false, time.Time{}
	if !ask() || a.hub == hub || a.lost != nil || a.wait != hubAgain || !strings.Contains(said.String(), "answers again.") {
		t.Errorf("the same client: %v, said: %s", a.hub == hub, &said)
	}
}

// TestNotRemoved: an API server that cannot be reached is asked until the time is over, and then it is said that something is left.
func TestNotRemoved(t *testing.T) {
	var mu sync.Mutex
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		asked++
		panic(http.ErrAbortHandler) // hangs up
	}))
	defer server.Close()
	k, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*removeWait)
	defer cancel()
	err = (&canary{k: k, name: "lastcall-measure-x7k2p", namespace: "sandbox"}).removed(ctx)
	mu.Lock()
	defer mu.Unlock()
	if err == nil || !strings.Contains(err.Error(), "the API server does not answer") || asked < 2 {
		t.Errorf("asked %d times: %v", asked, err)
	}
}

// TestLive: on a terminal one line that fits; else a line now and then.
func TestLive(t *testing.T) {
	var said bytes.Buffer
	l := &live{cli: &cli{err: &said}, screen: screen{terminal: true, width: 10}}
	l.now("%d of %d s: \x1b[31mmore", 1, 90)
	l.say("done")
	if got := said.String(); got != "\r1 of 90 s\x1b[K\r\x1b[Kdone\n" {
		t.Errorf("%q", got)
	}
	said.Reset()
	l = &live{cli: &cli{err: &said}, screen: screen{width: 10}}
	l.now("first of them")
	l.now("too soon")
	l.end()
	if got := said.String(); got != "first of them\n" {
		t.Errorf("%q", got)
	}
	l.next = time.Now().Add(-time.Second)
	l.now("\x1b]0;later")
	if got := said.String(); got != "first of them\n\\x1b]0;later\n" {
		t.Errorf("%q", got)
	}
}
