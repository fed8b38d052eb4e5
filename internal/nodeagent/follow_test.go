//go:build linux

package nodeagent

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/lastcall-k8s/lastcall/ledger"
)

// TestFollowGoesOn: an agent ends an answer so that its reader hears another hello. No line is lost or read twice.
func TestFollowGoesOn(t *testing.T) {
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.FormValue("since"))
		fmt.Fprintf(w, `{"boot":"b","type":"hello","backend":"backend-%d"}`+"\n", len(asked))
		switch len(asked) {
		case 1:
			fmt.Fprintln(w, `{"boot":"b","seq":1,"type":"start"}`)
			fmt.Fprintln(w, `{"boot":"b","seq":2,"type":"removals"}`)
			fmt.Fprintln(w, `{"boot":"b","type":"heartbeat","next":3}`)
		case 2:
			fmt.Fprintln(w, `{"boot":"b","seq":3,"type":"stop"}`)
		}
	}))
	defer server.Close()
	a := &Agent{Node: "n", v1: "http://127.0.0.1/v1", exited: make(chan struct{}), grown: make(chan struct{}), http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", server.Listener.Addr().String())
		}}}}
	if err := a.Follow(t.Context()); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(asked) != "[1 3]" {
		t.Errorf("asked since %v, want 1 and 3", asked)
	}
	var kinds []ledger.EventType
	for _, e := range a.Events() {
		kinds = append(kinds, e.Type)
	}
	if fmt.Sprint(kinds) != "[hello start removals heartbeat hello stop]" {
		t.Errorf("events %v", kinds)
	}
}
