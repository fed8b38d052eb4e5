package main

import (
	"encoding/pem"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "rewrite what scripts compare output with")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"kubectl-lastcall": main,
		// lc is kubectl-lastcall with the flags that lead to the script's hub.
		"lc": func() {
			os.Args = append(os.Args, strings.Fields(os.Getenv("HUB_FLAGS"))...)
			main()
		},
	})
}

// TestScripts runs the program against a hub that says what a script has written down. Nothing else is a double: the
// hub is the other side of the process's boundary.
func TestScripts(t *testing.T) {
	testscript.Run(t, params("testdata/script", func(token string) bool { return token == goodToken }))
}

// params: takes is what a hub takes for a token.
func params(dir string, takes func(token string) bool) testscript.Params {
	return testscript.Params{
		Dir:                 dir,
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			// No kubeconfig, no locale, no terminal: what a script wants, it sets.
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("KUBECONFIG", filepath.Join(e.WorkDir, "kubeconfig"))
			e.Setenv("TZ", "UTC")
			e.Setenv("LANG", "C.UTF-8")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"hub":       func(ts *testscript.TestScript, _ bool, args []string) { startHub(ts, args, takes) },
			"hub-stop":  stopHub,
			"hub-wait":  func(ts *testscript.TestScript, _ bool, args []string) { waitHub(ts, args, true) },
			"hub-asked": func(ts *testscript.TestScript, _ bool, args []string) { waitHub(ts, args, false) },
			"big":       makeBig, "interrupt": interrupt, "advise": advise,
		},
	}
}

// hub answers over HTTPS, with a token, from files of the script.
type hub struct {
	server *httptest.Server
	addr   string
	dir    string
	routes []route
	takes  func(token string) bool
	deaf   net.Listener // after hub-stop

	mu    sync.Mutex
	asked map[string]int
	more  chan struct{}
}

type route struct {
	path   string
	query  url.Values // that the request must have, others are ignored
	status int
	file   string
}

const (
	goodToken = "good-token"
	never     = 0 // a status: there is no answer until the other side hangs up; counts as being asked for "-"
)

var hubs sync.Map // of each script, by its directory

// startHub: hub ROUTES. Each line of the file is PATH[?QUERY] STATUS FILE; the first that fits answers. A file is read
// anew for each answer.
func startHub(ts *testscript.TestScript, args []string, takes func(string) bool) {
	if len(args) != 1 {
		ts.Fatalf("usage: hub ROUTES")
	}
	h := &hub{dir: ts.MkAbs("."), takes: takes, asked: map[string]int{}, more: make(chan struct{})}
	if old, ok := hubs.Load(h.dir); ok {
		h.addr = old.(*hub).addr // started again, where it was
	}
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		u, err := url.Parse(f[0])
		ts.Check(err)
		status, err := strconv.Atoi(f[1])
		ts.Check(err)
		h.routes = append(h.routes, route{u.Path, u.Query(), status, f[2]})
	}
	if old, ok := hubs.Load(h.dir); ok && old.(*hub).deaf != nil {
		old.(*hub).deaf.Close()
	}
	h.server = httptest.NewUnstartedServer(h)
	if h.addr != "" {
		l, err := net.Listen("tcp", h.addr)
		ts.Check(err)
		h.server.Listener.Close()
		h.server.Listener = l
	}
	h.server.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that are meant to fail
	h.server.StartTLS()
	h.addr = h.server.Listener.Addr().String()
	hubs.Store(h.dir, h)
	ts.Defer(h.server.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: h.server.Certificate().Raw})
	ts.Check(os.WriteFile(ts.MkAbs("ca.crt"), ca, 0o600))
	ts.Check(os.WriteFile(ts.MkAbs("token"), []byte(goodToken+"\n"), 0o600))
	ts.Setenv("HUB", h.server.URL)
	ts.Setenv("HUB_FLAGS", fmt.Sprintf("--hub %s --hub-ca-file %s --hub-token-file %s", h.server.URL, ts.MkAbs("ca.crt"), ts.MkAbs("token")))
}

func (h *hub) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	defer h.count(q.URL.Path)
	w.Header().Set("Content-Type", "application/json")
	if token, has := strings.CutPrefix(q.Header.Get("Authorization"), "Bearer "); !has || !h.takes(token) {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"error":"the token is not valid"}`)
		return
	}
	for _, r := range h.routes {
		if r.fits(q.URL) && r.status == never {
			h.count("-")
			<-q.Context().Done()
			return
		}
		if r.fits(q.URL) {
			text, err := os.ReadFile(filepath.Join(h.dir, r.file))
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			w.WriteHeader(r.status)
			w.Write(text)
			return
		}
	}
	w.WriteHeader(http.StatusNotFound)
	fmt.Fprintf(w, `{"error":"nothing is known of %s"}`, q.URL)
}

func (r route) fits(u *url.URL) bool {
	if r.path != u.Path {
		return false
	}
	for k, v := range r.query {
		if u.Query().Get(k) != v[0] {
			return false
		}
	}
	return true
}

func hubOf(ts *testscript.TestScript) *hub {
	h, ok := hubs.Load(ts.MkAbs("."))
	if !ok {
		ts.Fatalf("no hub in this script")
	}
	return h.(*hub)
}

// stopHub ends the hub. What listens there until it is started again hangs up, and counts as being asked for "-".
func stopHub(ts *testscript.TestScript, _ bool, _ []string) {
	h := hubOf(ts)
	h.server.CloseClientConnections()
	h.server.Close()
	var err error
	h.deaf, err = net.Listen("tcp", h.addr)
	ts.Check(err)
	deaf := h.deaf
	ts.Defer(func() { deaf.Close() })
	go func() {
		for {
			c, err := deaf.Accept()
			if err != nil {
				return
			}
			c.Close()
			h.count("-")
		}
	}()
}

func (h *hub) count(path string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked[path]++
	close(h.more)
	h.more = make(chan struct{})
}

// waitHub: hub-wait PATH N, until PATH was answered N more times; hub-asked PATH N, until it was N times in all.
func waitHub(ts *testscript.TestScript, args []string, more bool) {
	h := hubOf(ts)
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	until := n
	if more {
		h.mu.Lock()
		until += h.asked[args[0]]
		h.mu.Unlock()
	}
	deadline := time.After(30 * time.Second)
	for {
		h.mu.Lock()
		now, more := h.asked[args[0]], h.more
		h.mu.Unlock()
		if now >= until {
			return
		}
		select {
		case <-more:
		case <-deadline:
			ts.Fatalf("the hub was not asked for %s %d times", args[0], n)
		}
	}
}

// makeBig: big FILE MIB writes a JSON string of that size.
func makeBig(ts *testscript.TestScript, _ bool, args []string) {
	mib, err := strconv.Atoi(args[1])
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(`"`+strings.Repeat("x", mib<<20)+`"`), 0o600))
}

// interrupt: interrupt NAME sends Ctrl-C's signal to a background command.
func interrupt(ts *testscript.TestScript, _ bool, args []string) {
	for _, p := range ts.BackgroundCmds() {
		ts.Check(p.Process.Signal(os.Interrupt))
	}
}
