package sizing

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/strategicpatch"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/ledger"
)

func TestSleepFor(t *testing.T) {
	for _, c := range []struct {
		command string // words separated by |
		was     int64
		want    string
	}{
		{"sleep|5", 5, "sleep|12"},
		{"/bin/sleep|15s", 15, "/bin/sleep|12"},
		{"/usr/bin/sleep|2m", 120, "/usr/bin/sleep|12"},
		{"sh|-c|sleep 5", 5, "sh|-c|sleep 12"},
		{"/bin/sh|-c| sleep 10 && nginx -s quit", 10, "/bin/sh|-c| sleep 12 && nginx -s quit"},
		{"/bin/bash|-c|/bin/sleep 7; kill -QUIT 1", 7, "/bin/bash|-c|/bin/sleep 12; kill -QUIT 1"},
		{"sh|-ec|sleep 1h\nexit 0", 3600, "sh|-ec|sleep 12\nexit 0"},
		{"sh|-c|sleep   5  ;  sleep 5", 5, "sh|-c|sleep   12  ;  sleep 5"},
		{"sleep|5", 6, "no"}, // it was changed since
		{"sleep|0.5", 0, "no"}, {"sleep|infinity", 5, "no"}, {"sleep|5|5", 5, "no"}, {"sh|-c|nginx -s quit && sleep 5", 5, "no"},
		{"sh|-c|sleep 5 || true", 5, "no"}, {"sh|-c|sleep $SECONDS", 5, "no"}, {"python|-c|sleep 5", 5, "no"}, {"", 0, "no"},
	} {
		command := strings.Split(c.command, "|")
		got := "no"
		if changed, ok := sleepFor(command, c.was, 12); ok {
			got = strings.Join(changed, "|")
		}
		if got != c.want || strings.Join(command, "|") != c.command {
			t.Errorf("%q: %q, want %q", c.command, got, c.want)
		}
	}
}

// FuzzSleepFor: nothing but N changes, and what comes out is a sleep of the new N.
func FuzzSleepFor(f *testing.F) {
	f.Add("sh|-c|sleep 5 && nginx -s quit", int64(5), uint16(12))
	f.Add("sleep|2m", int64(120), uint16(1))
	f.Fuzz(func(t *testing.T, command string, was int64, n uint16) {
		words := strings.Split(command, "|")
		changed, ok := sleepFor(words, was, int64(n))
		if !ok {
			return
		}
		back, ok := sleepFor(changed, int64(n), was)
		if !ok || len(back) != len(words) {
			t.Fatalf("%q became %q, which is no sleep of %d", words, changed, n)
		}
		again, ok := sleepFor(back, was, int64(n))
		if !ok || !slices.Equal(again, changed) {
			t.Fatalf("%q and back and again %q", changed, again)
		}
	})
}

func target(kind string, oldest int, grace int64, cs ...TargetContainer) Target {
	return Target{Workload: kind + "/shop", Oldest: oldest, Grace: &grace, Containers: cs}
}

func server(p ledger.PreStop, command ...string) TargetContainer {
	return TargetContainer{report.Container{Name: "server", Serves: true, PreStop: p}, command}
}

func sleepHook(k ledger.PreStopKind, n int64, rest bool) ledger.PreStop {
	return ledger.PreStop{Kind: k, Seconds: &n, Rest: rest}
}

var noHook = ledger.PreStop{Kind: ledger.NoPreStop}

