package hub

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/hub/serving"
	"github.com/lastcall-k8s/lastcall/hub/store"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// agent is a double of one: the process boundary, so that a test can make it behave as no agent does.
type agent struct {
	name   string
	beside string // a pod "namespace/name": it is on the first agent's node
	server *httptest.Server
	hello  ledger.Event
	events func(w http.ResponseWriter, r *http.Request) // instead of what an agent answers

	mu    sync.Mutex
	lines []ledger.Event // from seq 1
	lost  uint64         // that many of the first are gone
	asked []uint64       // since of each request
}

// nameKey is where a request's context says which agent is asked.
type nameKey struct{}

// say adds a line.
func (a *agent) say(e ledger.Event) {
	a.mu.Lock()
	defer a.mu.Unlock()
	e.Boot, e.Seq, e.At = a.hello.Boot, uint64(len(a.lines))+1, time.Now().UTC()
	a.lines = append(a.lines, e)
}

func (a *agent) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == "/v1/clock":
		json.NewEncoder(w).Encode(Clock{Boot: a.hello.Boot, Epoch: "e", Time: time.Now().UTC()})
	case a.events != nil:
		a.events(w, r.WithContext(context.WithValue(r.Context(), nameKey{}, a.name)))
	default:
		a.stream(w, r)
	}
}

func (a *agent) stream(w http.ResponseWriter, r *http.Request) {
	since, _ := strconv.ParseUint(r.FormValue("since"), 10, 64)
	out := json.NewEncoder(w)
	a.mu.Lock()
	a.asked = append(a.asked, since)
	lost := a.lost
	a.mu.Unlock()
	out.Encode(a.hello)
	if since <= lost {
		out.Encode(ledger.Event{Boot: a.hello.Boot, Type: ledger.EventGap, From: since, To: lost})
		since = lost + 1
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for r.Context().Err() == nil {
		a.mu.Lock()
		for ; since <= uint64(len(a.lines)); since++ {
			out.Encode(a.lines[since-1])
		}
		a.mu.Unlock()
		out.Encode(ledger.Event{Boot: a.hello.Boot, Type: ledger.EventHeartbeat, Next: since, ResourceVersion: "100"})
		http.NewResponseController(w).Flush()
		select {
		case <-tick.C:
		case <-r.Context().Done():
		}
	}
}

// fleet is a running hub with its agents, each on a loopback address of its own.
type fleet struct {
	t      *testing.T
	hub    *Hub
	path   string
	port   int
	agents []*agent
	serves func(namespace, workload string) (serving.Serves, bool)
	served func() []serving.Served
	stop   func()
}

func newFleet(t *testing.T, names ...string) *fleet {
	f := &fleet{t: t, path: filepath.Join(t.TempDir(), "hub.db")}
	for i, name := range names {
		a := &agent{name: name, hello: ledger.Event{Boot: "boot-" + name, Type: ledger.EventHello, Node: name, NodeUID: "uid-" + name, Place: kubeProxy, Backend: "nftables", Families: []ledger.Family{ledger.IPv4}}}
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.%d:%d", i+2, f.port))
		if err != nil {
			t.Fatal(err)
		}
		f.port = l.Addr().(*net.TCPAddr).Port
		a.server = httptest.NewUnstartedServer(a)
		a.server.Listener.Close()
		a.server.Listener = l
		a.server.StartTLS()
		t.Cleanup(a.server.Close)
		f.agents = append(f.agents, a)
	}
	return f
}

// start runs a hub on the store's file until stop.
func (f *fleet) start() {
	f.t.Helper()
	rows, err := store.Open(f.t.Context(), f.path, store.Config{})
	if err != nil {
		f.t.Fatal(err)
	}
	token := filepath.Join(f.t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("t"), 0o600); err != nil {
		f.t.Fatal(err)
	}
	client, err := NewClient(&tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}}, token)
	if err != nil {
		f.t.Fatal(err)
	}
	f.hub = New(f.t.Context(), Config{Now: time.Now, Store: rows, Agents: client, Beside: client, AgentPort: f.port, Gap: time.Minute, Serves: f.serves, Served: f.served,
		Metrics: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler)})
	for i, a := range f.agents {
		if a.beside != "" {
			f.hub.besideChanged(besidePod(a.beside, f.agents[0].name, fmt.Sprintf("127.0.0.%d", i+2), "uid-"+a.name))
			continue
		}
		n := f.hub.join.at(a.name)
		n.uid, n.expected, n.ready = "uid-"+a.name, true, true
		n.agent = agentState{state: report.AgentUnreachable, pod: "agent-" + a.name, ip: fmt.Sprintf("127.0.0.%d", i+2)}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- f.hub.Run(ctx) }()
	f.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			f.t.Error(err)
		}
		if err := rows.Close(context.Background()); err != nil {
			f.t.Error(err)
		}
	})
	f.t.Cleanup(func() { f.stop() })
}

