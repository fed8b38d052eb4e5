package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/hub/sizing"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// TestPlan: which trials are made in the time there is, where one of a kind takes so long.
func TestPlan(t *testing.T) {
	ms := time.Millisecond
	for _, c := range []struct {
		name            string
		single, burst   time.Duration
		time            time.Duration
		enough          int
		singles, bursts int
	}{
		{"both fit", 2300 * ms, 2350 * ms, 90 * time.Second, 19, 19, 19},
		{"enough, and it ends early", 2100 * ms, 2100 * ms, 10 * time.Minute, 5, 5, 5},
		{"kube-proxy waits a second before a burst: bursts first", 2150 * ms, 3150 * ms, 90 * time.Second, 19, 14, 19},
		{"bursts do not fit, single ones do", 2100 * ms, 9 * time.Second, 90 * time.Second, 19, 19, 5},
		{"neither fits: in turns", 9 * time.Second, 9 * time.Second, 90 * time.Second, 19, 5, 5},
		{"one that is slow is no reason to stop", 30 * time.Second, 30 * time.Second, 90 * time.Second, 19, 1, 2},
	} {
		p := newPlan(c.enough)
		var now time.Duration
		for {
			k, ok := p.next(c.time - now)
			if !ok {
				break
			}
			took := map[trialKind]time.Duration{single: c.single, burst: c.burst}[k]
			now += took
			p.add(k, took)
			if now > c.time+max(c.single, c.burst) {
				t.Fatalf("%s: it does not end", c.name)
			}
		}
		if p.done[single] != c.singles || p.done[burst] != c.bursts {
			t.Errorf("%s: %d single, %d bursts, want %d and %d", c.name, p.done[single], p.done[burst], c.singles, c.bursts)
		}
	}
}

// TestTrialByOurClock: whatever the hub's clock shows, a landing is placed no earlier than it was.
func TestTrialByOurClock(t *testing.T) {
	begun := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	pods := []corev1.Pod{{ObjectMeta: metav1.ObjectMeta{UID: "a"}}, {ObjectMeta: metav1.ObjectMeta{UID: "b"}}}
	tr := newTrial(burst, pods, begun)
	row := func(uid string, age float64, complete bool, hi float64) report.Departure {
		d := report.Departure{UID: uid, T0: begun.Add(-7 * time.Hour), Age: age, Complete: complete}
		if hi > 0 {
			d.LastCall = &report.Span{Hi: hi}
		}
		return d
	}
	at := func(ms int) time.Time { return begun.Add(time.Duration(ms) * time.Millisecond) }
	tr.take([]report.Departure{row("a", 0.2, false, 0), row("other", 9, true, 1)}, at(400)) // the hub's answer was 100 ms old
	if tr.settled() || len(tr.rows) != 1 {
		t.Fatalf("settled without b: %+v", tr.rows)
	}
	tr.take([]report.Departure{row("a", 0.5, false, 1), row("b", 0.4, false, 0.3)}, at(600))
	if tr.settled() {
		t.Error("settled while a node has not answered")
	}
	tr.take([]report.Departure{row("a", 0, true, 1.2), row("b", 0, true, 0.3)}, at(2000))
	if !tr.settled() || !tr.landed().Equal(at(100+1200)) || tr.longest() != 1.2 {
		t.Errorf("settled %v, landed at %v, longest %v; want true, 1.3 s, 1.2", tr.settled(), tr.landed().Sub(begun), tr.longest())
	}
	// Never seen before it was complete: by when it was told.
	late := newTrial(single, pods[:1], begun)
	late.take([]report.Departure{row("a", 0, true, 0.5)}, at(3000))
	if !late.landed().Equal(at(3500)) {
		t.Errorf("landed at %v, want 3.5 s", late.landed().Sub(begun))
	}
}

// TestCrowd: who serves is who was made to; who ends is nobody.
func TestCrowd(t *testing.T) {
	now := time.Now()
	ready := corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}
	pod := func(uid string, s corev1.PodStatus, ends bool) corev1.Pod {
		p := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: uid, UID: types.UID(uid)}, Status: s}
		if ends {
			p.DeletionTimestamp = &metav1.Time{Time: now}
		}
		return p
	}
	r := &trialRun{measure: &measure{}, serves: map[string]time.Time{"new": now, "old": now.Add(-time.Minute), "ends": now}}
	c := r.crowd([]corev1.Pod{pod("new", ready, false), pod("old", ready, false), pod("ends", ready, true), pod("waits", ready, false),
		pod("starts", corev1.PodStatus{Phase: corev1.PodPending}, false), pod("failed", corev1.PodStatus{Phase: corev1.PodFailed}, false)})
	names := func(ps []corev1.Pod) (s []string) {
		for _, p := range ps {
			s = append(s, p.Name)
		}
		return s
	}
	if got := fmt.Sprint(names(c.serving), names(c.waiting), names(c.starting)); got != "[old new] [waits] [starts]" {
		t.Error(got)
	}
}

