package watcher

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lastcall-k8s/lastcall/ledger"
)

func TestMalformedPartsAreSkippedAndCounted(t *testing.T) {
	const header = "kind: EndpointSlice\nmetadata: {namespace: n, name: s, labels: {kubernetes.io/service-name: web}}\n"
	for _, tt := range []struct {
		name, yaml string
		malformed  int
		endpoints  int // -1: the slice is of no concern
	}{
		{"addresses of no IP family", header + "addressType: FQDN\nendpoints: [{addresses: [a.example]}]", 1, -1},
		{"no Service", "kind: EndpointSlice\nmetadata: {namespace: n, name: s}\naddressType: IPv4", 0, -1},
		{"no address, text, another family, a zone", header + "addressType: IPv6\nendpoints: [{addresses: []}, {addresses: [x]}, {addresses: [10.0.0.1]}, {addresses: ['fe80::1%eth0']}, {addresses: ['fd00::1', 'fd00::2']}]", 4, 1},
		{"ports without a name, without a number, of an unknown protocol, too high", header + "addressType: IPv4\nports: [{port: 1}, {name: a}, {name: b, port: 1, protocol: GRE}, {name: c, port: 70000}, {name: d, port: 0}]", 5, 0},
		{"leading zeros are read as kube-proxy does", header + "addressType: IPv4\nendpoints: [{addresses: [010.0.0.1]}]", 0, 1},
		{"ports of a Service", "kind: Service\nspec: {clusterIP: 10.96.0.1, externalIPs: ['', y], ports: [{port: 0}, {name: a, port: 1}, {name: a, port: 2}, {name: b, port: 3, protocol: GRE}]}", 4, -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := parseObjects(t, []byte(tt.yaml), epoch)[0]
			n := -1
			if o.slice != nil {
				n = len(o.slice.endpoints)
			}
			if o.malformed != tt.malformed || n != tt.endpoints {
				t.Errorf("%d malformed and %d endpoints, want %d and %d", o.malformed, n, tt.malformed, tt.endpoints)
			}
		})
	}
}

func TestWorkload(t *testing.T) {
	owner := func(kind, name string, labels map[string]string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: labels,
			OwnerReferences: []metav1.OwnerReference{{Kind: "Other", Name: "x"}, {Kind: kind, Name: name, Controller: new(true)}}}}
	}
	hash := map[string]string{"pod-template-hash": "5c9d7f6b8"}
	for want, pod := range map[string]*corev1.Pod{
		"":                   {},
		"deployment/web-api": owner("ReplicaSet", "web-api-5c9d7f6b8", hash),
		"replicaset/web":     owner("ReplicaSet", "web", hash),
		"replicaset/web-5c9": owner("ReplicaSet", "web-5c9", nil),
		"statefulset/db":     owner("StatefulSet", "db", nil),
	} {
		if got := workload(pod); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// TestAddressesOfALeavingPod: its own node's agent tells them, both families, for the witness.
func TestAddressesOfALeavingPod(t *testing.T) {
	const text = "kind: Pod\nmetadata: {namespace: n, name: p, uid: u}\nspec: {containers: [{name: c}]}\n" +
		"status: {podIP: 10.0.0.7, podIPs: [{ip: 10.0.0.7}, {ip: 'fd00::7'}, {ip: x}]}\n"
	s := newState("node")
	s.arm(epoch)
	o := parseObjects(t, []byte(text), epoch)[0]
	var got []netip.Addr
	for _, c := range s.collect(func() {
		s.putPod(o.name, o.pod, cause{at: epoch})
		s.dropPod(o.name, o.pod, cause{at: epoch})
	}) {
		if c.Departed != nil {
			got = c.Departed.Addrs
		}
	}
	if want := []netip.Addr{netip.MustParseAddr("10.0.0.7"), netip.MustParseAddr("fd00::7")}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestEndedBy: finishedAt is cut to whole seconds, and says nothing if the wall clock was set meanwhile.
func TestEndedBy(t *testing.T) {
	receipt := time.Date(2026, 1, 1, 0, 0, 12, 3e8, time.UTC)
	at := func(sec int) time.Time { return time.Date(2026, 1, 1, 0, 0, sec, 0, time.UTC) }
	for _, c := range []struct {
		finished time.Time
		set      time.Duration
		before   time.Duration // receipt
	}{
		{at(2), 0, 9250 * time.Millisecond},
		{at(2), 10 * time.Millisecond, 9250 * time.Millisecond},
		{at(2), -time.Second, 0},
		{at(12), 0, 0},
		{at(20), 0, 0}, // another clock
		{time.Time{}, 0, 0},
	} {
		if got := receipt.Sub(endedBy(c.finished, receipt, c.set)); got != c.before {
			t.Errorf("finished %v, set by %v: %v before receipt, want %v", c.finished, c.set, got, c.before)
		}
	}
}

// TestMemoryIsBounded: pods come and go for ever, and nothing of them is kept for ever.
func TestMemoryIsBounded(t *testing.T) {
	s := newState("n1")
	s.set(parseObjects(t, []byte("kind: Service\nmetadata: {namespace: default, name: web}\nspec: {clusterIP: 10.96.0.1, ports: [{name: http, port: 80}]}"), epoch)[0])
	s.arm(epoch)
	at := epoch
	left := 0
	for i := range 10_000 {
		at = at.Add(time.Second)
		var eps []discoveryv1.Endpoint
		for j, conditions := range []discoveryv1.EndpointConditions{
			{}, // the newest
			{Ready: new(false), Serving: new(true), Terminating: new(true)},
		} {
			n := i - j
			eps = append(eps, discoveryv1.Endpoint{Addresses: []string{fmt.Sprintf("10.%d.%d.%d", (n+1)>>16, (n+1)>>8&255, (n+1)&255)},
				Conditions: conditions, TargetRef: &corev1.ObjectReference{UID: types.UID(fmt.Sprint("u", n))}})
		}
		es := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web-1",
			Labels: map[string]string{discoveryv1.LabelServiceName: "web"}}, AddressType: discoveryv1.AddressTypeIPv4,
			Ports: []discoveryv1.EndpointPort{{Name: new("http"), Port: new(int32(8080))}}, Endpoints: eps}
		for _, c := range s.set(trim(es, at).(*object)) {
			if c.Left != nil {
				left++
			}
		}
	}
	if left != 9_999 {
		t.Errorf("%d paths left, want 9,999", left)
	}
	if n := len(s.departures.known); n > 1100 {
		t.Errorf("%d departures are remembered", n)
	}
	if n := len(s.left.byPath); n > int(leftFor/time.Second)+2 {
		t.Errorf("%d paths are remembered", n)
	}
}