func (f *fleet) until(what string, ok func() (bool, string)) {
	f.t.Helper()
	said := ""
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		var yes bool
		if yes, said = ok(); yes {
			return
		}
		select {
		case <-f.t.Context().Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
	f.t.Fatalf("waited in vain until %s: %s", what, said)
}

func (f *fleet) state(name string) report.Agent {
	as, _ := f.hub.agents()
	for _, a := range as {
		if a.Node == name {
			return a
		}
	}
	return report.Agent{}
}

// leave lets a pod leave on an agent's node.
func (a *agent) leave(uid string, landed bool) {
	now, grace := time.Now().UTC(), int64(30)
	a.say(ledger.Event{Type: ledger.EventDeparture, Pod: &ledger.Pod{UID: uid, Namespace: "shop", Name: "web-" + uid, Node: a.name}, Reason: ledger.Delete, T0: now,
		T0Source: ledger.FromPod, Grace: &grace, Workload: "deployment/web", Containers: []ledger.Container{{Name: "web", PreStop: ledger.PreStop{Kind: ledger.NoPreStop}}}, ResourceVersion: "50"})
	a.say(ledger.Event{Type: ledger.EventRemovals, Place: kubeProxy, Backend: "nftables", Family: ledger.IPv4, ResourceVersion: "51", Departures: []ledger.Settled{{UID: uid, Open: ledger.Open{Pending: 1}}}})
	if landed {
		a.land(uid, now)
	}
}

func (a *agent) land(uid string, t0 time.Time) {
	a.say(ledger.Event{Type: ledger.EventRemovals, Place: kubeProxy, Backend: "nftables", Family: ledger.IPv4, Interval: ledger.Interval{Lo: t0.Add(9 * ms), Hi: t0.Add(10 * ms)},
		Departures: []ledger.Settled{{UID: uid, Outcomes: map[ledger.Outcome]int{ledger.Landed: 1}, SeenFirst: t0.Add(ms), SeenLast: t0.Add(ms)}}})
}

// TestHostileAgents: whoever answers in an agent's place is refused or given up, and the others' rows are not held up.
func TestHostileAgents(t *testing.T) {
	endless := func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write([]byte(strings.Repeat("x", 1<<16))); err != nil {
				return
			}
		}
	}
	lines := func(ls ...string) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, r *http.Request) {
			for _, l := range ls {
				fmt.Fprintln(w, strings.ReplaceAll(l, "NAME", r.Context().Value(nameKey{}).(string)))
			}
			http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}
	}
	const hello = `{"boot":"boot-NAME","type":"hello","node":"NAME","node_uid":"uid-NAME","families":["ipv4"]}`
	stolen := make(chan string, 100)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { stolen <- r.URL.String() }))
	defer elsewhere.Close()
	tests := []struct {
		name   string
		events func(http.ResponseWriter, *http.Request)
		state  report.AgentState
		why    string
	}{
		{"an endless line", endless, report.AgentRefused, "a line of more than"},
		{"garbage", lines("<html>"), report.AgentRefused, "a line that is no event"},
		{"wrong types", lines(`{"boot":5}`), report.AgentRefused, "a line that is no event"},
		{"somebody else", lines(`{"boot":"b","type":"hello","node":"other"}`), report.AgentRefused, "not the agent of bad-3"},
		{"another cluster's", lines(`{"boot":"b","type":"hello","node":"NAME","node_uid":"other"}`), report.AgentRefused, "another cluster's agent"},
		{"lines out of order", lines(hello, `{"boot":"boot-NAME","seq":7,"type":"start"}`), report.AgentRefused, "line 7 where 1 comes next"},
		{"a gap that is none", lines(hello, `{"boot":"boot-NAME","type":"gap","from":5,"to":2}`), report.AgentRefused, "a gap that is none"},
		{"two boots", lines(hello, `{"boot":"x","seq":1,"type":"start"}`), report.AgentRefused, "two boots"},
		{"500", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "broken", 500) }, report.AgentUnreachable, "500"},
		{"sent elsewhere", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL, http.StatusFound) }, report.AgentUnreachable, "302"},
	}
	names := []string{"good"}
	for i := range tests {
		names = append(names, fmt.Sprintf("bad-%d", i))
	}
	f := newFleet(t, names...)
	for i, tt := range tests {
		f.agents[i+1].events = tt.events
	}
	f.start()
	for i, tt := range tests {
		f.until(tt.name+" is told apart", func() (bool, string) {
			a := f.state(names[i+1])
			return a.State == tt.state && strings.Contains(a.Why, tt.why), fmt.Sprintf("%s: %s", a.State, a.Why)
		})
	}
	f.agents[0].leave("u", true)
	f.until("the good one's departure is complete", func() (bool, string) {
		d, err := f.hub.Departure(t.Context(), "u")
		return err == nil && d.Complete && d.Answered == 1 && len(d.Missing) == len(tests), fmt.Sprintf("%v %+v", err, d)
	})
	select {
	case url := <-stolen:
		t.Errorf("a redirection was followed, to %s", url)
	default:
	}
}

