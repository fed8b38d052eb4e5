package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lastcall-k8s/lastcall/internal/freshnet"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// buildAgent builds the program under test.
func buildAgent(t *testing.T) string {
	t.Helper()
	// Not t.TempDir: a test runs it as another user.
	dir, err := os.MkdirTemp("", "lastcall-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "lastcall")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return binary
}

// TestRefuses: mistakes are told all at once, with what to do.
func TestRefuses(t *testing.T) {
	binary := buildAgent(t)
	for _, tt := range []struct {
		name string
		args []string
		want []string
	}{
		{"several mistakes at once", []string{"agent", "--debug-listen", "0.0.0.0:1", "--poll", "5s", "--horizon", "1ms", "--events-mib", "0", "--log-level", "loud"},
			[]string{"--debug-listen 0.0.0.0:1: must be a loopback address", "--poll 5s: must be between 100us and 1s", "--horizon 1ms: must be at least 1s",
				"--events-mib 0: must be between", `--log-level "loud": must be debug, info, warn or error`}},
		{"neither in a pod nor given a kubeconfig", []string{"agent"}, []string{"not in a pod", "give --kubeconfig"}},
		{"no such kubeconfig", []string{"agent", "--kubeconfig", "/nonexistent"}, []string{"--kubeconfig", "/nonexistent"}},
		{"an argument too many", []string{"agent", "please"}, []string{`unknown command "please"`}},
		{"an unknown flag", []string{"agent", "--interval=1s"}, []string{"unknown flag: --interval"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cmd := exec.Command(binary, tt.args...)
			cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
			var stdout, stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			if err := cmd.Run(); err == nil {
				t.Error("exited 0")
			}
			for _, w := range tt.want {
				if !strings.Contains(stderr.String(), w) {
					t.Errorf("standard error lacks %q:\n%s", w, stderr.String())
				}
			}
			if stdout.Len() > 0 {
				t.Errorf("standard output: %s", stdout.String())
			}
		})
	}
}

const services = `
add table ip kube-proxy
add chain ip kube-proxy nat-prerouting { type nat hook prerouting priority -100 ; }
`

// TestNotReady: whatever is missing, the agent goes on trying, and /readyz says what it waits for.
func TestNotReady(t *testing.T) {
	binary := buildAgent(t)
	for _, tt := range []struct {
		name  string
		rules string
		user  uint32
		want  string
	}{
		{"no kube-proxy", "", 0, "no kube-proxy rules in this network namespace"},
		{"no NET_ADMIN", services, 65534, "run as root with CAP_NET_ADMIN"},
		{"no API server", services, 0, "kubernetes API: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ns := freshnet.New(t, "nft")
			if tt.rules != "" {
				ns.Exec(t, tt.rules, "nft", "-f", "-")
			}
			kubeconfig := filepath.Join(filepath.Dir(binary), "kubeconfig")
			if err := os.WriteFile(kubeconfig, []byte(kubeconfigNowhere), 0o644); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(binary, "agent", "--node-name", "n", "--kubeconfig", kubeconfig, "--list-jitter", "0")
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: tt.user, Gid: tt.user}}
			var log syncBuffer
			cmd.Stderr = &log
			if err := ns.Do(cmd.Start); err != nil {
				t.Fatal(err)
			}
			status, body := "", ""
			deadline := time.Now().Add(20 * time.Second)
			for !strings.Contains(body, tt.want) && time.Now().Before(deadline) {
				status, body = get(ns, "http://127.0.0.1:9747/readyz")
			}
			if !strings.HasPrefix(status, "503") || !strings.Contains(body, tt.want) {
				t.Errorf("/readyz: %s %s\nwant 503 and %q", status, body, tt.want)
			}
			if status, _ := get(ns, "http://127.0.0.1:9747/healthz"); !strings.HasPrefix(status, "200") {
				t.Errorf("/healthz: %s", status)
			}
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err != nil {
				t.Errorf("after SIGTERM: %v", err)
			}
			if n := strings.Count(log.String(), "level="); n == 0 || n > 8 {
				t.Errorf("%d log lines, want a few:\n%s", n, log.String())
			}
		})
	}
}