// TestOwnPods: what tells a replica of a consumer, and which of its processes runs.
func TestOwnPods(t *testing.T) {
	const text = `kind: Pod
metadata: {namespace: edge, name: traefik-x, uid: u1, labels: {app.kubernetes.io/name: traefik}}
spec:
  nodeName: n1
  containers:
  - {name: traefik, ports: [{name: traefik, containerPort: 8080}, {containerPort: 0}]}
  - {name: waits}
  initContainers:
  - {name: mesh, restartPolicy: Always, ports: [{name: admin, containerPort: 15000}]}
status:
  podIPs: [{ip: 10.0.0.7}, {ip: "fd00::7"}, {ip: nonsense}]
  containerStatuses:
  - {name: traefik, containerID: "containerd://c1", state: {running: {}}}
  - {name: waits, state: {waiting: {}}}
  initContainerStatuses:
  - {name: mesh, containerID: "containerd://c0", state: {running: {}}}`
	want := []OwnPod{{UID: "u1", Namespace: "edge", Name: "traefik-x", Labels: map[string]string{"app.kubernetes.io/name": "traefik"},
		IPs: []netip.Addr{netip.MustParseAddr("10.0.0.7"), netip.MustParseAddr("fd00::7")},
		Containers: []OwnContainer{
			{Name: "traefik", ID: "containerd://c1", Running: true, Ports: []OwnPort{{"traefik", 8080}}},
			{Name: "waits"},
			{Name: "mesh", ID: "containerd://c0", Running: true, Ports: []OwnPort{{"admin", 15000}}},
		}}}
	var got []OwnPod
	told := 0
	w := &Watcher{cfg: Config{Pods: func(ps []OwnPod) { got = ps; told++ }, Notify: func([]ledger.Change) {}, Lost: func(string) {}}, state: newState("n1")}
	pod := parseObjects(t, []byte(text), epoch)[0]
	w.set(pod)
	if told != 0 {
		t.Error("told before the baseline is complete")
	}
	w.state.arm(epoch)
	w.set(pod)
	if d := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
		t.Error(d)
	}
	w.set(parseObjects(t, []byte("kind: Service\nmetadata: {namespace: edge, name: traefik}\nspec: {clusterIP: 10.96.0.1}"), epoch)[0])
	if told != 1 {
		t.Errorf("told %d times of pods, of which one changed", told)
	}
	w.set(parseObjects(t, []byte(strings.Replace(text, "uid: u1", "uid: u1, deletionTimestamp: 2026-01-01T00:00:30Z, deletionGracePeriodSeconds: 30", 1)), epoch)[0])
	if len(got) != 1 || !got[0].Terminating {
		t.Errorf("%+v does not terminate", got)
	}
	w.drop(pod)
	if len(got) != 0 || told != 3 {
		t.Errorf("gone, but %+v", got)
	}
}