// TestPatch: what is patched in workloads of all shapes, and what is said where nothing is.
func TestPatch(t *testing.T) {
	twelve := Recommend(shopWith(41, 11.7), Pool{}, Options{}) // a drain of 2 s was seen
	unseen := Recommend(shopWith(41, 11.7, func(_ int, d *report.Departure) { d.Containers[0].Finished = nil }), Pool{}, Options{})
	atLeast := Recommend(notMeasured(shopWith(41, 11.7)), Pool{}, Options{})
	none := Recommend(shopWith(5, 11.7), Pool{}, Options{})
	zero := Recommend(shopWith(41, 0), Pool{}, Options{})
	logger := TargetContainer{report.Container{Name: "logger", PreStop: noHook}, nil}
	sidecar := TargetContainer{report.Container{Name: "envoy", Sidecar: true, Serves: true, PreStop: noHook}, nil}
	var b strings.Builder
	for _, c := range []struct {
		name string
		r    Recommendation
		t    Target
	}{
		{"no hook", twelve, target("deployment", 36, 30, server(noHook))},
		{"no hook, StatefulSet", twelve, target("statefulset", 30, 30, server(noHook))},
		{"no hook, DaemonSet, drain not seen", unseen, target("daemonset", 36, 30, server(noHook))},
		{"no hook, short grace", twelve, target("deployment", 36, 10, server(noHook))},
		{"no grace in the template", twelve, Target{Workload: "deployment/shop", Oldest: 36, Containers: []TargetContainer{server(noHook)}}},
		{"no hook, a kubelet of 1.29", twelve, target("deployment", 29, 30, server(noHook))},
		{"no hook, versions unknown", twelve, target("deployment", 0, 30, server(noHook))},
		{"sleep", twelve, target("deployment", 29, 30, server(sleepHook(ledger.PreStopSleep, 5, false)))},
		{"sleep long enough", twelve, target("deployment", 36, 30, server(sleepHook(ledger.PreStopSleep, 15, false)))},
		{"sleep much too long", twelve, target("deployment", 36, 90, server(sleepHook(ledger.PreStopSleep, 60, false)))},
		{"sleep long, a lower bound", atLeast, target("deployment", 36, 90, server(sleepHook(ledger.PreStopSleep, 60, false)))},
		{"sleep short, a lower bound", atLeast, target("deployment", 36, 30, server(sleepHook(ledger.PreStopSleep, 5, false)))},
		{"exec sleep", twelve, target("deployment", 36, 30, server(sleepHook(ledger.PreStopExec, 5, false), "sleep", "5"))},
		{"exec sleep and more", twelve, target("deployment", 36, 30, server(sleepHook(ledger.PreStopExec, 5, true), "/bin/sh", "-c", `sleep 5 && echo "<bye>" && nginx -s quit`))},
		{"exec sleep that was changed", twelve, target("deployment", 36, 30, server(sleepHook(ledger.PreStopExec, 5, false), "sleep", "7"))},
		{"another exec", twelve, target("deployment", 36, 30, server(ledger.PreStop{Kind: ledger.PreStopExec}, "/drain.sh"))},
		{"HTTP hook", twelve, target("deployment", 36, 30, server(ledger.PreStop{Kind: ledger.PreStopHTTP}))},
		{"another hook", twelve, target("deployment", 36, 30, server(ledger.PreStop{Kind: ledger.PreStopOther}))},
		{"two containers, one serves", twelve, target("deployment", 36, 30, logger, server(noHook))},
		{"two that serve, one native sidecar", twelve, target("deployment", 36, 30, server(sleepHook(ledger.PreStopSleep, 15, false)), sidecar)},
		{"two that serve, one cannot be patched", twelve, target("deployment", 36, 30, server(ledger.PreStop{Kind: ledger.PreStopHTTP}), sidecar)},
		{"nobody serves", twelve, target("deployment", 36, 30, logger)},
		{"a Job", twelve, target("job", 36, 30, server(noHook))},
		{"a pod", twelve, target("pod", 36, 30, server(noHook))},
		{"too few episodes", none, target("deployment", 36, 30, server(noHook))},
		{"gone before T0", zero, target("deployment", 36, 30, server(noHook))},
		{"gone before T0, and it sleeps", zero, target("deployment", 36, 30, server(sleepHook(ledger.PreStopSleep, 15, false)))},
		{"hostile names", twelve, target("deployment", 36, 30, TargetContainer{report.Container{Name: "\"}]}\x1b", Serves: true, PreStop: noHook}, nil})},
	} {
		p := c.r.Patch(c.t)
		fmt.Fprintf(&b, "## %s\n", c.name)
		if p.Merge != nil {
			fmt.Fprintf(&b, "%s\n", p.Merge)
			applied(t, c.name, c.t, p, *c.r.Seconds)
		}
		for _, w := range p.Why {
			fmt.Fprintf(&b, "%s\n", w)
		}
		if (p.Merge == nil) == (len(p.Why) == 0) {
			t.Errorf("%s: %+v", c.name, p)
		}
		b.WriteString("\n")
	}
	golden(t, "testdata/patch.golden", b.String())
}

// object is the workload that a target is read off.
func object(t Target) appsv1.Deployment {
	var d appsv1.Deployment
	spec := &d.Spec.Template.Spec
	spec.TerminationGracePeriodSeconds = t.Grace
	spec.Volumes = []corev1.Volume{{Name: "data"}}
	for _, c := range t.Containers {
		oc := corev1.Container{Name: c.Name, Image: "image", Ports: []corev1.ContainerPort{{ContainerPort: 8080}}}
		if c.PreStop.Kind != ledger.NoPreStop {
			oc.Lifecycle = &corev1.Lifecycle{PostStart: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"true"}}}, PreStop: &corev1.LifecycleHandler{}}
			switch c.PreStop.Kind {
			case ledger.PreStopSleep:
				oc.Lifecycle.PreStop.Sleep = &corev1.SleepAction{Seconds: *c.PreStop.Seconds}
			case ledger.PreStopExec:
				oc.Lifecycle.PreStop.Exec = &corev1.ExecAction{Command: c.Command}
			}
		}
		if c.Sidecar {
			spec.InitContainers = append(spec.InitContainers, oc)
		} else {
			spec.Containers = append(spec.Containers, oc)
		}
	}
	return d
}

