package ledger

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

var epoch = time.Unix(1_700_000_000, 0).UTC()

func ms(n int) time.Time { return epoch.Add(time.Duration(n) * time.Millisecond) }

func newTest(t testing.TB, cfg Config) (*Ledger, *prometheus.Registry) {
	reg := prometheus.NewPedanticRegistry()
	cfg.Place, cfg.Backend = "kube-proxy", "nftables"
	if cfg.Families == nil {
		cfg.Families = []Family{IPv4}
	}
	cfg.Metrics = NewMetrics(reg, cfg.Place, func() float64 { return 0 })
	cfg.Metrics.Dataplane(cfg.Backend, cfg.Families)
	cfg.Events = NewRing("boot", 1<<20, time.Hour, sameTime)
	return New(cfg), reg
}

// key is path n of a pod.
func key(uid string, n int) Key {
	return Key{UID: uid, Path: Path{Service: ServicePort{Namespace: "shop", Name: fmt.Sprint("s", n), Protocol: "tcp"},
		Policy: Cluster, Endpoint: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, uid[0]}), 80)}}
}

func left(k Key, at int) Change {
	return Change{At: ms(at), Left: &Removal{Key: k, Seen: ms(at)}}
}

func retain(k Key, at int) Change { return Change{At: ms(at), Retained: &Removal{Key: k}} }

func landing(k Key, lo, hi int) Landing {
	return Landing{Key: k, Interval: Interval{Lo: ms(lo), Hi: ms(hi)}, Generation: 7}
}

// seen makes landings those of the removals that are open.
func seen(l *Ledger, lds ...Landing) []Landing {
	for i := range lds {
		if e := l.open[lds[i].Key]; e != nil {
			lds[i].Seen = e.Seen
		}
	}
	return lds
}

// lines are the event lines without what does not vary: boot, seq, place.
func lines(t testing.TB, l *Ledger) (out []string) {
	t.Helper()
	texts, _, _ := l.cfg.Events.Since(1)
	for _, text := range texts {
		var e Event
		if err := json.Unmarshal(text, &e); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		s := string(e.Type)
		if !e.Hi.IsZero() {
			s += fmt.Sprintf(" (%d,%d]", e.Lo.Sub(epoch).Milliseconds(), e.Hi.Sub(epoch).Milliseconds())
		}
		if e.Pod != nil {
			s += " " + e.Pod.UID + " " + string(e.Reason)
		}
		for _, d := range e.Departures {
			s += fmt.Sprintf(" %s:", d.UID)
			for _, o := range Outcomes {
				if n := d.Outcomes[o]; n > 0 {
					s += fmt.Sprintf(" %s=%d", o, n)
				}
			}
			s += fmt.Sprintf(" pending=%d retained=%d", d.Pending, d.Retained)
			if d.Kept {
				s += " kept"
			}
			if d.Leaving != nil {
				s += " leaves:" + string(d.Leaving.Reason)
			}
			if len(d.Ports) > 0 {
				s += " opened"
			}
		}
		if e.UID != "" {
			s += " " + e.UID
		}
		for uid, o := range e.Open {
			s += fmt.Sprintf(" %s: pending=%d retained=%d", uid, o.Pending, o.Retained)
		}
		out = append(out, s)
	}
	return out
}