// TestReady: what places other than kube-proxy use. The last endpoint is not retained, and headless Services count.
func TestReady(t *testing.T) {
	for _, clusterIP := range []string{"10.96.0.1", "None"} {
		s := newState("n1")
		s.ready.asked = true
		s.set(parseObjects(t, []byte("kind: Service\nmetadata: {namespace: default, name: web}\nspec: {clusterIP: "+clusterIP+", ports: [{name: http, port: 80}]}"), epoch)[0])
		slice := func(name string, eps ...discoveryv1.Endpoint) *object {
			return trim(&discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name,
				Labels: map[string]string{discoveryv1.LabelServiceName: "web"}}, AddressType: discoveryv1.AddressTypeIPv4,
				Ports: []discoveryv1.EndpointPort{{Name: new("http"), Port: new(int32(8080))}}, Endpoints: eps}, epoch).(*object)
		}
		ep := func(address, uid string, state string) discoveryv1.Endpoint {
			return discoveryv1.Endpoint{Addresses: []string{address}, TargetRef: &corev1.ObjectReference{UID: types.UID(uid)},
				Conditions: discoveryv1.EndpointConditions{Ready: new(state == "ready"), Serving: new(true), Terminating: new(state == "leaving")}}
		}
		told := func() []string {
			var lines []string
			for _, c := range s.ready.out {
				line := ""
				switch {
				case c.Left != nil:
					line = "left " + c.Left.UID
					if !c.Left.ExpectedSince.IsZero() {
						line += " young"
					}
					if c.Left.Path.Endpoint.Port() != 8080 || c.Left.Path.Service.Name != "web" || c.Left.Path.Service.Port != "http" {
						t.Errorf("%v", c.Left.Path)
					}
				case c.Entered != nil:
					line = "entered " + c.Entered.UID
				case c.Returned != nil:
					line = "returned " + c.Returned.UID
				case c.Superseded != nil:
					line = "superseded " + c.Superseded.UID
				}
				if c.Headless != (clusterIP == "None") {
					t.Errorf("%s: headless %v", line, c.Headless)
				}
				lines = append(lines, line)
			}
			s.ready.out = nil
			slices.Sort(lines)
			return lines
		}
		want := func(what string, want ...string) {
			t.Helper()
			if got := told(); !cmp.Equal(got, want) {
				t.Errorf("%s, cluster IP %s: %q, want %q", what, clusterIP, got, want)
			}
		}
		s.set(slice("web-1", ep("10.0.0.1", "a", "ready")))
		want("before the baseline is complete")
		s.arm(epoch)
		if clusterIP == "None" {
			want("a headless Service in the baseline", "entered a")
		} else {
			want("another in the baseline")
		}
		s.set(slice("web-1", ep("10.0.0.1", "a", "ready"), ep("10.0.0.2", "b", "ready")))
		want("a second", "entered b")
		s.set(slice("web-1", ep("10.0.0.1", "a", "unready"), ep("10.0.0.2", "b", "ready")))
		want("the first is not ready", "left a")
		s.set(slice("web-1", ep("10.0.0.1", "a", "ready"), ep("10.0.0.2", "b", "ready")))
		want("it is again", "entered a", "returned a")
		s.set(slice("web-2", ep("10.0.0.1", "a", "ready")))
		s.set(slice("web-1", ep("10.0.0.2", "b", "ready")))
		want("it moves to another slice")
		s.drop(slice("web-2"))
		s.set(slice("web-1", ep("10.0.0.2", "b", "leaving")))
		want("the last one leaves, and kube-proxy retains it", "left a young", "left b young")
		s.set(slice("web-1", ep("10.0.0.2", "c", "ready")))
		want("another pod has its address", "entered c", "superseded b")
		s.set(slice("web-1", ep("10.0.0.2", "d", "ready")))
		want("and another at once", "entered d", "left c young", "superseded c")
		s.drop(parseObjects(t, []byte("kind: Service\nmetadata: {namespace: default, name: web}\nspec: {clusterIP: "+clusterIP+"}"), epoch)[0])
		want("the Service goes", "left d young")
		if n := len(s.ready.since); n != 0 {
			t.Errorf("%d paths are remembered", n)
		}
	}
}