// departed is a pod of the canary: two nodes let go of it, the second after so many seconds.
func departed(uid string, s float64, change ...func(*report.Departure)) report.Departure {
	at := func(node, backend string, s float64) report.Landing {
		return report.Landing{Node: node, Kind: "kube-proxy", Backend: backend, Family: ledger.IPv4, Landed: &report.Span{Lo: s * .99, Hi: s},
			Stages: &report.Stages{API: .004, Watch: .001, Program: s - .005}, Outcomes: map[ledger.Outcome]int{ledger.Landed: 1}}
	}
	d := report.Departure{UID: uid, Namespace: "sandbox", Pod: uid, Reason: ledger.Delete, T0: sceneTime, T0Source: ledger.FromPod, Complete: true, Expected: 2, Answered: 2,
		Kinds:    []report.Kind{{Kind: "kube-proxy", Places: 2, Outcomes: map[ledger.Outcome]int{ledger.Landed: 2}}},
		LastCall: &report.Span{Lo: s * .99, Hi: s}, Slowest: []report.Landing{at("node-2", "iptables-nft", s), at("node-1", "nftables", s/2)}}
	d.Straggler = &d.Slowest[0]
	for _, f := range change {
		f(&d)
	}
	return d
}

// trialsOf makes trials, of three pods or of one, with the worst last calls given.
func trialsOf(k trialKind, worst []float64, change ...func(*report.Departure)) (ts []measuredTrial) {
	for i, s := range worst {
		t := measuredTrial{Kind: k, Begun: sceneTime.Add(time.Duration(i) * 3 * time.Second), Seconds: s, Ended: true, Departures: []report.Departure{departed(fmt.Sprint(k, i), s, change...)}}
		for n := 1; k == burst && n < 3; n++ {
			t.Departures = append(t.Departures, departed(fmt.Sprint(k, i, "-", n), s*.9, change...))
		}
		ts = append(ts, t)
	}
	return ts
}

