package main

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/lastcall-k8s/lastcall/hub/report"
)

func span(lo, hi float64) *report.Span { return &report.Span{Lo: lo, Hi: hi} }

func TestLandingBar(t *testing.T) {
	stages := &report.Stages{API: 2, Watch: 3, Program: 5}
	for _, c := range []struct {
		name    string
		landing report.Landing
		age     float64
		want    string
	}{
		{"stages", report.Landing{Landed: span(9.9, 10), Stages: stages}, 0, "..---#####"},
		{"no stages", report.Landing{Landed: span(9.9, 10)}, 0, "##########"},
		{"short", report.Landing{Landed: span(0, .01), Stages: stages}, 0, ".         "},
		{"half", report.Landing{Landed: span(4.9, 5), Stages: stages}, 0, "..---     "},
		{"unsure from the middle on", report.Landing{Landed: span(5, 10), Stages: stages}, 0, "..---~~~~~"},
		{"no lower bound", report.Landing{Landed: span(0, 10)}, 0, "#~~~~~~~~~"},
		{"lower bound before T0", report.Landing{Landed: span(-3, 5)}, 0, "#~~~~     "},
		{"open", report.Landing{Pending: 1}, 10, "#########>"},
		{"open a short while", report.Landing{Pending: 1}, 0, ">         "},
		{"one path landed, another open", report.Landing{Landed: span(4, 5), Pending: 1}, 10, "####>     "},
		{"ended otherwise", report.Landing{}, 10, "          "},
		{"beyond the end", report.Landing{Landed: span(50, 1e300)}, 0, "##########"},
	} {
		ch := chart{glyphs: letters, columns: 10, end: 10}
		if got := (screen{}).draw(ch.landing(c.landing, c.age)); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestBarStyles(t *testing.T) {
	ch := chart{glyphs: letters, columns: 10, end: 10, told: span(4, 6)}
	got := screen{colour: true}.draw(ch.landing(report.Landing{Landed: span(9.9, 10)}, 0))
	if want := "####\x1b[33m##\x1b[0m\x1b[31m####\x1b[0m"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestToldMark(t *testing.T) {
	for _, c := range []struct {
		told *report.Span
		want string
	}{
		{span(0, 1), "|         "},
		{span(0, 10), "|========|"},
		{span(5, 8), "     |=|  "},
		{span(10, 11), "         |"},
		{span(1e300, 1e300), "         |"},
		{span(-5, -1), "|         "},
	} {
		ch := chart{glyphs: letters, columns: 10, end: 10, told: c.told}
		if got := (screen{}).draw(ch.toldToStop()); got != c.want {
			t.Errorf("%v: %q, want %q", *c.told, got, c.want)
		}
	}
}

func TestStrip(t *testing.T) {
	for _, c := range []struct {
		name  string
		strip report.Strip
		want  string
	}{
		{"one bin a column", report.Strip{Width: 1, Counts: []int{0, 1, 4999, 0, 0, 0, 0, 0, 0, 1}}, " .#      ."},
		{"wide bins", report.Strip{Width: 5, Counts: []int{10, 10}}, "##########"},
		{"narrow bins", report.Strip{Width: .5, Counts: []int{1, 1, 4, 4}}, ":#        "},
		{"beyond the end", report.Strip{Width: 100, Counts: []int{1, 1, 1}}, ".........#"},
	} {
		ch := chart{glyphs: letters, columns: 10, end: 10}
		if got := (screen{}).draw(ch.strip(c.strip)); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// TestAxis: labels never overlap nor leave the axis, whatever is drawn.
func TestAxis(t *testing.T) {
	for _, c := range []struct {
		end     float64
		columns int
		want    string
	}{
		{1.0212, 40, "0                   500 ms        1.02 s"},
		{60, 50, "0            15 s        30 s         45 s    60 s"},
		{3, 10, "0      3 s"},
	} {
		got := chart{columns: c.columns, end: c.end}.axis()
		if got != c.want {
			t.Errorf("%v over %d columns: %q, want %q", c.end, c.columns, got, c.want)
		}
	}
	for _, end := range []float64{leastEnd, .0123, .999, 1, 7, 12, 59.9, 61, 3601, 1e9} {
		for columns := 1; columns < 200; columns++ {
			if got := (chart{columns: columns, end: end}).axis(); utf8.RuneCountInString(got) > columns {
				t.Fatalf("%v over %d columns: %q is too long", end, columns, got)
			}
		}
	}
}

func TestNiceStep(t *testing.T) {
	for in, want := range map[float64]float64{.0012: .002, .013: .02, .3: .5, .5: .5, .7: 1, 3: 5, 9: 10, 11: 15, 40: 60, 700: 900, 90000: 100000} {
		if got := niceStep(in); got < want*.999 || got > want*1.001 {
			t.Errorf("%v: %v, want %v", in, got, want)
		}
	}
}

func TestFill(t *testing.T) {
	for _, c := range []struct {
		text          string
		first, indent int
		want          string
	}{
		{"", 0, 2, ""},
		{"short", 0, 2, "short"},
		{"one two three four five", 0, 2, "one two\n  three\n  four five"},
		{"one two three", 6, 0, "one\ntwo three"},
		{"averyverylongword and more", 0, 2, "averyverylongword\n  and more"},
		{"it took 30 s and", 0, 0, "it took\n30 s and"},
		{"a  b\n c", 0, 0, "a b c"},
	} {
		if got := fill(c.text, 11, c.first, c.indent); got != c.want {
			t.Errorf("%q: %q, want %q", c.text, got, c.want)
		}
	}
}

func TestCommonDomain(t *testing.T) {
	for _, c := range []struct {
		names []string
		want  string
	}{
		{nil, ""},
		{[]string{"a.example.com"}, ""},
		{[]string{"a.example.com", "b.example.com"}, ".example.com"},
		{[]string{"a.x.example.com", "b.example.com"}, ".example.com"},
		{[]string{"a.example.com", "b"}, ""},
		{[]string{"node-1", "node-2"}, ""},
		{[]string{".com", "a.com"}, ""},
		{[]string{"a.b", "a.b"}, ".b"},
	} {
		if got := commonDomain(c.names); got != c.want {
			t.Errorf("%v: %q, want %q", c.names, got, c.want)
		}
	}
}

// TestTableNarrow: names give way until a row fits, and nothing else does.
func TestTableNarrow(t *testing.T) {
	tab := table{columns: []column{{name: "POD", shrink: true}, {name: "NODE", shrink: true}, {name: "N", right: true}}}
	tab.add(text("a-pod-with-quite-a-long-name-x2x4q", "a-node-with-a-long-name-too", "12")...)
	for width, want := range map[int]string{
		100: "a-pod-with-quite-a-long-name-x2x4q   a-node-with-a-long-name-too   12\n",
		50:  "a-pod-with-…name-x2x4q  a-node-with…g-name-too  12\n",
		10:  "a-pod-w…-x2x4q  a-node-…me-too  12\n",
	} {
		var b strings.Builder
		tab.write(&b, screen{width: width, terminal: true, unicode: true})
		if _, got, _ := strings.Cut(b.String(), "\n"); got != want {
			t.Errorf("%d columns: %q, want %q", width, got, want)
		}
	}
	var b strings.Builder
	tab.write(&b, screen{width: 10, unicode: true})
	if !strings.Contains(b.String(), "a-pod-with-quite-a-long-name-x2x4q") {
		t.Errorf("a name was shortened in a pipe: %s", b.String())
	}
}

func TestAbilities(t *testing.T) {
	for _, c := range []struct {
		name            string
		terminal        bool
		env             map[string]string
		colour, unicode bool
	}{
		{"terminal", true, nil, true, true},
		{"pipe", false, nil, false, false},
		{"pipe, UTF-8", false, map[string]string{"LANG": "en_US.UTF-8"}, false, true},
		{"pipe, LC_ALL wins", false, map[string]string{"LANG": "en_US.UTF-8", "LC_ALL": "C"}, false, false},
		{"terminal, not UTF-8", true, map[string]string{"LC_CTYPE": "de_DE.ISO-8859-1"}, true, false},
		{"NO_COLOR", true, map[string]string{"NO_COLOR": "1"}, false, true},
		{"NO_COLOR empty", true, map[string]string{"NO_COLOR": ""}, true, true},
		{"dumb", true, map[string]string{"TERM": "dumb"}, false, false},
	} {
		colour, unicode := abilities(c.terminal, func(n string) (string, bool) { v, ok := c.env[n]; return v, ok })
		if colour != c.colour || unicode != c.unicode {
			t.Errorf("%s: colour %v, unicode %v", c.name, colour, unicode)
		}
	}
}

func TestClock(t *testing.T) {
	now := time.Date(2026, 11, 22, 0, 30, 0, 0, time.UTC)
	v := view{now: func() time.Time { return now }, zone: time.FixedZone("", 3600)}
	for _, c := range []struct {
		t    time.Time
		want string
	}{
		{time.Time{}, "unknown"},
		{now.Add(-time.Minute), "01:29:00"},
		{now.Add(-2 * time.Hour), "2026-11-21 23:30:00"},
	} {
		if got := v.clock(c.t, toSeconds); got != c.want {
			t.Errorf("%v: %q, want %q", c.t, got, c.want)
		}
	}
}

// TestVerdictNeverGuesses: whatever is missing, nothing but a hub's "no" reads as in time.
func TestVerdictNeverGuesses(t *testing.T) {
	at := time.Unix(1, 0)
	for _, d := range []report.Departure{
		{}, {T0: at}, {T0: at, Told: span(0, 1)}, {T0: at, Told: span(5, 6), LastCall: span(1, 1.1)},
		{T0: at, Told: span(5, 6), LastCall: span(1, 1.1), Complete: true, Expected: 2, Answered: 1, Late: report.Unknown},
		{T0: at, Told: span(5, 6), Pending: 1, Late: "maybe"}, {Late: report.Yes}, {Late: report.Yes, Pending: 3}, {Kept: true, Late: report.No},
	} {
		text, st := verdict(d)
		if strings.HasPrefix(text, "In time") || strings.Contains(text, "safe") || st == green {
			t.Errorf("%+v: %q", d, text)
		}
	}
	if text, st := verdict(report.Departure{Late: report.No, Expected: 3, Answered: 2}); st == green || !strings.Contains(text, "as far as is known") {
		t.Errorf("2 of 3 nodes: %q", text)
	}
}

// TestMany: what is left out is counted, and -o wide leaves nothing out.
func TestMany(t *testing.T) {
	d := report.Departure{UID: "u0", Pod: "shop-0", Node: "node-0", T0: time.Unix(1, 0), LastCall: span(1, 1.2), Complete: true, Expected: 12, Answered: 12}
	for i := range 12 {
		d.Slowest = append(d.Slowest, report.Landing{Node: fmt.Sprintf("node-%d", i), Kind: "kube-proxy", Landed: span(1, 1.2-float64(i)/100), Unusable: i < 9, ClockError: .3})
	}
	e := report.Explanation{Episode: report.Episode{Workload: "deployment/shop", Worst: "u0"}, Departures: []report.Departure{d}}
	for i := range 20 {
		e.Departures = append(e.Departures, report.Departure{UID: fmt.Sprint(i), Pod: fmt.Sprintf("shop-%d", i+1)})
	}
	v := view{screen: screen{width: 80}, now: time.Now, zone: time.UTC}
	for _, wide := range []bool{false, true} {
		v.wide = wide
		var b strings.Builder
		v.explanation(&b, e, "", pages{})
		for _, want := range []string{"  and 4 more places, the slowest of them 1.12 s (-o wide shows them)\n", "and 5 more pods (-o wide shows them)\n"} {
			if strings.Contains(b.String(), want) == wide {
				t.Errorf("wide %v, %q:\n%s", wide, want, b.String())
			}
		}
		if want := "And 3 more notes like these (-o json has all).\n"; !strings.Contains(b.String(), want) {
			t.Errorf("no %q in:\n%s", want, b.String())
		}
		for line := range strings.Lines(b.String()) {
			if len(line) > 81 {
				t.Errorf("%d columns: %s", len(line)-1, line)
			}
		}
	}
}
