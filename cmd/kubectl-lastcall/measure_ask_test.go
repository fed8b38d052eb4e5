package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/cli-runtime/pkg/genericclioptions"
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
	if ask() || ask() || asked != 1 || a.lost == nil || a.wait != 2*hubAgain {
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
