package sizing

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/ledger"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v (go test ./hub/sizing -update)", err)
	}
	if got != string(want) {
		t.Errorf("%s differs (go test ./hub/sizing -update, and look at the difference):\n%s", file, got)
	}
}

type change = func(i int, d *report.Departure)

// shopWith is n episodes whose last calls go up to a largest, with every row changed.
func shopWith(n int, largest float64, changes ...change) Input {
	in := shop(ascending(n, largest)...)
	for i := range in.Episodes {
		for _, c := range changes {
			c(i, &in.Episodes[i].Departures[0])
		}
	}
	return in
}

// sleeping has the server sleep in preStop, and end a moment after it.
func sleeping(n int64) change {
	return func(_ int, d *report.Departure) {
		s := float64(n)
		d.Told = &report.Span{Lo: s, Hi: s + 1}
		d.Containers[0].PreStop = ledger.PreStop{Kind: ledger.PreStopSleep, Seconds: &n}
		d.Containers[0].Finished = ptr(s + 2)
		d.Late = report.No
		if d.LastCall.Lo > s+1 {
			d.Late = report.Yes
		}
	}
}

func hooked(k ledger.PreStopKind) change {
	return func(_ int, d *report.Departure) { d.Containers[0].PreStop = ledger.PreStop{Kind: k} }
}

// killed has the server killed at the end of grace in the newest of 41 episodes.
func killed(n int) change {
	return func(i int, d *report.Departure) {
		if i >= 41-n {
			d.Containers[0].ExitCode, d.Containers[0].Finished = ptr(int32(137)), ptr(31.2)
		}
	}
}

func beside(name string, finished float64) change {
	return func(_ int, d *report.Departure) {
		d.Containers = append(slices.Clone(d.Containers), report.Container{Name: name, PreStop: ledger.PreStop{Kind: ledger.NoPreStop},
			ExitCode: ptr(int32(0)), Finished: &finished})
	}
}

func lost(_ int, d *report.Departure) { d.Refused = ptr(3) }

func allLate(_ int, d *report.Departure) {
	d.Late, d.Refused = report.Yes, ptr(3)
}

func grace(s int64) change { return func(_ int, d *report.Departure) { d.Grace = &s } }

func because(r ledger.Reason) change { return func(_ int, d *report.Departure) { d.Reason = r } }

func kept(_ int, d *report.Departure) { d.Kept = true }

func stuckIn(n int) change {
	return func(i int, d *report.Departure) {
		if i < n {
			d.Complete, d.Pending, d.Age, d.Answered = false, 1, 400, 2
			d.Slowest = append([]report.Landing{{Node: "ip-10-3-7-21", Kind: "kube-proxy", Pending: 1}}, d.Slowest...)
		}
	}
}

func slowNode(n int) change {
	return func(i int, d *report.Departure) {
		if i < n {
			d.LastCall = &report.Span{Lo: 17, Hi: 18}
			d.Slowest = []report.Landing{landing("ip-10-3-7-21", 17, 18), landing("node-1", 3, 3.5), landing("node-2", 2, 3)}
		}
	}
}

func witnessed(in Input, w Witness) Input {
	for i := range in.Episodes {
		e := &in.Episodes[i]
		e.Witnessed = map[string]Witness{e.Departures[0].UID: w}
	}
	return in
}

func notMeasured(in Input) Input {
	in.NotMeasured = []report.Missing{{Place: "contour", Why: "not measured"}}
	return in
}

// raised is a workload that was late, and whose preStop sleeps longer since.
var raised = func() Input {
	in := shopWith(7, 4.2, allLate)
	in.Workload.Containers = []report.Container{{Name: "server", Serves: true, PreStop: sleepHook(ledger.PreStopSleep, 10, false)}}
	return in
}()

