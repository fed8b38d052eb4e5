package consumer

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// pod is one with a container that runs and has a port.
func pod(name string, labels map[string]string, ports ...Port) Pod {
	return Pod{UID: "uid-" + name, Namespace: "ns", Name: name, Labels: labels, IPs: []netip.Addr{netip.MustParseAddr("10.0.0.7")},
		Containers: []Container{{Name: "sidecar", ID: "c0", Running: true}, {Name: "main", ID: "c1", Running: true, Ports: ports}}}
}

// found are lines of what was found.
func found(c Config, pods ...Pod) []string {
	rs, notes := c.Find(pods)
	lines := []string{}
	for _, r := range rs {
		line := r.Kind + " " + r.Name + " " + r.Instance + " "
		if r.Unread != "" {
			line += "unread"
		} else {
			line += r.Source.String()
		}
		lines = append(lines, line)
	}
	return append(lines, notes...)
}

func TestFind(t *testing.T) {
	traefik := map[string]string{"app.kubernetes.io/name": "traefik", "pod-template-hash": "5d9"}
	terminating := pod("t", traefik)
	terminating.Terminating = true
	waiting := pod("t", traefik)
	waiting.Containers[0].Running, waiting.Containers[1].Running = false, false
	nginx := map[string]string{"app.kubernetes.io/name": "ingress-nginx", "app.kubernetes.io/component": "controller"}
	controller := pod("n", nginx)
	controller.Containers[1].Name = "controller"
	restarted := pod("t", traefik, Port{"traefik", 9000})
	restarted.Containers[1].ID = "c2"
	six := pod("d", map[string]string{"k8s-app": "kube-dns"}, Port{"dns", 1053})
	six.IPs = []netip.Addr{netip.MustParseAddr("fd00::7")}
	for _, tt := range []struct {
		name   string
		config string
		pods   []Pod
		want   []string
	}{
		{"by a named port", "", []Pod{pod("t", traefik, Port{"web", 80}, Port{"traefik", 9000})}, []string{"traefik ns/t uid-t/c1 10.0.0.7:9000"}},
		{"by its number", "", []Pod{pod("t", traefik, Port{"web", 80}, Port{"admin", 8080})}, []string{"traefik ns/t uid-t/c1 10.0.0.7:8080"}},
		{"without a declared port", "", []Pod{pod("t", traefik)}, []string{"traefik ns/t uid-t/c0 10.0.0.7:8080"}},
		{"after a restart it is another", "", []Pod{restarted}, []string{"traefik ns/t uid-t/c2 10.0.0.7:9000"}},
		{"not while it terminates", "", []Pod{terminating}, []string{}},
		{"not before it runs", "", []Pod{waiting}, []string{}},
		{"other labels", "", []Pod{pod("t", map[string]string{"app.kubernetes.io/name": "traefik-mesh"})}, []string{}},
		{"that listens on localhost", "", []Pod{controller}, []string{"ingress-nginx ns/n uid-n/c1 unread"}},
		{"IPv6, and DNS on another port", "", []Pod{six}, []string{"dns ns/d uid-d/c1 [fd00::7]:1053"}},
		{"turned off", "skip: [traefik]", []Pod{pod("t", traefik)}, []string{}},
		{"all turned off", "skip: ['*']", []Pod{pod("t", traefik), six}, []string{}},
		{"by hand, before what is known", "consumers: [{place: envoy, pods: {labels: {app.kubernetes.io/name: traefik}, port: 1, path: /c}}]",
			[]Pod{pod("t", traefik)}, []string{"envoy ns/t uid-t/c0 10.0.0.7:1/c"}},
		{"by hand, in another namespace", "consumers: [{place: envoy, pods: {namespace: other, labels: {app: e}, port: 1}}]",
			[]Pod{pod("e", map[string]string{"app": "e"})}, []string{}},
		{"by hand, with the port that is known", "consumers: [{place: traefik, pods: {labels: {app: mine}}}]",
			[]Pod{pod("m", map[string]string{"app": "mine"})}, []string{"traefik ns/m uid-m/c0 10.0.0.7:8080"}},
		{"beside this agent", "{skip: ['*'], consumers: [{place: haproxy, at: 'unix:/run/h.sock'}]}", nil, []string{"haproxy ns/self unix:/run/h.sock unix:/run/h.sock"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := ParseConfig([]byte(tt.config))
			if err != nil {
				t.Fatal(err)
			}
			c.Self = "ns/self"
			if d := cmp.Diff(tt.want, found(c, tt.pods...)); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestWideLabels: 300 pods are not 300 replicas.
func TestWideLabels(t *testing.T) {
	c, err := ParseConfig([]byte("consumers: [{place: envoy, pods: {labels: {tier: front}, port: 9901}}]"))
	if err != nil {
		t.Fatal(err)
	}
	var pods []Pod
	for i := range 300 {
		pods = append(pods, pod(fmt.Sprintf("p%03d", i), map[string]string{"tier": "front"}))
	}
	rs, notes := c.Find(pods)
	if len(rs) != maxReplicas+1 || len(notes) != 1 || notes[0] != "envoy: the labels tier=front match 300 pods on this node, of which 16 are read; narrow them" {
		t.Errorf("%d replicas, %q", len(rs), notes)
	}
	if last := rs[maxReplicas]; last.Name != "284 more" || last.Kind != "envoy" || !strings.HasPrefix(last.Unread, "the labels tier=front match 300 pods") {
		t.Errorf("those that are not read: %+v", last)
	}
	again, _ := c.Find(append(pods[100:], pods[:100]...))
	if d := cmp.Diff(rs, again, cmp.Comparer(func(a, b Source) bool { return a == b })); d != "" {
		t.Errorf("another order of pods, another choice:\n%s", d)
	}
}

func TestConfigIsStrict(t *testing.T) {
	for config, want := range map[string]string{
		"consumer: []": "unknown field",
		"consumers: [{place: traefik, port: 80}]": "unknown field",
		"skip: [squid]":                                                        `"squid" is no place kind`,
		"consumers: [{place: traefik}]":                                        "either pods or at",
		"consumers: [{place: traefik, pods: {labels: {}}}]":                    "labels",
		"consumers: [{place: squid, at: 'http://10.0.0.1'}]":                   "needs a scrape",
		"consumers: [{place: envoy, pods: {labels: {a: b}}}]":                  "pods.port",
		"consumers: [{place: traefik, at: 'http://traefik.kube-system:8080'}]": "IP address or localhost",
		"consumers: [{place: traefik, at: 'http://u:p@127.0.0.1:8080'}]":       "password",
		"consumers: [{place: traefik, at: 'ftp://127.0.0.1'}]":                 "must be unix:/path",
		"consumers: [{place: haproxy, at: 'unix:run/h.sock'}]":                 "absolute",
		"consumers: [{place: traefik, at: 'http://127.0.0.1:1', scrape: {fidelity: config, fetch: [/], each: '.[]', address: .}}]":    "built in",
		"consumers: [{place: kube-proxy, at: 'http://127.0.0.1:1', scrape: {fidelity: config, fetch: [/], each: '.[]', address: .}}]": "not kube-proxy",
		"consumers: [{place: 'A b', at: 'http://127.0.0.1:1', scrape: {fidelity: config, fetch: [/], each: '.[]', address: .}}]":      "lower case",
		"consumers: [" + strings.Repeat("{place: traefik, at: 'http://127.0.0.1:1'},", 17) + "]":                                      "17 consumers",
	} {
		if _, err := ParseConfig([]byte(config)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n%v\ndoes not say %q", config, err, want)
		}
	}
	_, err := ParseConfig([]byte("{skip: [squid], consumers: [{place: traefik}, {place: squid, at: 'x'}]}"))
	for _, want := range []string{"skip:", "consumer 1", "consumer 2", "scrape", "at:"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v\ndoes not say %q: all at once", err, want)
		}
	}
}

// TestKinds holds what the table promises.
func TestKinds(t *testing.T) {
	names := map[string]bool{"kube-proxy": true}
	for _, k := range Kinds {
		if names[k.Name] || !placeName.MatchString(k.Name) || k.Fidelity == "" || k.Open == nil || len(k.Find) == 0 {
			t.Errorf("%+v", k)
		}
		names[k.Name] = true
		for _, f := range k.Find {
			if f.Product == "" || len(f.Labels) == 0 || (f.Unread == "") == (f.Port == 0) {
				t.Errorf("%s: %+v", k.Name, f)
			}
		}
		if k.Lag < 0 || k.Fidelity == ShowsConfig && k.Lag == 0 {
			t.Errorf("%s shows the configuration: it needs a lag bound", k.Name)
		}
	}
}
