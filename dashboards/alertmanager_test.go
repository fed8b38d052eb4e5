//go:build linux

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	upstream "github.com/lastcall-k8s/lastcall/internal/prometheus"
)

// TestInhibits asks a real Alertmanager, which runs with the example: what follows from another alert is suppressed by it, in its own
// cluster only, and each alert goes to whom it is for.
func TestInhibits(t *testing.T) {
	a := startAlertmanager(t)
	// Of every alert two, of two clusters; in the second there are those alone that nothing inhibits by itself.
	sources := []string{"LastcallPlacesStuck", "LastcallHubAbsent"}
	now := time.Now().UTC()
	var posted []map[string]any
	for _, g := range groups(t, "alerts.yaml") {
		for _, r := range g.Rules {
			for _, cluster := range []string{"eu", "us"} {
				if cluster == "us" && slices.Contains(sources, r.Alert) {
					continue
				}
				labels := map[string]string{"alertname": r.Alert, "cluster": cluster, "place": "kube-proxy", "namespace": "shop"}
				for k, v := range r.Labels {
					labels[k] = v
				}
				posted = append(posted, map[string]any{"labels": labels, "startsAt": now})
			}
		}
	}
	a.post(t, posted)

	suppressed := map[string]bool{"eu LastcallPlaceStuck": true, "eu LastcallPropagationSlower": true, "eu LastcallPreStopTooShort": true,
		"eu LastcallRecommendationExceeded": true, "eu LastcallCoverageLow": true,
		// By LastcallPlaceStuck, LastcallPropagationSlower and LastcallAgentAbsent, which are in the other cluster too.
		"us LastcallPreStopTooShort": true, "us LastcallRecommendationExceeded": true, "us LastcallCoverageLow": true}
	receivers := map[string]string{"LastcallPlacesStuck": "on-call", "LastcallPreStopTooShort": "namespace-owners", "LastcallCoverageLow": "platform"}
	got := a.alerts(t) // asked for, it works out what is inhibited
	if len(got) != len(posted) {
		t.Fatalf("%d alerts of %d", len(got), len(posted))
	}
	for _, s := range got {
		name := s.Labels["cluster"] + " " + s.Labels["alertname"]
		want := "active"
		if suppressed[name] {
			want = "suppressed"
		}
		if s.Status.State != want || (len(s.Status.InhibitedBy) > 0) != suppressed[name] {
			t.Errorf("%s is %s, inhibited by %v, want %s", name, s.Status.State, s.Status.InhibitedBy, want)
		}
		if to := receivers[s.Labels["alertname"]]; to != "" && (len(s.Receivers) != 1 || s.Receivers[0].Name != to) {
			t.Errorf("%s goes to %v, want %s", name, s.Receivers, to)
		}
	}
}

type alertStatus struct {
	Labels    map[string]string
	Receivers []struct{ Name string }
	Status    struct {
		State       string
		InhibitedBy []string
	}
}

// alertmanager is the address of a real one that runs with the example.
type alertmanager string

func startAlertmanager(t *testing.T) alertmanager {
	t.Helper()
	c := exec.CommandContext(t.Context(), upstream.Require(t, "alertmanager"), "--config.file=alertmanager.yaml", "--storage.path="+t.TempDir(),
		"--web.listen-address=127.0.0.1:0", "--cluster.listen-address=")
	log, err := c.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Process.Kill() //nolint:errcheck // it may have ended
		c.Wait()         //nolint:errcheck // killed
	})
	var said strings.Builder
	for lines := bufio.NewScanner(log); lines.Scan(); {
		said.WriteString(lines.Text() + "\n")
		if m := listening.FindStringSubmatch(lines.Text()); m != nil {
			go io.Copy(io.Discard, log) //nolint:errcheck // so that it never waits for us
			return alertmanager("http://" + m[1])
		}
	}
	t.Fatalf("it does not listen:\n%s", said.String())
	return ""
}

var listening = regexp.MustCompile(`msg="Listening on" address=(127\.0\.0\.1:\d+)`)

func (a alertmanager) post(t *testing.T, alerts any) {
	t.Helper()
	body, err := json.Marshal(alerts)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Post(string(a)+"/api/v2/alerts", "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", resp.Status, text)
	}
}

func (a alertmanager) alerts(t *testing.T) (all []alertStatus) {
	t.Helper()
	resp, err := http.Get(string(a) + "/api/v2/alerts")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&all); err != nil {
		t.Fatal(err)
	}
	return all
}