// cases has every verdict, as the first that is said or beside the answer.
var cases = []struct {
	name string
	in   Input
	o    Options
	want []Code
}{
	{"nothing ever left", shop(), Options{}, []Code{NothingLeft}},
	{"few episodes", shopWith(7, 4.2, sleeping(10)), Options{}, []Code{TooFew}},
	{"few episodes, late already", shopWith(7, 4.2, allLate), Options{}, []Code{TooShort}},
	{"no preStop", shopWith(41, 11.7, allLate), Options{}, []Code{TooShort}},
	{"too short, not late yet", shopWith(41, 5.6, sleeping(5)), Options{}, []Code{TooShort}},
	{"too short for what is measured", notMeasured(shopWith(41, 11.7, sleeping(5))), Options{}, []Code{TooShort}},
	{"too short because of one node", shopWith(41, 4, slowNode(3), allLate), Options{}, []Code{TooShort}},
	{"fits", shopWith(41, 11.7, sleeping(15)), Options{}, []Code{Fits}},
	{"longer than needed", shopWith(41, 4.2, sleeping(60), grace(90)), Options{}, []Code{LongerThanNeeded}},
	{"fits what is measured", notMeasured(shopWith(41, 11.7, sleeping(15))), Options{}, []Code{NotAllMeasured}},
	{"fits with what is assumed", notMeasured(shopWith(41, 11.7, sleeping(80), grace(120))), Options{Unmeasured: 60}, []Code{Fits}},
	{"an HTTP hook", shopWith(41, 11.7, hooked(ledger.PreStopHTTP)), Options{}, []Code{Unreadable}},
	{"nobody knows who serves", shopWith(41, 11.7, func(_ int, d *report.Departure) { d.Containers[0].Serves = false }), Options{}, []Code{Unreadable}},
	{"nodes shut down", shopWith(9, 4, because(ledger.NodeShutdown)), Options{}, []Code{TooLate}},
	{"one replica", shopWith(9, 4, kept), Options{}, []Code{Kept}},
	{"stuck now and then", shopWith(41, 11.7, sleeping(15), stuckIn(2)), Options{}, []Code{Fits, StuckPlace}},
	{"stuck often", shopWith(41, 11.7, stuckIn(20)), Options{}, []Code{StuckPlace, TooShort}},
	{"the hook fails", shopWith(41, 11.7, sleeping(15), func(_ int, d *report.Departure) { d.Containers[0].Finished = ptr(1.5) }), Options{}, []Code{HookFails, Fits}},
	{"the kubelet says that the hook fails", witnessed(shopWith(41, 11.7, hooked(ledger.PreStopExec)), Witness{HookFailed: ptr(true)}), Options{}, []Code{HookFails, Unreadable}},
	{"a proxy leaves first", shopWith(41, 11.7, sleeping(15), beside("istio-proxy", 1.2), lost), Options{}, []Code{LeavesFirst, Fits}},
	{"a helper leaves first", shopWith(41, 11.7, sleeping(15), beside("logger", 1.2)), Options{}, []Code{Fits, LeavesFirst}},
	{"a helper had ended before the pod left", shopWith(41, 11.7, sleeping(15), beside("setup", 0)), Options{}, []Code{Fits}},
	{"preStop takes all of the grace", shopWith(41, 11.7, sleeping(30), killed(41)), Options{}, []Code{NoTimeToStop, LongerThanNeeded}},
	{"cuts connections", witnessed(shopWith(41, 11.7, sleeping(15)), Witness{Cut: ptr(4)}), Options{}, []Code{CutsAtStop, Fits}},
	{"long-lived connections", witnessed(shopWith(41, 11.7, sleeping(15), killed(38)), Witness{Open: ptr(6)}), Options{}, []Code{DrainsTooLong, Fits}},
	{"a shell as PID 1", witnessed(shopWith(41, 11.7, sleeping(15), killed(41)), Witness{Open: ptr(0)}), Options{}, []Code{IgnoresSIGTERM, Fits}},
	{"killed, nobody knows why", shopWith(41, 11.7, sleeping(15), killed(2)), Options{}, []Code{Killed, Fits}},
	{"killed before it was mended", shopWith(61, 11.7, sleeping(15), func(i int, d *report.Departure) {
		if i < 41 {
			killed(41)(i, d)
		}
	}), Options{}, []Code{Fits}},
	{"killed once", shopWith(41, 11.7, sleeping(15), killed(1)), Options{}, []Code{Fits}},
	{"hostile names", shopWith(41, 11.7, sleeping(15), beside("\x1b[2J\u202eproxy", 1.2)), Options{}, []Code{Fits, LeavesFirst}},
	{"few episodes, late before preStop was raised", raised, Options{}, []Code{TooFew}},
}

