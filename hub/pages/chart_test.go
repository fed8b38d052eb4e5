package pages

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/ledger"
)

func TestScale(t *testing.T) {
	places := func(at ...float64) (p []point) {
		for _, a := range at {
			p = append(p, point{a, 1})
		}
		return p
	}
	for _, c := range []struct {
		name   string
		points []point
		ticks  string // the labels, with | for a break
	}{
		{"nothing", nil, "T0 0.2 s 0.4 s 0.6 s 0.8 s 1.0 s"},
		{"20 ms", places(.018, .0197), "T0 5 ms 10 ms 15 ms 20 ms"},
		{"a second", places(1.02, 1.21), "T0 0.5 s 1.0 s"},
		{"seconds", places(1, 4.8), "T0 1 s 2 s 3 s 4 s 5 s"},
		{"minutes", places(100, 312), "T0 1 min 2 min 3 min 4 min 5 min"},
		{"half an hour", places(420, 1004, 1743), "T0 10 min 20 min 30 min"},
		{"one fast place is no reason to cut", places(.005, .12, .13), "T0 50 ms 100 ms"},
		{"nor is one of two", places(.01, .13), "T0 50 ms 100 ms"},
		{"a straggler far beyond", places(.4, .9, 1.2, 95.2), "T0 0.5 s 1.0 s | 94 s 96 s"},
		{"a preStop far beyond", append(places(.4, .9, 1.2), point{at: 10}, point{at: 11}), "T0 0.5 s 1.0 s | 10 s 11 s"},
		{"both", append(places(.4, .9, 1.2, 312), point{at: 10}, point{at: 11}), "T0 0.5 s 1.0 s | 10 s 11 s | 5:10 min"},
		{"nonsense", append(places(-1, 1), point{at: nan()}), "T0 0.2 s 0.4 s 0.6 s 0.8 s 1.0 s"},
	} {
		s := newScale(c.points)
		var labels []string
		breaks := s.breaks()
		for _, tick := range s.ticks() {
			for len(breaks) > 0 && tick.At > breaks[0] {
				labels, breaks = append(labels, "|"), breaks[1:]
			}
			if tick.Label != "" {
				labels = append(labels, tick.Label)
			}
		}
		if got := strings.Join(labels, " "); got != c.ticks {
			t.Errorf("%s: %s, want %s", c.name, got, c.ticks)
		}
	}
}

func nan() float64 { var zero float64; return zero / zero }

// TestScaleKeepsOrder holds for any points: later is not further left, and all of them are on the chart.
func TestScaleKeepsOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for range 2000 {
		var points []point
		for range 1 + r.IntN(60) {
			points = append(points, point{at: 1800 * pow(r.Float64(), 1+12*r.Float64()), places: r.IntN(2)})
		}
		s := newScale(points)
		slices.SortFunc(points, func(a, b point) int { return int(s.at(a.at)*1e6) - int(s.at(b.at)*1e6) })
		for i, p := range points {
			if at := s.at(p.at); at < 0 || at > 100 || i > 0 && points[i-1].at > p.at && s.at(points[i-1].at) < at {
				t.Fatalf("%v at %v in %+v", p, at, s)
			}
		}
		for i, p := range s.pieces {
			if !(p.to > p.from) || !(p.right > p.left) || i > 0 && p.from <= s.pieces[i-1].to {
				t.Fatalf("pieces %+v", s.pieces)
			}
		}
		if len(s.ticks()) > 30 {
			t.Fatalf("%d ticks in %+v", len(s.ticks()), s)
		}
	}
}

func pow(x, y float64) float64 {
	p := 1.0
	for ; y > 0; y-- {
		p *= x
	}
	return p
}

// TestLabelsDoNotCollide holds for any flags: in the narrowest and in the widest chart no two labels of a line
// overlap and none leaves the chart.
func TestLabelsDoNotCollide(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	labels := []string{"told to stop 600–1.40 s", "last call 29 min 3 s", "end of grace 30 min", "container ended 12.3 s", "99 % by 962 ms", "now 5 min 12 s"}
	for range 2000 {
		var flags []flag
		for _, l := range labels[:1+r.IntN(len(labels))] {
			at := pct(r.IntN(101))
			flags = append(flags, flag{From: at, To: at, Label: l, Beyond: at == 100})
		}
		lines := layFlags(flags)
		for i, f := range flags {
			e := f.extent(f.Anchor)
			if f.Line < 0 || f.Line >= lines || e.left[0] < -5 || e.right[0] > narrowest+5 {
				t.Fatalf("%+v of %d lines reaches from %.0f to %.0f", f, lines, e.left[0], e.right[0])
			}
			for _, g := range flags[:i] {
				if g.Line == f.Line && !e.free([]extent{g.extent(g.Anchor)}) {
					t.Fatalf("%+v and %+v collide", f, g)
				}
			}
		}
		if lines > len(flags) {
			t.Fatalf("%d lines for %d flags", lines, len(flags))
		}
	}
}