func TestLedger(t *testing.T) {
	a1, a2, b1 := key("a", 1), key("a", 2), key("b", 1)
	departed := Change{At: ms(0), Departed: &Departure{Pod: Pod{UID: "a"}, Reason: Delete, T0: ms(0), Source: FromPod, Grace: 30}}
	for _, tt := range []struct {
		name string
		do   func(l *Ledger)
		want []string
	}{
		{"two paths land by one commit", func(l *Ledger) {
			l.Apply([]Change{departed, left(a1, 1), left(a2, 1)})
			l.Land(seen(l, landing(a1, 10, 11), landing(a2, 10, 11)))
		}, []string{
			"removals (10,11] a: landed=2 pending=0 retained=0 leaves:delete opened",
		}},
		{"two paths land by two commits", func(l *Ledger) {
			l.Apply([]Change{left(a1, 1), left(a2, 1)})
			l.Land(seen(l, landing(a1, 10, 11), landing(a2, 20, 21)))
		}, []string{
			"removals (10,11] a: landed=1 pending=0 retained=0 opened",
			"removals (20,21] a: landed=1 pending=0 retained=0",
		}},
		{"two policies of one path: each with its own end", func(l *Ledger) {
			local := a1
			local.Path.Policy = Local
			l.Apply([]Change{left(a1, 1), retain(local, 1)})
			l.Land(seen(l, landing(a1, 10, 11)))
			l.Apply([]Change{left(local, 20)})
			l.Land(seen(l, landing(local, 30, 31)))
		}, []string{
			"removals (10,11] a: landed=1 pending=0 retained=1 kept opened",
			"removals (30,31] a: landed=1 pending=0 retained=0 opened",
		}},
		{"ready again before it landed", func(l *Ledger) {
			l.Apply([]Change{left(a1, 1)})
			_, forget := l.Apply([]Change{{At: ms(5), Returned: &a1}})
			if len(forget) != 1 {
				t.Error("the probe must be told to stop watching")
			}
			l.Land([]Landing{landing(a1, 10, 11)}) // the probe was reading meanwhile
		}, []string{
			"removals a: restored=1 pending=0 retained=0 opened",
		}},
		{"another pod took the address", func(l *Ledger) {
			l.Apply([]Change{left(a1, 1)})
			l.Apply([]Change{{At: ms(5), Superseded: &a1}})
		}, []string{
			"removals a: superseded=1 pending=0 retained=0 opened",
		}},
		{"left and taken by another pod at once", func(l *Ledger) {
			if watch, _ := l.Apply([]Change{left(a1, 1), {At: ms(1), Superseded: &a1}}); len(watch) != 0 {
				t.Error("a settled removal must not be watched")
			}
		}, []string{
			"removals a: superseded=1 pending=0 retained=0 opened",
		}},
		{"kept on purpose, then released", func(l *Ledger) {
			l.Apply([]Change{departed, retain(a1, 1)})
			l.Land([]Landing{landing(a1, 2, 3)}) // not asked for
			watch, _ := l.Apply([]Change{left(a1, 100)})
			if len(watch) != 1 {
				t.Error("a released path must be watched")
			}
			l.Land(seen(l, landing(a1, 110, 111)))
		}, []string{
			"removals (110,111] a: landed=1 pending=0 retained=0 kept leaves:delete opened",
		}},
		{"never programmed", func(l *Ledger) {
			l.Apply([]Change{left(a1, 1)})
			l.Land(seen(l, Landing{Key: a1, Interval: Interval{Hi: ms(2)}, Absent: true}))
		}, []string{
			"removals a: absent=1 pending=0 retained=0 opened",
		}},
		{"expired, then landed after all", func(l *Ledger) {
			l.Apply([]Change{left(a1, 1)})
			l.Expire(ms(999))
			l.Expire(ms(1001))
			l.Expire(ms(5000))
			l.Land(seen(l, landing(a1, 6000, 6001)))
		}, []string{
			"removals a: pending=1 retained=0 opened",
			"removals a: expired=1 pending=0 retained=0",
			"late (6000,6001] a",
		}},
		{"the node goes", func(l *Ledger) {
			l.Apply([]Change{left(a1, 1), retain(b1, 1)})
			l.Apply([]Change{{At: ms(9), Excluded: true}})
		}, []string{
			"removals a: excluded=1 pending=0 retained=0 opened b: excluded=1 pending=0 retained=0 kept opened",
		}},
		{"the record of commits broke", func(l *Ledger) {
			l.Apply([]Change{left(a1, 1), retain(b1, 1)})
			if forget := l.Blind("kernel", ms(9)); len(forget) != 1 {
				t.Errorf("forget %v, want the pending one", forget)
			}
		}, []string{
			"removals a: gap=1 pending=0 retained=0 opened",
			"removals b: pending=0 retained=1 kept opened",
		}},
		{"stopped with work open", func(l *Ledger) {
			l.Apply([]Change{left(a1, 1)})
			l.Stop(ms(9))
		}, []string{
			"removals a: pending=1 retained=0 opened",
			"stop a: pending=1 retained=0",
		}},
		{"too many at once", func(l *Ledger) {
			l.cfg.MaxOpen = 1
			l.Apply([]Change{left(a1, 1), left(b1, 1)})
		}, []string{
			"removals b: gap=1 pending=0 retained=0 opened",
			"removals a: pending=1 retained=0 opened",
		}},
		{"a departure that opens nothing here", func(l *Ledger) {
			l.Apply([]Change{departed})
		}, []string{
			"departure a delete",
		}},
		{"announced once, by whatever line comes first", func(l *Ledger) {
			l.Apply([]Change{departed, left(a1, 1)})
			l.Tell()
			l.Land(seen(l, landing(a1, 10, 11)))
		}, []string{
			"removals a: pending=1 retained=0 leaves:delete opened",
			"removals (10,11] a: landed=1 pending=0 retained=0",
		}},
		{"a family without a dataplane", func(l *Ledger) {
			k := a1
			k.Path.Endpoint = netip.MustParseAddrPort("[fd00::1]:80")
			l.Apply([]Change{left(k, 1)})
		}, nil},
		{"a landing of an earlier removal of the same path", func(l *Ledger) {
			l.Apply([]Change{left(a1, 1)})
			old := seen(l, landing(a1, 2, 3))
			l.Apply([]Change{{At: ms(5), Returned: &a1}, left(a1, 6)})
			l.Land(old)
		}, []string{
			"removals a: restored=1 pending=1 retained=0 opened",
		}},
		{"left again after it had expired", func(l *Ledger) {
			l.Apply([]Change{left(a1, 1)})
			l.Expire(ms(1001))
			l.Apply([]Change{left(a1, 2000)})
			l.Land(seen(l, landing(a1, 2001, 2002)))
		}, []string{
			"removals a: expired=1 pending=0 retained=0 opened",
			"removals (2001,2002] a: landed=1 pending=0 retained=0 opened",
		}},
		{"the same path twice", func(l *Ledger) {
			l.Apply([]Change{left(a1, 1), left(a1, 1)})
			l.Land(seen(l, landing(a1, 2, 3), landing(a1, 2, 3)))
		}, []string{
			"removals (2,3] a: landed=1 pending=0 retained=0 opened",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l, _ := newTest(t, Config{Horizon: time.Second})
			tt.do(l)
			l.Tell()
			got := lines(t, l)
			// Map order decides which pod of a line comes first.
			if want := tt.want; normal(got) != normal(want) {
				t.Errorf("events:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}

func normal(lines []string) string {
	var out []string
	for _, l := range lines {
		if strings.Contains(l, "b: excluded=1") && strings.Contains(l, "a: excluded=1") {
			l = fmt.Sprintf("removals both excluded %d", len(l))
		}
		out = append(out, l)
	}
	return strings.Join(out, "\n")
}

// TestOpenByFamily: a line is about one family, and so are its open counts. kube-proxy syncs the families apart: whoever adds
// up lines by family must not see what is open in the other.
func TestOpenByFamily(t *testing.T) {
	l, _ := newTest(t, Config{Families: []Family{IPv4, IPv6}})
	v4, v6 := key("a", 1), key("a", 1)
	v6.Path.Endpoint = netip.MustParseAddrPort("[fd00::1]:80")
	l.Apply([]Change{left(v4, 1), left(v6, 2)})
	l.Tell()
	l.Land(seen(l, landing(v4, 10, 11)))
	l.Land(seen(l, landing(v6, 20, 21)))
	want := []string{
		"removals a: pending=1 retained=0 opened",
		"removals a: pending=1 retained=0 opened",
		"removals (10,11] a: landed=1 pending=0 retained=0",
		"removals (20,21] a: landed=1 pending=0 retained=0",
	}
	if diff := cmp.Diff(want, lines(t, l)); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}

// TestConservation: whatever comes in whatever order, every removal that was opened ends in exactly one
// outcome or is still open.
func TestConservation(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		l, reg := newTest(t, Config{Horizon: 50 * time.Millisecond, MaxOpen: 20})
		opened := 0
		isOpen := func(k Key) bool { e := l.open[k]; return e != nil && e.state != expired }
		for at := range 400 {
			k := key(string(rune('a'+rnd.IntN(6))), rnd.IntN(6))
			switch rnd.IntN(9) {
			case 0, 1, 2:
				if e := l.open[k]; e == nil || e.state == expired {
					opened++ // a gap at once if there is no room
				}
				l.Apply([]Change{left(k, at)})
			case 3:
				if l.open[k] == nil {
					opened++
				}
				l.Apply([]Change{retain(k, at)})
			case 4:
				l.Apply([]Change{{At: ms(at), Returned: &k}})
			case 5:
				l.Apply([]Change{{At: ms(at), Superseded: &k}})
			case 6:
				l.Land(seen(l, landing(k, at-1, at)))
			case 7:
				l.Expire(ms(at))
			case 8:
				if rnd.IntN(40) == 0 {
					l.Blind("kernel", ms(at))
				} else if rnd.IntN(40) == 0 {
					l.Apply([]Change{{At: ms(at), Excluded: true}})
				}
			}
		}
		open := 0
		for k := range l.open {
			if isOpen(k) {
				open++
			}
		}
		p, r := l.Open()
		if p+r != open {
			t.Fatalf("seed %d: %d pending + %d retained, but %d are open", seed, p, r, open)
		}
		settled := 0.0
		for _, o := range Outcomes {
			settled += testutil.ToFloat64(l.cfg.Metrics.outcomes.WithLabelValues("kube-proxy", "ipv4", string(o)))
		}
		if int(settled)+open != opened {
			t.Fatalf("seed %d: opened %d, settled %v, still open %d", seed, opened, settled, open)
		}
		said := 0
		l.Tell()
		texts, _, _ := l.cfg.Events.Since(1)
		for _, text := range texts {
			var e Event
			if err := json.Unmarshal(text, &e); err != nil {
				t.Fatal(err)
			}
			for _, d := range e.Departures {
				said += d.Opened
			}
		}
		if said != opened {
			t.Fatalf("seed %d: opened %d, the lines say %d", seed, opened, said)
		}
		if _, err := reg.Gather(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestMetrics holds values, names and the number of series.
func TestMetrics(t *testing.T) {
	l, reg := newTest(t, Config{})
	a1, a2, a3, a4 := key("a", 1), key("a", 2), key("a", 3), key("a", 4)
	rearmed := left(a3, 100)
	rearmed.Left.Rearmed = true
	l.Apply([]Change{left(a1, 100), left(a2, 100), rearmed, left(a4, 200)})
	l.Land(seen(l,
		landing(a1, 136, 140),
		landing(a2, 90, 98), // faster than our watch
		Landing{Key: a3, Interval: Interval{Hi: ms(101)}},
	))
	for name, want := range map[string]string{
		"lastcall_removals_pending": `
# HELP lastcall_removals_pending Removals seen and not yet settled.
# TYPE lastcall_removals_pending gauge
lastcall_removals_pending{family="ipv4",place="kube-proxy"} 1
`,
		"lastcall_removal_oldest_pending_timestamp_seconds": `
# HELP lastcall_removal_oldest_pending_timestamp_seconds Unix time at which the oldest removal that is still routed here was seen; absent if there is none. Expired removals count until they land.
# TYPE lastcall_removal_oldest_pending_timestamp_seconds gauge
lastcall_removal_oldest_pending_timestamp_seconds{family="ipv4",place="kube-proxy"} 1.7000000002e+09
`,
		"lastcall_landed_before_seen_total": `
# HELP lastcall_landed_before_seen_total Removals that had landed before this agent received the API event that caused them.
# TYPE lastcall_landed_before_seen_total counter
lastcall_landed_before_seen_total{place="kube-proxy"} 1
`,
		"lastcall_removal_uncertainty_seconds": `
# HELP lastcall_removal_uncertainty_seconds Width of the interval within which a landed removal landed (slop). Those without a lower bound are in lastcall_landed_unbounded_total.
# TYPE lastcall_removal_uncertainty_seconds histogram
lastcall_removal_uncertainty_seconds_bucket{place="kube-proxy",le="0.001"} 0
lastcall_removal_uncertainty_seconds_bucket{place="kube-proxy",le="0.005"} 1
lastcall_removal_uncertainty_seconds_bucket{place="kube-proxy",le="0.05"} 2
lastcall_removal_uncertainty_seconds_bucket{place="kube-proxy",le="1"} 2
lastcall_removal_uncertainty_seconds_bucket{place="kube-proxy",le="+Inf"} 2
lastcall_removal_uncertainty_seconds_sum{place="kube-proxy"} 0.012
lastcall_removal_uncertainty_seconds_count{place="kube-proxy"} 2
`,
		"lastcall_landed_unbounded_total": `
# HELP lastcall_landed_unbounded_total Landed removals of which only an upper bound is known, such as those that landed while no agent ran.
# TYPE lastcall_landed_unbounded_total counter
lastcall_landed_unbounded_total{place="kube-proxy"} 1
`,
	} {
		if err := testutil.GatherAndCompare(reg, strings.NewReader(want), name); err != nil {
			t.Error(err)
		}
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "lastcall_removal_program_duration_seconds" {
			h := f.Metric[0].GetHistogram()
			if h.GetSampleCount() != 2 || h.GetSampleSum() != 0.04 {
				t.Errorf("program duration: %d samples, sum %v; want 2 (the re-armed one has no seen) and 0.04", h.GetSampleCount(), h.GetSampleSum())
			}
		}
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v %v", problems, err)
	}
}

// TestReplicas: a place kind with several replicas on a node keeps a ledger for each; metrics add up, lines name
// the replica, and one that ended is in no gauge.
func TestReplicas(t *testing.T) {
	l, reg := newTest(t, Config{})
	m := l.cfg.Metrics.For("envoy", "dataplane")
	var envoys []*Ledger
	for _, name := range []string{"ingress/envoy-a", "ingress/envoy-b"} {
		envoys = append(envoys, New(Config{Place: "envoy", Replica: name, Backend: "dataplane", Families: []Family{IPv4}, Metrics: m, Events: l.cfg.Events}))
	}
	a, b := key("a", 1), key("b", 1)
	l.Apply([]Change{left(a, 1)})
	for _, e := range envoys {
		e.Apply([]Change{left(a, 1), left(b, 2)})
	}
	l.Tell()
	envoys[0].Tell()
	envoys[0].Land(seen(envoys[0], landing(a, 10, 11), Landing{Key: b, Interval: Interval{Hi: ms(12)}, Unknown: true}))
	want := `# HELP lastcall_removals_pending Removals seen and not yet settled.
# TYPE lastcall_removals_pending gauge
lastcall_removals_pending{family="ipv4",place="envoy"} 2
lastcall_removals_pending{family="ipv4",place="kube-proxy"} 1
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "lastcall_removals_pending"); err != nil {
		t.Error(err)
	}
	for o, want := range map[Outcome]float64{Landed: 1, Gap: 1, Absent: 0} {
		if got := testutil.ToFloat64(m.outcomes.WithLabelValues("envoy", "ipv4", string(o))); got != want {
			t.Errorf("%s: %v, want %v", o, got, want)
		}
	}
	envoys[1].Apply([]Change{{At: ms(20), Excluded: true}})
	envoys[1].Close()
	want = `# HELP lastcall_removals_pending Removals seen and not yet settled.
# TYPE lastcall_removals_pending gauge
lastcall_removals_pending{family="ipv4",place="envoy"} 0
lastcall_removals_pending{family="ipv4",place="kube-proxy"} 1
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "lastcall_removals_pending"); err != nil {
		t.Error(err)
	}
	texts, _, _ := l.cfg.Events.Since(1)
	got := map[string]int{}
	for _, text := range texts {
		var e Event
		if err := json.Unmarshal(text, &e); err != nil {
			t.Fatal(err)
		}
		got[e.Place+" "+e.Replica]++
	}
	// Told to be open, then one landed and one of which nothing is known; opened and excluded in one line.
	if got["kube-proxy "] != 1 || got["envoy ingress/envoy-a"] != 3 || got["envoy ingress/envoy-b"] != 1 {
		t.Errorf("lines by place: %v", got)
	}
}
