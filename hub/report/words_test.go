package report

import (
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/lastcall-k8s/lastcall/ledger"
)

func ptr[T any](v T) *T { return &v }

func TestSeconds(t *testing.T) {
	for s, want := range map[float64]string{
		0: "0 ms", 0.0004: "0.4 ms", 0.00996: "10 ms", 0.0118: "12 ms", 0.0871: "87 ms", 0.9994: "999 ms", 0.9996: "1.00 s",
		1: "1 s", 1.2081: "1.21 s", 9.994: "9.99 s", 9.996: "10.0 s", 10: "10 s", 12.34: "12.3 s", 99.94: "99.9 s", 99.96: "1 min 40 s",
		120: "2 min", 312.4: "5 min 12 s", 3599.6: "1 h 0 min", 3900: "1 h 5 min", 90000: "1 d 1 h", -0.05: "-50 ms",
	} {
		if got := Seconds(s); got != want {
			t.Errorf("%v: %q, want %q", s, got, want)
		}
	}
	var zero float64
	for _, s := range []float64{zero / zero, 1 / zero, 1e300} {
		if got := Seconds(s); got != "unknown" {
			t.Errorf("%v: %q", s, got)
		}
	}
}

func TestSpan(t *testing.T) {
	for s, want := range map[Span]string{
		{1.1984, 1.2081}: "1.20 to 1.21 s", {0, 0.0628}: "at most 63 ms", {-1, 2}: "at most 2 s", {0.95, 1.02}: "950 ms to 1.02 s",
		{1.2071, 1.2081}: "1.21 s", {10, 11}: "10 to 11 s", {300, 312}: "5 min to 5 min 12 s", {9.98, 10.1}: "9.98 to 10.1 s",
	} {
		if got := s.String(); got != want {
			t.Errorf("%v: %q, want %q", [2]float64{s.Lo, s.Hi}, got, want)
		}
	}
}

func TestCount(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 4997: "4,997", 1234567: "1,234,567", -1234: "-1,234"} {
		if got := Count(n); got != want {
			t.Errorf("%d: %q", n, got)
		}
	}
}

func TestPreStopWords(t *testing.T) {
	for want, p := range map[string]ledger.PreStop{
		"no preStop": {Kind: ledger.NoPreStop}, "sleeps 120 s": {Kind: ledger.PreStopSleep, Seconds: ptr(int64(120))},
		"runs sleep 15, then more": {Kind: ledger.PreStopExec, Seconds: ptr(int64(15)), Rest: true}, "runs a command": {Kind: ledger.PreStopExec},
		"calls an HTTP hook": {Kind: ledger.PreStopHTTP}, "has a preStop of another kind": {Kind: "\x1b"},
	} {
		if got := PreStopWords(p); got != want {
			t.Errorf("%+v: %q, want %q", p, got, want)
		}
	}
}

func TestVisible(t *testing.T) {
	for s, want := range map[string]string{
		"ip-10-3-7-21.eu-central-1": "ip-10-3-7-21.eu-central-1", "": "", "größer – 5 ≥ 3 …": "größer – 5 ≥ 3 …",
		"a\x1b[31mb\r\n\x00": `a\x1b[31mb\x0d\x0a\x00`, "a\u202eb\u2066\u200b\ufeff": `a\u202eb\u2066\u200b\ufeff`,
		"\xff\xc3(": `\xff\xc3(`, "e\u0301": `e\u0301`, "אב": `\u05d0\u05d1`, "\U000e0041\U0001e900": `\U000e0041\U0001e900`,
		"\ufffd": `�`, "a\u00a0b\u2028": `a\u00a0b\u2028`, "<b>": "<b>",
	} {
		if got := Visible(s); got != want {
			t.Errorf("%q: %q, want %q", s, got, want)
		}
	}
}

func FuzzVisible(f *testing.F) {
	f.Add("\x1b]0;title\x07\u202e\xff")
	f.Fuzz(func(t *testing.T, s string) {
		v := Visible(s)
		for _, r := range v {
			if !unicode.IsPrint(r) || unicode.Is(unicode.M, r) || unicode.In(r, unicode.Hebrew, unicode.Arabic, unicode.Syriac, unicode.Thaana, unicode.Nko, unicode.Adlam) {
				t.Fatalf("%q shows %U", s, r)
			}
		}
		if !utf8.ValidString(v) || Visible(v) != v {
			t.Fatalf("%q: %q", s, v)
		}
		if n := utf8.RuneCountInString(Shorten(s, 10)); n > 10 {
			t.Fatalf("%q shortened has %d characters", s, n)
		}
	})
}

func TestShorten(t *testing.T) {
	for _, c := range [][2]string{{"shop-d696c88f8-7dgrq", "shop-…dgrq"}, {"short", "short"}, {"exactly-10", "exactly-10"}} {
		if got := Shorten(c[0], 10); got != c[1] {
			t.Errorf("%q: %q", c[0], got)
		}
	}
}