// TestMeasurement: what is made of trials, and how that is said.
func TestMeasurement(t *testing.T) {
	oneNode := func(d *report.Departure) {
		d.Answered, d.Slowest = 1, d.Slowest[:1]
		d.Missing = []report.Missing{{Place: "node-1", Why: "not measured: ipvs"}}
	}
	unread := func(d *report.Departure) {
		d.Missing = []report.Missing{{Place: "envoy", Kind: "envoy", Why: "listens on localhost only"}}
	}
	proxied := func(d *report.Departure) {
		d.Kinds = append(d.Kinds, report.Kind{Kind: "traefik", Places: 1, Outcomes: map[ledger.Outcome]int{ledger.Landed: 1}, Fidelity: "dataplane"})
		s := d.LastCall.Hi + 2
		l := report.Landing{Node: "node-1", Kind: "traefik", Replica: "edge/traefik-0", Landed: &report.Span{Lo: s - .05, Hi: s}, Stages: &report.Stages{API: .004, Program: s - .004}}
		d.Slowest, d.LastCall, d.Straggler = append([]report.Landing{l}, d.Slowest...), l.Landed, &l
	}
	large := func(d *report.Departure) {
		d.Strip, d.Expected, d.Answered = &report.Strip{Width: 1, Counts: []int{5000}}, 5000, 5000
	}
	slow := func(d *report.Departure) { d.Proxies = &report.Proxies{Versions: "v1.36.3", MinSync: "10s, 1s"} }
	stuck := measuredTrial{Kind: burst, Begun: sceneTime.Add(time.Minute), Seconds: .5, Unheard: 1, Departures: []report.Departure{departed("stuck", .5, func(d *report.Departure) {
		d.Complete, d.Pending, d.Age, d.Straggler = false, 1, 31, nil
		d.Kinds[0].Outcomes, d.Kinds[0].Pending = map[ledger.Outcome]int{ledger.Landed: 1}, 1
		d.Slowest[0].Landed, d.Slowest[0].Pending = nil, 1
	})}}
	var text bytes.Buffer
	v := view{screen: screen{width: 80, terminal: true, unicode: true}, zone: time.UTC, now: func() time.Time { return sceneTime }}
	for _, c := range []struct {
		name   string
		trials []measuredTrial
		want   string // number, basis
	}{
		{"both kinds", append(trialsOf(burst, ascending(19, 1.31)), trialsOf(single, ascending(19, .08))...), "2 s measure"},
		{"time for bursts only", append(trialsOf(burst, ascending(19, 1.31)), trialsOf(single, ascending(9, .08))...), "2 s measure"},
		{"time for single pods only", append(trialsOf(burst, ascending(4, 7)), trialsOf(single, ascending(19, .08))...), ">= 7 s measure"},
		{"too few of any", append(trialsOf(burst, ascending(4, 7)), trialsOf(single, ascending(4, .08))...), "unknown none"},
		{"a node is not measured", trialsOf(burst, ascending(19, 1.31), oneNode), "unknown none"},
		{"an ingress controller cannot be read", trialsOf(burst, ascending(19, 1.31), unread), ">= 2 s measure"},
		{"an ingress controller is last", trialsOf(burst, ascending(19, 1.31), proxied), "4 s measure"},
		{"kube-proxy syncs every 10 s at most", trialsOf(burst, ascending(19, 8.2), slow), ">= 9 s measure"},
		{"5,000 nodes", trialsOf(burst, ascending(19, 1.31), large), "2 s measure"},
		{"a place has not let go at the end", append(trialsOf(burst, ascending(19, 1.31)), stuck), ">= 31 s measure"},
		{"one trial, and the hub tells nothing", []measuredTrial{{Kind: burst, Begun: sceneTime, Unheard: 3, Departures: []report.Departure{}}}, "unknown none"},
	} {
		m := measurement{Namespace: "sandbox", Canary: "service/lastcall-measure-x7k2p", Seconds: 89.4, For: 90, BurstSize: 3, Trials: c.trials}
		m.sum()
		if got := fmt.Sprintf("%s %s", m.Recommendation.Number(), m.Recommendation.Basis); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
		fmt.Fprintf(&text, "## %s\n", c.name)
		v.measurement(&text, m)
		fmt.Fprintln(&text)
	}
	// Tables are not broken: they must fit.
	for line := range strings.Lines(text.String()) {
		if len([]rune(line)) > 81 {
			t.Errorf("too wide: %s", line)
		}
	}
	const file = "testdata/measure.golden"
	if *update {
		if err := os.WriteFile(file, text.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if text.String() != string(want) {
		t.Errorf("-update shows what differs from %s:\n%s", file, text.String())
	}
}

// TestBursts: a trial is in the class of what left in it, however many still terminate from before.
func TestBursts(t *testing.T) {
	m := measurement{BurstSize: 12, Trials: append(trialsOf(burst, ascending(19, 2)), trialsOf(single, ascending(19, 1))...)}
	m.sum()
	var got []string
	for _, c := range m.Recommendation.Classes {
		got = append(got, fmt.Sprintf("%s: %d by %s", c.Burst, c.N, c.Basis))
	}
	if s := strings.Join(got, ", "); s != "1: 19 by measure, 10+: 19 by measure" {
		t.Error(s)
	}
	if m.Recommendation.Basis != sizing.BasisMeasure {
		t.Error(m.Recommendation.Basis)
	}
}

// TestCanaryObjects: what is made asks for nothing, and all of it has an owner that ends.
func TestCanaryObjects(t *testing.T) {
	c := &canary{name: "lastcall-measure-x7k2p", namespace: "sandbox", image: "i", policy: corev1.PullNever, ingressClass: "nginx", headless: true, life: time.Minute}
	j := c.job()
	if s := j.Spec; *s.Parallelism != 0 || *s.ActiveDeadlineSeconds != 60 || *s.TTLSecondsAfterFinished != 0 || s.Suspend != nil {
		t.Errorf("a Job that does not end by itself: %+v", s)
	}
	job := owner("batch/v1", "Job", c.name, "job")
	for _, s := range c.services(job) {
		if len(s.OwnerReferences) != 1 || s.OwnerReferences[0] != job {
			t.Errorf("Service %s belongs to %+v", s.Name, s.OwnerReferences)
		}
	}
	if i := c.ingress(job); len(i.OwnerReferences) != 1 || *i.Spec.IngressClassName != "nginx" || !strings.HasSuffix(i.Spec.Rules[0].Host, ".invalid") {
		t.Errorf("%+v", i)
	}
	c.service = "service"
	p := c.pod()
	if o := p.OwnerReferences; len(o) != 1 || o[0].Kind != "Service" || o[0].UID != "service" || !*o[0].Controller || *p.Spec.ActiveDeadlineSeconds != 60 || *p.Spec.AutomountServiceAccountToken {
		t.Errorf("%+v of %+v", p.Spec, o)
	}
	if _, serves := p.Labels[servesLabel]; serves {
		t.Error("a pod serves from the start: its readiness would change the EndpointSlices at any time")
	}
	if !report.IsCanary("service/" + c.name) {
		t.Error("the hub does not know it by its name")
	}
}
