//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// inBalance: agents that ran through all of this, and a hub that was replaced in between, say the same of every removal.
func inBalance(t *testing.T, i *installed) {
	token := i.token(t, system, "lastcall-viewer", "lastcall")
	get := func(ctx context.Context, client *http.Client, url string) (io.ReadCloser, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return nil, err
		}
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := client.Do(req)
		if err == nil && resp.StatusCode != http.StatusOK {
			resp.Body.Close()
			return nil, fmt.Errorf("%s: %s", url, resp.Status)
		}
		if err != nil {
			return nil, err
		}
		return resp.Body, nil
	}
	opened, unready := map[string]int{}, map[string]bool{}
	for _, n := range i.Nodes {
		client := insecureClient(i.Dialer(n.Name))
		lines := func(ctx context.Context) (events []ledger.Event, err error) {
			body, err := get(ctx, client, "https://"+n.IP+":9748/v1/events")
			if err != nil {
				return nil, err
			}
			defer body.Close()
			err = ledger.ReadEvents(body, func(e ledger.Event) { events = append(events, e) })
			return events, err
		}
		metrics := func(ctx context.Context) (string, error) {
			body, err := get(ctx, client, "http://"+n.IP+":9747/metrics")
			if err != nil {
				return "", err
			}
			defer body.Close()
			text, err := io.ReadAll(body)
			return string(text), err
		}
		b := balanced(t, n.Name, lines, metrics)
		for _, p := range b.problems {
			t.Errorf("%s: %s", n.Name, p)
		}
		for of, a := range b.pods {
			opened[of.uid] += a.opened
		}
		for uid, was := range b.unready {
			unready[uid] = unready[uid] || was
		}
	}
	body, err := get(t.Context(), insecureClient(nil), "https://"+i.forward(t, 9750)+"/v1/departures?limit=1000")
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	var rows []report.Departure
	if err := json.NewDecoder(body).Decode(&rows); err != nil {
		t.Fatal(err)
	}
	compared := 0
	for _, d := range rows {
		if d.Namespace == system || unready[d.UID] || !d.Complete {
			continue // of a pod that was unready before it left, more than one row told
		}
		compared++
		sum := d.Pending
		for _, k := range d.Kinds {
			for _, n := range k.Outcomes {
				sum += n
			}
		}
		if sum != opened[d.UID] {
			t.Errorf("%s/%s: the agents opened %d removals, its row has %d: %+v", d.Namespace, d.Pod, opened[d.UID], sum, d.Kinds)
		}
	}
	if compared < 6 {
		t.Errorf("only %d rows were compared", compared)
	}
}