const kubeconfigNowhere = `
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://127.0.0.1:1"}}]
contexts: [{name: c, context: {cluster: c, user: u}}]
users: [{name: u, user: {token: t}}]
current-context: c
`

// get fetches a page from inside a namespace.
func get(ns *freshnet.Namespace, url string) (status, body string) {
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(_ context.Context, network, addr string) (conn net.Conn, err error) {
			err = ns.Do(func() (err error) { conn, err = net.Dial(network, addr); return err })
			return conn, err
		}}}
	resp, err := client.Get(url)
	if err != nil {
		return err.Error(), ""
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return resp.Status, string(b)
}

// syncBuffer is a buffer that two goroutines may use.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}
func (s *syncBuffer) String() string { s.mu.Lock(); defer s.mu.Unlock(); return s.b.String() }

// TestEvents: what a reader of /v1/events gets: a gap for what is lost, heartbeats, the last line at the end.
func TestEvents(t *testing.T) {
	ring := ledger.NewRing("boot", 500, time.Hour, func(t time.Time) time.Time { return t })
	for range 20 {
		ring.Started(time.Now(), ledger.Start{Node: "node-1"})
	}
	stop, end := context.WithCancel(context.Background())
	defer end()
	s := &server{ready: &readiness{}, events: ring, time: newTimeline(readClocks), applied: func() string { return "77" },
		who: func() ledger.Event { return ledger.Event{Node: "node-1", NodeUID: "u"} }}
	s.ready.set("kube-proxy", errors.New("is not there"))
	web := httptest.NewServer(s.v1(stop))
	defer web.Close()

	fetch := func(query string) (status int, events []ledger.Event) {
		t.Helper()
		resp, err := http.Get(web.URL + "/v1/events" + query)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		dec := json.NewDecoder(resp.Body)
		for {
			var e ledger.Event
			if dec.Decode(&e) != nil {
				return resp.StatusCode, events
			}
			events = append(events, e)
		}
	}
	_, all := fetch("")
	hello, first, last := all[0], all[1], all[len(all)-1]
	if hello.Type != ledger.EventHello || hello.Boot != "boot" || hello.NodeUID != "u" || hello.NotReady != "kube-proxy: is not there" {
		t.Errorf("first line %+v, want who speaks", hello)
	}
	if first.Type != ledger.EventGap || first.From != 1 || first.To+1 != all[2].Seq {
		t.Errorf("second line %+v, want the gap before line %d", first, all[2].Seq)
	}
	if last.Type != ledger.EventHeartbeat || last.Next != 21 || last.ResourceVersion != "77" {
		t.Errorf("last line %+v, want a heartbeat", last)
	}
	if _, events := fetch("?since=20"); len(events) != 3 || events[1].Seq != 20 {
		t.Errorf("since 20: %+v", events)
	}
	if status, _ := fetch("?since=yesterday"); status != http.StatusBadRequest {
		t.Errorf("since=yesterday: %d", status)
	}

	followed := make(chan []ledger.Event)
	begun := make(chan struct{})
	go func() {
		resp, err := http.Get(web.URL + "/v1/events?follow=1&since=20")
		if err != nil {
			t.Error(err)
			close(begun)
			return
		}
		defer resp.Body.Close()
		close(begun)
		var events []ledger.Event
		dec := json.NewDecoder(resp.Body)
		for {
			var e ledger.Event
			if dec.Decode(&e) != nil {
				followed <- events
				return
			}
			events = append(events, e)
		}
	}()
	<-begun
	ring.Started(time.Now(), ledger.Start{Node: "the-last-line"})
	end()
	events := <-followed
	var nodes []string
	for _, e := range events {
		if e.Type == ledger.EventStart {
			nodes = append(nodes, e.Node)
		}
	}
	if fmt.Sprint(nodes) != "[node-1 the-last-line]" {
		t.Errorf("a follower got %v, want everything up to the last line", nodes)
	}
}