func TestHeadline(t *testing.T) {
	base := func(change func(*Departure)) Departure {
		d := Departure{T0: time.Unix(1, 0), T0Source: ledger.FromPod, Complete: true, LastCall: &Span{1.2, 1.21},
			Straggler: &Landing{Node: "node-2"}, Told: &Span{0, 1}, Late: Yes, Exposure: &Span{0.2, 1.21}}
		change(&d)
		return d
	}
	landed := func(o map[ledger.Outcome]int) func(*Departure) {
		return func(d *Departure) { d.LastCall, d.Straggler, d.Kinds = nil, nil, []Kind{{Outcomes: o}} }
	}
	for _, c := range []struct {
		d    Departure
		want string
	}{
		{base(func(d *Departure) {}), "node-2 let go last, 1.21 s after the pod began to leave; the pod had been told to stop at once, so for up to 1.21 s new connections could reach a stopping server."},
		{base(func(d *Departure) { d.Refused = ptr(15) }), "reach a stopping server. 15 connections proved to be lost."},
		{base(func(d *Departure) { d.LastCall, d.Exposure = &Span{94.8, 95.2}, &Span{93.8, 95.2} }), "so for 93.8 to 95.2 s new"},
		{base(func(d *Departure) { d.Told, d.Late = &Span{10, 11}, No }), "; the pod was told to stop after 10 to 11 s, with 8.79 s to spare: no new connection could reach a stopping server."},
		{base(func(d *Departure) { d.Told, d.Late = &Span{10, 11}, Unknown }), "; in time by these figures, which are not certain enough to call it safe."},
		{base(func(d *Departure) { d.Told, d.Late, d.Expected = &Span{10, 11}, Unknown, 1 }), "; in time, as far as the places that answered can tell. Others did not answer, so nobody can call it safe."},
		{base(func(d *Departure) { d.LastCall, d.Late = &Span{0.1, 0.13}, Unknown }), "It was told to stop within 1 s; whether that was before or after is too close to tell."},
		{base(func(d *Departure) { d.Told, d.ToldWhy, d.Late = nil, "its hook is a \x1b command", Unknown }), `is unknown: its hook is a \x1b command.`},
		{base(func(d *Departure) { d.Straggler, d.OneOf = nil, 3 }), "The last node let go 1.21 s after the pod began to leave (one of 3, too close together to name it);"},
		{base(func(d *Departure) { d.Complete, d.Straggler = false, nil }), "So far, the last node let go"},
		{base(func(d *Departure) { d.Kept = true }), "It was kept on purpose for a while"},
		{base(func(d *Departure) {
			d.Pending, d.Age, d.Slowest = 2, 312.4, []Landing{{Node: "node-\u202e7", Pending: 2}}
		}), `node-\u202e7 can still send new connections to this pod, 5 min 12 s after it began to leave. It was told to stop at once: those connections can reach a stopping server, or none.`},
		{base(func(d *Departure) {
			d.Pending, d.Age, d.Late, d.Slowest = 2, 0.8, Unknown, []Landing{{Pending: 1}, {Pending: 1}}
		}), "2 nodes can still send new connections to this pod, 800 ms after it began to leave."},
		{base(func(d *Departure) {
			d.Pending, d.Strip, d.Slowest = 99, &Strip{}, []Landing{{Pending: 1}}
		}), "At least 1 node can still"},
		{base(landed(nil)), "No node had to let go: none was routing to this pod when it began to leave."},
		{base(landed(map[ledger.Outcome]int{ledger.Absent: 2})), "No node had to let go"},
		{base(landed(map[ledger.Outcome]int{ledger.Gap: 2})), "Nobody was watching when the nodes let go, so nothing is claimed."},
		{base(landed(map[ledger.Outcome]int{ledger.Gap: 2, ledger.Absent: 1})), "No node was seen to let go: 1 absent, 2 gap."},
		{base(func(d *Departure) { landed(nil)(d); d.Complete = false }), "No node has answered yet."},
		{base(func(d *Departure) { d.T0, d.Reason = time.Time{}, ledger.NodeShutdown }), "Nobody knows when the pod began to leave, so nothing can be timed. It was stopped because its node shut down: the API learns of that only when the containers are dead, and no preStop can help."},
	} {
		if got := c.d.Headline(); !strings.Contains(got, c.want) {
			t.Errorf("%s\nlacks: %s", got, c.want)
		}
	}
}

func TestSummary(t *testing.T) {
	for want, e := range map[string]Episode{
		"3 pods of deployment/shop left in a rollout; 2 late; at most 2 terminating at once": {Workload: "deployment/shop", Tag: Rollout, Left: 3, Late: 2, Most: 2},
		"1 pod left; none late": {Left: 1, Tag: UnknownTag, Most: 1},
		"4 pods of statefulset/db left in a drain; 1 unknown; 1 kept on purpose; 1 with something pending; 12 connections lost": {Workload: "statefulset/db", Tag: Drain, Left: 4, Unknown: 1, Kept: 1, Pending: 1, Refused: ptr(12)},
	} {
		if got := e.Summary(); got != want {
			t.Errorf("%q\nwant %q", got, want)
		}
	}
}