// applied applies a patch as the API server does, and looks at the whole object: every container that serves sleeps long enough,
// each hook has one handler, the grace period is longer than the sleep and not shorter than it was, and nothing else changed.
func applied(t *testing.T, name string, target Target, p Patch, seconds int64) {
	t.Helper()
	before := object(target)
	text, err := json.Marshal(before)
	if err != nil {
		t.Fatal(err)
	}
	out, err := strategicpatch.StrategicMergePatch(text, p.Merge, appsv1.Deployment{})
	if err != nil {
		t.Fatalf("%s: %v: %s", name, err, p.Merge)
	}
	var after appsv1.Deployment
	if err := json.Unmarshal(out, &after); err != nil {
		t.Fatal(err)
	}
	spec := after.Spec.Template.Spec
	grace := int64(defaultGrace)
	if spec.TerminationGracePeriodSeconds != nil {
		grace = *spec.TerminationGracePeriodSeconds
	}
	if target.Grace != nil && grace < *target.Grace {
		t.Errorf("%s: grace fell from %d to %d", name, *target.Grace, grace)
	}
	find := func(s corev1.PodSpec, name string) *corev1.Container {
		for _, list := range [][]corev1.Container{s.Containers, s.InitContainers} {
			for i := range list {
				if list[i].Name == name {
					return &list[i]
				}
			}
		}
		return nil
	}
	for _, c := range target.Containers {
		is := find(spec, c.Name)
		if is == nil {
			t.Fatalf("%s: %s is gone: %s", name, c.Name, out)
		}
		if !c.Serves {
			continue
		}
		h := is.Lifecycle.PreStop
		var sleep int64
		switch {
		case h.Sleep != nil && h.Exec == nil:
			sleep = h.Sleep.Seconds
		case h.Exec != nil && h.Sleep == nil:
			if _, ok := sleepFor(h.Exec.Command, seconds, 1); !ok {
				t.Errorf("%s: %q", name, h.Exec.Command)
			}
			sleep = seconds
		default:
			t.Errorf("%s: %+v", name, h)
		}
		if sleep < seconds || sleep < 1 || sleep >= grace {
			t.Errorf("%s: sleeps %d of %d, grace %d", name, sleep, seconds, grace)
		}
	}
	// With the hooks and the grace put back it is what it was.
	back := after.Spec.Template.Spec
	back.TerminationGracePeriodSeconds = target.Grace
	for _, c := range target.Containers {
		is, was := find(back, c.Name), find(before.Spec.Template.Spec, c.Name)
		is.Lifecycle = was.Lifecycle
	}
	after.Spec.Template.Spec = back
	if again, err := json.Marshal(after); err != nil || string(again) != string(text) {
		t.Errorf("%s: something else changed:\n%s\n%s", name, text, again)
	}
}

// TestPatchAnything: whatever is recommended to whatever there is, a patch is sound or there is none and words instead.
func TestPatchAnything(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	patched := 0
	for range 1500 {
		in := anything(r)
		rec := Recommend(in, Pool{}, Options{Quantile: 0.5})
		var cs []TargetContainer
		for i := range 1 + r.IntN(3) {
			h := anyHook(r)
			if h.Kind == ledger.PreStopSleep && *h.Seconds == 0 {
				h = noHook
			}
			c := TargetContainer{report.Container{Name: fmt.Sprint("c", i), Serves: r.IntN(2) == 0, Sidecar: i == 2, PreStop: h}, nil}
			if h.Kind == ledger.PreStopExec && h.Seconds != nil {
				c.Command = []string{"sh", "-c", fmt.Sprintf("sleep %d && bye", *h.Seconds)}
			}
			cs = append(cs, c)
		}
		tg := target([]string{"deployment", "statefulset", "cronjob"}[r.IntN(3)], 28+r.IntN(9), int64(61+r.IntN(60)), cs...)
		p := rec.Patch(tg)
		if (p.Merge == nil) == (len(p.Why) == 0) {
			t.Fatalf("%+v", p)
		}
		if p.Merge == nil {
			continue
		}
		patched++
		for _, e := range p.Edits {
			if e.From != nil && e.To < *e.From && (rec.AtLeast || !muchSmaller(*rec.Seconds, *e.From)) {
				t.Fatalf("%s: shortened: %+v", said(rec), e)
			}
			i := slices.IndexFunc(cs, func(c TargetContainer) bool { return c.Name == e.Container })
			if !cs[i].Serves || e.Command == nil && cs[i].PreStop.Kind == ledger.PreStopExec {
				t.Fatalf("%+v of %+v", e, cs[i])
			}
		}
	}
	if patched < 100 {
		t.Errorf("only %d patches", patched)
	}
}
