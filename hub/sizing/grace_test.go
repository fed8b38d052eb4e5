package sizing

import (
	"fmt"
	"testing"
	"time"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/ledger"
)

func TestGraceOf(t *testing.T) {
	seen := func(s float64) Drain { return Drain{N: 41, Longest: s} }
	sleeps := func(n, grace int64) Present { return Present{PreStop: &n, Grace: &grace} }
	for name, c := range map[string]struct {
		prestop int64
		present Present
		drain   Drain
		want    string
	}{
		"there is room":                    {12, sleeps(0, 30), seen(2), "30 stays"},
		"there is none":                    {12, sleeps(0, 10), seen(2), "19"},
		"a long drain":                     {12, sleeps(5, 30), seen(40.2), "58"},
		"drain not seen":                   {12, sleeps(0, 30), Drain{}, "42"},
		"drain not seen, a sleep raised":   {12, sleeps(5, 30), Drain{}, "37"},
		"drain not seen, a sleep lowered":  {12, sleeps(60, 90), Drain{}, "90"},
		"some were killed before":          {12, sleeps(5, 30), Drain{N: 39, Longest: 2, Cut: 2}, "37"},
		"preStop takes all":                {30, sleeps(30, 30), Drain{Cut: 41}, "35"},
		"present grace unknown":            {12, Present{PreStop: ptr(int64(0))}, seen(2), "19"},
		"nothing known":                    {12, Present{}, Drain{}, "unknown"},
		"a hook that nobody can read":      {12, Present{Grace: ptr(int64(30)), Unreadable: true}, Drain{}, "42"},
		"a long sleep that is not lowered": {5, sleeps(60, 61), seen(2), "67"},
	} {
		got := "unknown"
		if g := graceOf(&c.prestop, c.present, c.drain); g.Seconds != nil {
			if got = fmt.Sprint(*g.Seconds); g.Stays {
				got += " stays"
			}
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
	if g := graceOf(nil, sleeps(0, 30), seen(2)); g.Seconds != nil {
		t.Errorf("without a recommendation: %+v", g)
	}
}

func TestPresentOf(t *testing.T) {
	c := func(name string, p ledger.PreStop) report.Container {
		return report.Container{Name: name, Serves: true, PreStop: p}
	}
	for name, tt := range map[string]struct {
		cs   []report.Container
		want string
	}{
		"none":                      {[]report.Container{c("a", noHook)}, "0 of a"},
		"nobody serves":             {[]report.Container{{Name: "a"}}, "unknown of "},
		"a sleep":                   {[]report.Container{c("a", sleepHook(ledger.PreStopSleep, 7, false))}, "7 of a"},
		"cut at grace":              {[]report.Container{c("a", sleepHook(ledger.PreStopExec, 70, true))}, "30 of a"},
		"the first to stop counts":  {[]report.Container{c("a", sleepHook(ledger.PreStopSleep, 7, false)), c("b", noHook)}, "0 of b"},
		"one that nobody can read":  {[]report.Container{c("a", noHook), c("b", ledger.PreStop{Kind: ledger.PreStopExec})}, "unknown of b"},
		"one that kubelets ignore":  {[]report.Container{c("a", ledger.PreStop{Kind: ledger.PreStopOther})}, "0 of a"},
		"one beside does not count": {[]report.Container{c("a", sleepHook(ledger.PreStopSleep, 7, false)), {Name: "b"}}, "7 of a"},
	} {
		p := presentOf(Workload{Containers: tt.cs, Grace: ptr(int64(30))})
		got := "unknown"
		if p.PreStop != nil {
			got = fmt.Sprint(*p.PreStop)
		}
		if got += " of " + p.Container; got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}

func TestCost(t *testing.T) {
	in := func(name string, replicas int, recreate bool) Input {
		e := episode(0, row(4), row(4), row(4), row(4)) // each ends 2 s after its T0
		for i := range e.Departures {
			e.Departures[i].T0 = epoch.Add(time.Duration(5*i) * time.Second)
		}
		return Input{Workload: Workload{Name: name, Replicas: &replicas, Recreate: recreate}, Episodes: []Episode{e}}
	}
	for _, c := range []struct {
		in       Input
		to, from int64
		want     string
	}{
		{in("deployment/shop", 4, false), 12, 0, "12 s longer, waits no, rollout unknown, 2 more"},
		{in("deployment/shop", 4, false), 12, 10, "2 s longer, waits no, rollout unknown, 0 more"},
		{in("deployment/shop", 4, true), 12, 0, "12 s longer, waits yes, rollout 12, 2 more"},
		{in("statefulset/db", 4, false), 12, 5, "7 s longer, waits yes, rollout 28, 1 more"},
		{in("daemonset/log", 100, false), 12, 0, "12 s longer, waits yes, rollout 1200, 2 more"},
		{in("deployment/shop", 4, false), 5, 60, "-55 s longer, waits no, rollout unknown, 0 more"},
		{in("rollout/argo", 4, false), 12, 0, "12 s longer, waits unknown, rollout unknown, 2 more"},
	} {
		k := costOf(c.in, &c.to, Present{PreStop: &c.from}, Grace{})
		rollout := "unknown"
		if k.Rollout != nil {
			rollout = fmt.Sprint(*k.Rollout)
		}
		if got := fmt.Sprintf("%d s longer, waits %s, rollout %s, %d more", k.Longer, k.RolloutWaits, rollout, k.MorePods); got != c.want {
			t.Errorf("%s from %d to %d: %s, want %s", c.in.Workload.Name, c.from, c.to, got, c.want)
		}
	}
}