func TestClockTicks(t *testing.T) {
	begun := time.Date(2026, 11, 22, 9, 6, 56, 700e6, time.UTC)
	for length, want := range map[float64]string{
		0.05: "09:06:56.70 09:06:56.72 09:06:56.74", 2: "09:06:57.0 09:06:57.5 09:06:58.0 09:06:58.5",
		70: "09:07:00 09:07:30 09:08:00", 1800: "09:10 09:20 09:30",
	} {
		s := newScale([]point{{at: length}})
		var labels []string
		for _, tick := range s.clockTicks(begun, length) {
			if tick.Label != "" {
				labels = append(labels, tick.Label)
			}
		}
		if got := strings.Join(labels, " "); got != want {
			t.Errorf("%v s: %s, want %s", length, got, want)
		}
	}
}

func TestWaterfall(t *testing.T) {
	w := newWaterfall(scenes()["two"])
	first := w.Rows[0]
	if first.Node != "node-2" || !first.Last || w.Rows[1].Last || first.LetGo != "1.21 s" || first.Program != "1.16 s" || first.Slop != "9.7 ms" {
		t.Errorf("first row %+v", first)
	}
	if len(first.Bars) != 3 || first.Bars[0].X != 0 || first.Uncertain == nil || first.Seen == nil {
		t.Errorf("first row %+v", first)
	}
	for i, b := range first.Bars[1:] {
		if gap := b.X - first.Bars[i].End(); gap > 1e-9 || gap < -1e-9 {
			t.Errorf("a gap of %v before %s", gap, b.Class)
		}
	}
	if end, cap := first.Bars[2].End(), first.Caps[0]; end-cap > 1e-9 || cap-end > 1e-9 {
		t.Errorf("program ends at %v, the landing at %v", end, cap)
	}

	w = newWaterfall(scenes()["stuck"])
	if r := w.Rows[0]; !r.Pending || r.Open == nil || r.LetGo != "not yet" || len(r.Bars) != 0 || r.Short != "ip-10-3-7-21" {
		t.Errorf("pending row %+v", r)
	}
	if len(w.Breaks) != 1 || !w.Legend.Open || !w.Legend.Breaks {
		t.Errorf("breaks %v, legend %+v", w.Breaks, w.Legend)
	}

	w = newWaterfall(scenes()["mixture"])
	notes := map[string]bool{}
	for _, r := range w.Rows {
		notes[r.Note] = true
	}
	for _, o := range ledger.Outcomes[1:] {
		if want := fmt.Sprintf("%s: %s", o, report.OutcomeWords(o)); !notes[want] {
			t.Errorf("no row says %q", want)
		}
	}
	if !w.Legend.Whole || !w.Legend.Uncertain {
		t.Errorf("legend %+v", w.Legend)
	}

	d := scenes()["thousands"]
	w = newWaterfall(d)
	total := 0
	for _, c := range w.Strip.Cells {
		var n int
		fmt.Sscanf(strings.ReplaceAll(c.Pieces, ",", ""), "%d", &n)
		total += n
	}
	if total != d.Answered || len(w.Rows) != 32 {
		t.Errorf("the strip shows %d of %d places, and %d rows", total, d.Answered, len(w.Rows))
	}
}

func TestCommonEnd(t *testing.T) {
	for _, c := range []struct {
		names []string
		want  string
	}{
		{[]string{"ip-1.eu.internal", "ip-2.eu.internal"}, ".eu.internal"},
		{[]string{"a.x.internal", "b.y.internal"}, ".internal"},
		{[]string{"a.internal", "b"}, ""},
		{[]string{"a.internal"}, ""},
		{[]string{"node-1", "node-2"}, ""},
		{[]string{".internal", "a.internal"}, ""},
		{[]string{"a.internal", ".internal"}, ""},
	} {
		if got := commonEnd(c.names); got != c.want {
			t.Errorf("%q: %q", c.names, got)
		}
	}
}

func BenchmarkDeparture(b *testing.B) {
	f := hub()
	for b.Loop() {
		v := newDepartureView(f.departures["thousands"], "../")
		if err := templates["departure"].ExecuteTemplate(discard{}, "layout", page{Body: v}); err != nil {
			b.Fatal(err)
		}
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