// TestResume: a hub that begins anew reads on where its stored rows end, and what an agent no longer has is counted.
func TestResume(t *testing.T) {
	f := newFleet(t, "a")
	a := f.agents[0]
	f.start()
	a.leave("1", true)
	a.leave("2", false)
	f.until("one is complete", func() (bool, string) {
		d, err := f.hub.Departure(t.Context(), "1")
		return err == nil && d.Complete, fmt.Sprint(err)
	})
	f.until("the other is known", func() (bool, string) {
		d, err := f.hub.Departure(t.Context(), "2")
		return err == nil && d.Pending == 1, fmt.Sprint(err)
	})
	first, err := f.hub.Departure(t.Context(), "1")
	if err != nil {
		t.Fatal(err)
	}
	f.stop()
	a.land("2", time.Now().UTC()) // nobody listens
	f.start()
	f.until("the other is complete too", func() (bool, string) {
		d, err := f.hub.Departure(t.Context(), "2")
		return err == nil && d.Complete && d.LastCall != nil && d.Episode == first.Episode, fmt.Sprintf("%v %+v", err, d)
	})
	if got := a.asked[len(a.asked)-1]; got != 4 {
		t.Errorf("asked for lines since %d, want 4: the first of the row that was not complete", got)
	}
	f.stop()
	a.mu.Lock()
	a.lost = uint64(len(a.lines)) + 5
	a.lines = append(a.lines, make([]ledger.Event, 5)...)
	a.mu.Unlock()
	f.start()
	f.until("the gap is counted", func() (bool, string) { s := f.state("a"); return s.Lost == 5, fmt.Sprintf("%+v", s) })
	f.stop()
	a.mu.Lock()
	a.hello.Boot, a.lines, a.lost = "another", nil, 0
	a.mu.Unlock()
	f.start()
	a.leave("3", true)
	f.until("another boot is read from its first line", func() (bool, string) {
		d, err := f.hub.Departure(t.Context(), "3")
		return err == nil && d.Complete, fmt.Sprint(err)
	})
}