// TestVerdicts: every verdict with its evidence and what to do, as data and in words.
func TestVerdicts(t *testing.T) {
	var b strings.Builder
	seen := map[Code]bool{}
	for _, c := range cases {
		r := Recommend(c.in, Pool{}, c.o)
		var got []Code
		fmt.Fprintf(&b, "## %s: %s\n", c.name, r.Number())
		for _, v := range r.Verdicts {
			got = append(got, v.Code)
			seen[v.Code] = true
			owner := ""
			if v.Owner != Nobody {
				owner = " [" + string(v.Owner) + "]"
			}
			fmt.Fprintf(&b, "%s%s\n    %s\n    -> %s\n", v.Code.Words(), owner, v.Says(), v.ToDo())
		}
		b.WriteString("\n")
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	for _, c := range []Code{TooShort, Fits, LongerThanNeeded, TooFew, Unreadable, NotAllMeasured, NothingLeft, TooLate, Kept, StuckPlace,
		HookFails, LeavesFirst, NoTimeToStop, CutsAtStop, DrainsTooLong, IgnoresSIGTERM, Killed} {
		if !seen[c] {
			t.Errorf("no case of %s", c)
		}
	}
	golden(t, "testdata/verdicts.golden", b.String())
}

// TestArgument: the whole argument in words.
func TestArgument(t *testing.T) {
	statefulset := shopWith(41, 11.7, sleeping(5), stuckIn(2))
	statefulset.Workload.Name, statefulset.Workload.Replicas = "statefulset/db", ptr(5)
	changed := shopWith(60, 11.7, sleeping(5), func(i int, d *report.Departure) {
		if i%9 == 0 {
			d.T0Source = ledger.FromDeletion
		}
	})
	changed.Episodes = with(changed.Episodes, func(i int, e *Episode) {
		if i < 20 {
			e.Regime.Version = "v1.35.1"
		}
	})
	classes := shopWith(40, 11.7, allLate)
	classes.Episodes = with(classes.Episodes, func(i int, e *Episode) { e.Episode.Most = []int{1, 5}[i%2] })
	burst := shopWith(22, 11.7, allLate, func(_ int, d *report.Departure) { killed(41)(0, d) })
	burst.Episodes = with(burst.Episodes, func(i int, e *Episode) {
		if i > 20 {
			e.Episode.Most = 12
		}
	})
	pool := PoolOf(shopWith(30, 9.3).Episodes, Options{})
	trials := shopWith(19, 3.3)
	rollout := shop()
	for i, s := range ascending(25, 11.7) {
		e := episode(i, row(s), row(0.9*s), row(0.8*s), row(0.7*s))
		for j := range e.Departures {
			e.Departures[j].T0 = e.Departures[j].T0.Add(time.Duration(5*j) * time.Second)
		}
		rollout.Episodes = append(rollout.Episodes, e)
	}
	rollout.Workload.Name = "deployment/shop"
	trials.Trials = true
	var b strings.Builder
	for _, c := range []struct {
		name string
		in   Input
		o    Options
	}{
		{"a Deployment without preStop", shopWith(41, 11.7, allLate), Options{}},
		{"a StatefulSet, and a stuck place", statefulset, Options{}},
		{"the regime changed", changed, Options{}},
		{"one node is the driver", shopWith(41, 4, slowNode(3)), Options{}},
		{"an accident", shopWith(41, 4, slowNode(1)), Options{}},
		{"two classes of bursts", classes, Options{}},
		{"a burst larger than all others", burst, Options{}},
		{"few of its own", shopWith(5, 4.2), Options{}},
		{"trials", trials, Options{}},
		{"contour is not measured", notMeasured(shopWith(41, 11.7)), Options{}},
		{"contour is not measured, 60 s assumed", notMeasured(shopWith(41, 11.7)), Options{Unmeasured: 60}},
		{"much longer than needed", shopWith(41, 4.2, sleeping(60), grace(90)), Options{}},
		{"a rollout of four", rollout, Options{}},
		{"nothing", shop(), Options{}},
	} {
		p := Pool{}
		if c.name == "few of its own" {
			p = pool
		}
		r := Recommend(c.in, p, c.o)
		fmt.Fprintf(&b, "## %s: %s\n", c.name, r.Number())
		for _, l := range r.Argument() {
			fmt.Fprintf(&b, "%-8s %s\n", l.Label, l.Text)
		}
		b.WriteString("\n")
	}
	golden(t, "testdata/argument.golden", b.String())
}
