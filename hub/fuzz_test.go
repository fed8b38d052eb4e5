package hub

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// recordedLines are what an agent of a testbed answered, with its node renamed to a.
func recordedLines(f *testing.F) [][]byte {
	f.Helper()
	text, err := os.ReadFile("testdata/events.jsonl")
	if err != nil {
		f.Fatal(err)
	}
	return bytes.SplitAfter(bytes.TrimSpace(text), []byte("\n"))
}

var recordedAt = time.Date(2026, 11, 25, 8, 3, 43, 0, time.UTC)

// FuzzLines gives an agent's answer to the hub, line by line as it does itself, and looks at every row after it: whatever
// was said, it can be sent, its intervals are intervals, and what is not known is not called safe.
func FuzzLines(f *testing.F) {
	lines := recordedLines(f)
	f.Add(bytes.Join(lines, nil))
	f.Add(bytes.Join(lines[:4], nil))
	f.Add(bytes.Join([][]byte{lines[0], lines[len(lines)-1]}, nil))
	f.Add(slices.Concat(lines[0], lines[2], lines[3], lines[len(lines)-2])) // not in sequence
	f.Add(asReplica(bytes.Join(lines, nil)))
	f.Fuzz(func(t *testing.T, answer []byte) { readAnswer(t, answer) })
}

// asReplica makes lines of kube-proxy those of a replica, which the hello names.
func asReplica(answer []byte) []byte {
	hello, rest, _ := bytes.Cut(answer, []byte("\n"))
	hello = slices.Concat(bytes.TrimSuffix(hello, []byte("}")), []byte(`,"consumers":[{"place":"traefik","replica":"edge/x","lag_bound_seconds":1}]}`))
	rest = bytes.ReplaceAll(rest, []byte(`"place":"kube-proxy"`), []byte(`"place":"traefik","replica":"edge/x"`))
	return slices.Concat(hello, []byte("\n"), rest)
}

// TestRecordedLines: what was recorded is read as it was meant, so that the fuzz target begins in the middle of things.
func TestRecordedLines(t *testing.T) {
	text, err := os.ReadFile("testdata/events.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	for kind, text := range map[string][]byte{kubeProxy: text, "traefik": asReplica(text)} {
		landed, pending := 0, 0
		for _, d := range readAnswer(t, text) {
			landed += kindOf(d, kind).Outcomes[ledger.Landed]
			pending += d.Pending
		}
		if landed != 1 || pending == 0 {
			t.Errorf("%s: %d removals landed and %d are pending, want 1 and some", kind, landed, pending)
		}
	}
}

// readAnswer is a hub of two nodes that reads what the agent of a answers.
func readAnswer(t *testing.T, answer []byte) (rows []report.Departure) {
	t.Helper()
	w := newWorld(t, "a", "b")
	w.compare(ms)
	now := recordedAt
	h := &Hub{cfg: Config{Now: func() time.Time { return now }}, join: w.j}
	h.metrics = newMetrics(prometheus.NewRegistry(), h)
	n := w.j.nodes["a"]
	r := &reader{hub: h, node: n}
	in := bufio.NewReaderSize(bytes.NewReader(answer), 4<<10)
	if _, err := r.hello(in, 1); err != nil {
		return nil
	}
	sent := now.Add(-time.Second)
	n.sampled(Clock{n.boot.id, "e", sent}, sent, sent.Add(ms))
	said := 0
	for {
		line, err := readLine(in)
		if err != nil {
			break
		}
		var e ledger.Event
		if decode(line, &e) != nil {
			break
		}
		next := n.next
		if _, err := h.line(n, &e, now); err != nil {
			break
		}
		said += 1 + len(e.Departures)
		if e.Type != ledger.EventHeartbeat && e.Type != ledger.EventGap && e.Seq == next {
			if _, err := h.line(n, &e, now); err == nil {
				t.Fatalf("line %d was taken twice", e.Seq)
			}
		}
	}
	if len(w.j.rows) > said {
		t.Errorf("%d rows of lines that name %d pods", len(w.j.rows), said)
	}
	for _, row := range w.j.rows {
		w.j.judge(row, w.j.census(now, now.Add(joinSlack)), now)
		d, _ := row.look().build(now)
		checkRow(t, d)
		rows = append(rows, d)
	}
	return rows
}

func checkRow(t *testing.T, d report.Departure) {
	t.Helper()
	if _, err := json.Marshal(d); err != nil {
		t.Errorf("a row that cannot be sent: %v", err)
	}
	span := func(what string, s *report.Span) {
		if s != nil && !(s.Lo <= s.Hi) {
			t.Errorf("%s from %v to %v", what, s.Lo, s.Hi)
		}
	}
	span("last call", d.LastCall)
	span("told to stop", d.Told)
	for _, l := range d.Slowest {
		span("landed", l.Landed)
	}
	if d.Pending < 0 {
		t.Errorf("%d removals pending", d.Pending)
	}
	if d.Late == report.No && (d.LastCall == nil || d.Told == nil) {
		t.Errorf("called in time without a last call (%v) or without knowing when it was told to stop (%v)", d.LastCall, d.Told)
	}
}

// FuzzClock compares clocks with whatever answers there are, and asks for moments near and far: the bounds are never
// the wrong way round, and the error never smaller than what drift makes of the distance.
func FuzzClock(f *testing.F) {
	text, err := os.ReadFile("testdata/clock.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text, text, int64(1000), int64(time.Hour))
	f.Add([]byte(`{"boot":"b","epoch":"e","time":"9999-01-01T00:00:00Z"}`), text, int64(1000), int64(0))
	f.Add([]byte(`{"boot":"b","epoch":"e","time":"2027-01-15T08:00:00Z"}`), []byte(`{"boot":"b","epoch":"f","time":"2027-01-15T08:00:00Z"}`), int64(1e9), int64(-1<<63))
	f.Fuzz(func(t *testing.T, first, second []byte, rtt, off int64) {
		var e *estimate
		sent := recordedAt
		for _, text := range [][]byte{first, second, first} {
			received := sent.Add(time.Duration(rtt & (1<<36 - 1)))
			c, err := decodeClock(text, received)
			if err != nil {
				var n nonsense
				if !errors.As(err, &n) {
					t.Errorf("an error that does not say that the agent is wrong: %v", err)
				}
				continue
			}
			e = e.add(c, sent, received)
			sent = received.Add(time.Minute)
			for _, at := range []time.Time{c.Time, c.Time.Add(time.Duration(off)), {}, time.Unix(off, 0)} {
				_, bound, ok := e.ours(at)
				if !ok || len(e.samples) > keptSamples {
					t.Fatalf("%d samples bound nothing", len(e.samples))
				}
				if len(e.samples) == 1 && bound < min(at.Sub(c.Time).Abs(), furthest)/driftOneIn {
					t.Errorf("%v from the sample, and sure within %v", at.Sub(c.Time), bound)
				}
			}
		}
	})
}
