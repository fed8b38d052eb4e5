//go:build linux

package manifests

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	yamlutil "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	"github.com/lastcall-k8s/lastcall/internal/apiserver"
	"github.com/lastcall-k8s/lastcall/probes/consumer"
)

var update = flag.Bool("update", false, "write install.yaml instead of comparing it")

const refresh = "go test ./manifests -run TestInstallYAML -update"

var installArgs = []string{"template", "lastcall", "manifests/chart", "-n", "lastcall-system", "--set", "namespace.create=true", "--set", "tls.mode=selfSigned"}

func requireHelm(t testing.TB) string {
	t.Helper()
	path, err := Helm(t.Context())
	if err != nil {
		if os.Getenv("REQUIRE_CLUSTER") == "1" {
			t.Fatal(err)
		}
		t.Skip(err, " (REQUIRE_CLUSTER=1 makes this a failure)")
	}
	return path
}

// helm runs in the module's root, and returns standard output or what it said on standard error.
func helm(t testing.TB, args ...string) (string, error) {
	t.Helper()
	c := exec.CommandContext(t.Context(), requireHelm(t), args...)
	c.Dir = ".."
	var out, said bytes.Buffer
	c.Stdout, c.Stderr = &out, &said
	if err := c.Run(); err != nil {
		return out.String(), fmt.Errorf("%v: %w\n%s", c, err, said.String())
	}
	return out.String(), nil
}

func TestLint(t *testing.T) {
	if out, err := helm(t, "lint", "--strict", "manifests/chart"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestInstallYAML(t *testing.T) {
	out, err := helm(t, installArgs...)
	if err != nil {
		t.Fatal(err)
	}
	want := "# lastcall, for kubectl apply -f. Rendered by\n#   helm " + strings.Join(installArgs, " ") +
		"\n# and kept by " + refresh + "\n" + out
	if *update {
		if err := os.WriteFile("install.yaml", []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile("install.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("install.yaml is not what the chart renders (-want +got); refresh it: %s\n%s", refresh, diff)
	}
	if strings.Contains(out, "kind: Secret") {
		t.Error("install.yaml holds a Secret: everybody would have the same key")
	}
}

func TestWrongValues(t *testing.T) {
	for _, tc := range []struct{ set, want string }{
		{"agnet.logLevel=debug", "additional properties 'agnet' not allowed"},
		{"agent.loglevel=debug", "at '/agent': additional properties 'loglevel' not allowed"},
		{"agent.logLevel=verbose", "at '/agent/logLevel': value must be one of 'debug', 'info', 'warn', 'error'"},
		{"agent.eventsMiB=0", "at '/agent/eventsMiB': minimum: got 0, want 1"},
		{"agent.eventsAge=1day", "at '/agent/eventsAge'"},
		{"agent.maxUnavailable=0", "at '/agent/maxUnavailable'"},
		{"agent.apiPort=70000", "at '/agent/apiPort': maximum: got 70,000, want 65,535"},
		{"agent.tolerations[0].op=Exists", "at '/agent/tolerations/0': additional properties 'op' not allowed"},
		{"agent.resources.limit.cpu=1", "at '/agent/resources': additional properties 'limit' not allowed"},
		{"agent.extraArgs[0]=debug", "at '/agent/extraArgs/0'"},
		{"agent.consumers.file=x", "at '/agent/consumers': additional properties 'file' not allowed"},
		{"agent.consumers.config.consumer=x", "at '/agent/consumers/config': additional properties 'consumer' not allowed"},
		{"agent.consumers.config.consumers[0].place=Kong", "at '/agent/consumers/config/consumers/0/place'"},
		{"sidecars[0].namespace=edge", "at '/sidecars/0': missing property 'serviceAccount'"},
		{"hub.routes.on=true", "at '/hub/routes': additional properties 'on' not allowed"},
		{"hub.replicas=2", "at '/hub': additional properties 'replicas' not allowed"},
		{"hub.retentionMiB=1", "at '/hub/retentionMiB': minimum: got 1, want 64"},
		{"hub.persistence.enabled=perhaps", "at '/hub/persistence/enabled': got string, want boolean"},
		{"hub.persistence.path=/x", "at '/hub/persistence': additional properties 'path' not allowed"},
		{"image.name=x", "at '/image': additional properties 'name' not allowed"},
		{"image.digest=abc", "at '/image/digest'"},
		{"tls.mode=none", "at '/tls/mode': value must be one of 'helm', 'existingSecret', 'selfSigned'"},
		{"tls.mode=existingSecret", "tls.existingSecret must name the Secret"},
		{"monitoring.dashboards.label=x", "at '/monitoring/dashboards': additional properties 'label' not allowed"},
		{"monitoring.prometheusRule.enabled=yes", "at '/monitoring/prometheusRule/enabled': got string, want boolean"},
		{"monitoring.podMonitor.namespace=x", "at '/monitoring/podMonitor': additional properties 'namespace' not allowed"},
	} {
		t.Run(tc.set, func(t *testing.T) {
			out, err := helm(t, "template", "lastcall", "manifests/chart", "--set", tc.set)
			if err == nil {
				t.Fatalf("rendered:\n%s", out)
			}
			if !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v\nwant %q", err, tc.want)
			}
		})
	}
}

// monitor is what the chart uses of the Prometheus operator's API
// (monitoring.coreos.com/v1): its Go module would bring a controller's dependencies.
type (
	monitor struct {
		metav1.TypeMeta   `json:",inline"`
		metav1.ObjectMeta `json:"metadata"`
		Spec              struct {
			Selector            metav1.LabelSelector `json:"selector"`
			PodMetricsEndpoints []endpoint           `json:"podMetricsEndpoints"`
			Endpoints           []endpoint           `json:"endpoints"`
			Groups              []any                `json:"groups"` // dashboards/ tests them
		} `json:"spec"`
	}
	endpoint struct {
		Port        string       `json:"port"`
		HonorLabels bool         `json:"honorLabels"`
		Interval    string       `json:"interval"`
		Relabelings []relabeling `json:"relabelings"`
	}
	relabeling struct {
		SourceLabels []string `json:"sourceLabels"`
		TargetLabel  string   `json:"targetLabel"`
		Replacement  string   `json:"replacement"`
	}
)

// render renders the chart and decodes every object strictly: a field that the API does not know fails.
// Keys are like "DaemonSet lastcall-agent".
func render(t *testing.T, release string, sets ...string) map[string]any {
	t.Helper()
	args := []string{"template", release, "manifests/chart", "-n", "ns"}
	for _, s := range sets {
		args = append(args, "--set", s)
	}
	out, err := helm(t, args...)
	if err != nil {
		t.Fatal(err)
	}
	return decode(t, out)
}

func decode(t *testing.T, text string) map[string]any {
	t.Helper()
	decoder := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	objects := map[string]any{}
	for r := yamlutil.NewYAMLReader(bufio.NewReader(strings.NewReader(text))); ; {
		doc, err := r.Read()
		if errors.Is(err, io.EOF) {
			return objects
		}
		if err != nil {
			t.Fatal(err)
		}
		var head struct {
			metav1.TypeMeta   `json:",inline"`
			metav1.ObjectMeta `json:"metadata"`
		}
		if err := yaml.Unmarshal(doc, &head); err != nil {
			t.Fatalf("%v\n%s", err, doc)
		}
		if head.Kind == "" {
			continue // only comments
		}
		key := head.Kind + " " + head.Name
		if objects[key] != nil {
			t.Errorf("%s is there twice", key)
		}
		if head.APIVersion == "monitoring.coreos.com/v1" {
			m := &monitor{}
			if err := yaml.UnmarshalStrict(doc, m); err != nil {
				t.Errorf("%s: %v", key, err)
			}
			objects[key] = m
			continue
		}
		o, _, err := decoder.Decode(doc, nil, nil)
		if err != nil {
			t.Errorf("%s: %v\n%s", key, err, doc)
			continue
		}
		objects[key] = o
	}
}

func get[T any](t *testing.T, objects map[string]any, key string) *T {
	t.Helper()
	o, ok := objects[key].(*T)
	if !ok {
		t.Fatalf("no %s (it is %T)", key, objects[key])
	}
	return o
}

var always = []string{
	"ClusterRole lastcall-agent", "ClusterRole lastcall-hub", "ClusterRole lastcall-reader",
	"ClusterRoleBinding lastcall-agent", "ClusterRoleBinding lastcall-hub", "ClusterRoleBinding lastcall-reader",
	"DaemonSet lastcall-agent", "Deployment lastcall-hub",
	"Role lastcall-hub", "Role lastcall-user", "RoleBinding lastcall-hub", "Service lastcall-hub",
	"ServiceAccount lastcall-agent", "ServiceAccount lastcall-hub", "ServiceAccount lastcall-viewer",
}

const digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func TestCombinations(t *testing.T) {
	for _, tc := range []struct {
		name string
		sets []string
		more []string // objects beside those that are always there
		// what the only container of agent and hub must have, or not ("!--flag"), among its args
		agent, hub []string
		check      func(t *testing.T, agent, hub corev1.PodSpec, all map[string]any)
	}{
		{name: "defaults", more: []string{"Secret lastcall-tls"},
			agent: []string{"--listen=[$(NODE_IP)]:9747", "--api-listen=[$(NODE_IP)]:9748", "--tls-cert-file=/etc/lastcall/tls/tls.crt", "--events-mib=8", "--events-age=1h", "--log-level=info", "--xtables-lock=/run/xtables.lock"},
			hub: []string{"--agent-port=9748", "--agent-ca-file=/etc/lastcall/tls/ca.crt", "--tls-key-file=/etc/lastcall/tls/tls.key", "--retention-age=720h", "--retention-mib=2048", "--episode-gap=1m",
				"--agent-selector=app.kubernetes.io/name=lastcall,app.kubernetes.io/instance=lastcall,app.kubernetes.io/component=agent"},
			check: func(t *testing.T, agent, hub corev1.PodSpec, _ map[string]any) {
				if h := volume(agent, "xtables-lock").HostPath; h == nil || h.Path != "/run/xtables.lock" {
					t.Errorf("lock file: %+v", h)
				}
				if !agent.HostNetwork || agent.PriorityClassName != "system-node-critical" || volume(hub, "store").EmptyDir == nil {
					t.Errorf("agent %+v\nhub %+v", agent, hub)
				}
				token := volume(hub, "token").Projected
				if token == nil || token.Sources[0].ServiceAccountToken.Audience != "lastcall" {
					t.Errorf("token: %+v", token)
				}
			}},
		{name: "selfSigned", sets: []string{"tls.mode=selfSigned"},
			agent: []string{"!--tls-cert-file", "!--tls-key-file"}, hub: []string{"!--agent-ca-file", "!--tls-cert-file"}},
		{name: "existingSecret", sets: []string{"tls.mode=existingSecret", "tls.existingSecret=mine"},
			agent: []string{"--tls-cert-file=/etc/lastcall/tls/tls.crt"}, hub: []string{"--agent-ca-file=/etc/lastcall/tls/ca.crt"},
			check: func(t *testing.T, agent, hub corev1.PodSpec, _ map[string]any) {
				for _, p := range []corev1.PodSpec{agent, hub} {
					if s := volume(p, "tls").Secret; s == nil || s.SecretName != "mine" {
						t.Errorf("secret: %+v", s)
					}
				}
			}},
		{name: "persistence", sets: []string{"tls.mode=selfSigned", "hub.persistence.enabled=true", "hub.persistence.size=9Gi", "hub.persistence.storageClass=fast"},
			more: []string{"PersistentVolumeClaim lastcall-hub"},
			check: func(t *testing.T, _, hub corev1.PodSpec, all map[string]any) {
				c := get[corev1.PersistentVolumeClaim](t, all, "PersistentVolumeClaim lastcall-hub").Spec
				if *c.StorageClassName != "fast" || c.Resources.Requests.Storage().String() != "9Gi" || volume(hub, "store").PersistentVolumeClaim.ClaimName != "lastcall-hub" {
					t.Errorf("claim %+v, volume %+v", c, volume(hub, "store"))
				}
			}},
		{name: "existing claim", sets: []string{"tls.mode=selfSigned", "hub.persistence.enabled=true", "hub.persistence.existingClaim=rows"},
			check: func(t *testing.T, _, hub corev1.PodSpec, _ map[string]any) {
				if c := volume(hub, "store").PersistentVolumeClaim; c == nil || c.ClaimName != "rows" {
					t.Errorf("volume %+v", c)
				}
			}},
		{name: "monitors", sets: []string{"tls.mode=selfSigned", "monitoring.podMonitor.enabled=true", "monitoring.serviceMonitor.enabled=true",
			"monitoring.podMonitor.labels.release=prom", "monitoring.podMonitor.interval=15s"},
			more: []string{"PodMonitor lastcall-agent", "ServiceMonitor lastcall-hub"},
			check: func(t *testing.T, _, _ corev1.PodSpec, all map[string]any) {
				agents, hubs := get[monitor](t, all, "PodMonitor lastcall-agent"), get[monitor](t, all, "ServiceMonitor lastcall-hub")
				// The rules and dashboards know these jobs.
				agent, hub := relabeling{TargetLabel: "job", Replacement: "lastcall-agent"}, relabeling{TargetLabel: "job", Replacement: "lastcall-hub"}
				node := relabeling{SourceLabels: []string{"__meta_kubernetes_pod_node_name"}, TargetLabel: "instance"}
				if diff := cmp.Diff([][]endpoint{{{"metrics", true, "15s", []relabeling{agent, node}}}, nil, nil, {{"metrics", true, "", []relabeling{hub}}}},
					[][]endpoint{agents.Spec.PodMetricsEndpoints, agents.Spec.Endpoints, hubs.Spec.PodMetricsEndpoints, hubs.Spec.Endpoints}); diff != "" {
					t.Error(diff)
				}
				if agents.Labels["release"] != "prom" || agents.Spec.Selector.MatchLabels["app.kubernetes.io/component"] != "agent" {
					t.Errorf("%+v", agents)
				}
				ports := get[corev1.Service](t, all, "Service lastcall-hub").Spec.Ports
				if !slices.ContainsFunc(ports, func(p corev1.ServicePort) bool { return p.Name == "metrics" && p.Port == 9751 }) {
					t.Errorf("no port metrics: %+v", ports)
				}
			}},
		{name: "rules and dashboards", sets: []string{"tls.mode=selfSigned", "monitoring.prometheusRule.enabled=true", "monitoring.prometheusRule.labels.release=prom",
			"monitoring.dashboards.enabled=true", "monitoring.dashboards.annotations.grafana_folder=lastcall"},
			more: []string{"PrometheusRule lastcall-rules", "PrometheusRule lastcall-alerts",
				"ConfigMap lastcall-dashboard-last-call", "ConfigMap lastcall-dashboard-workload", "ConfigMap lastcall-dashboard-agents"},
			check: func(t *testing.T, _, _ corev1.PodSpec, all map[string]any) {
				for _, name := range []string{"rules", "alerts"} {
					text, err := os.ReadFile("../dashboards/" + name + ".yaml")
					if err != nil {
						t.Fatal(err)
					}
					var want struct{ Groups []any }
					if err := yaml.Unmarshal(text, &want); err != nil {
						t.Fatal(err)
					}
					got := get[monitor](t, all, "PrometheusRule lastcall-"+name)
					if diff := cmp.Diff(want.Groups, got.Spec.Groups); diff != "" || got.Labels["release"] != "prom" {
						t.Errorf("labels %v; groups (-want +got):\n%s", got.Labels, diff)
					}
				}
				for _, name := range []string{"last-call", "workload", "agents"} {
					m := get[corev1.ConfigMap](t, all, "ConfigMap lastcall-dashboard-"+name)
					var board struct{ UID string }
					if err := json.Unmarshal([]byte(m.Data["lastcall-"+name+".json"]), &board); err != nil || !strings.HasPrefix(board.UID, "lastcall-") {
						t.Errorf("%s: %v, uid %q", name, err, board.UID)
					}
					if m.Labels["grafana_dashboard"] != "1" || m.Annotations["grafana_folder"] != "lastcall" {
						t.Errorf("%s: %v %v", name, m.Labels, m.Annotations)
					}
				}
			}},
		{name: "image", sets: []string{"tls.mode=selfSigned", "image.repository=registry.example:5000/me/lastcall", "image.tag=v9", "image.digest=" + digest,
			"image.pullPolicy=Never", "image.pullSecrets={a,b}"},
			check: func(t *testing.T, agent, hub corev1.PodSpec, _ map[string]any) {
				for _, p := range []corev1.PodSpec{agent, hub} {
					c := p.Containers[0]
					if c.Image != "registry.example:5000/me/lastcall@"+digest || c.ImagePullPolicy != corev1.PullNever || len(p.ImagePullSecrets) != 2 {
						t.Errorf("%s %s %v", c.Image, c.ImagePullPolicy, p.ImagePullSecrets)
					}
				}
			}},
		{name: "flags", sets: []string{"tls.mode=selfSigned", "agent.extraArgs={--poll=2ms,--subscribe}", "hub.extraArgs={--log-level=debug}", "agent.apiPort=19748", "agent.metricsPort=19747",
			"hub.retentionMiB=5000000", "agent.maxUnavailable=1"},
			agent: []string{"--poll=2ms", "--subscribe", "--listen=[$(NODE_IP)]:19747"},
			hub:   []string{"--log-level=debug", "--agent-port=19748", "--retention-mib=5000000"},
			check: func(t *testing.T, agent, _ corev1.PodSpec, _ map[string]any) {
				if p := agent.Containers[0].ReadinessProbe.HTTPGet.Port.IntValue(); p != 19747 {
					t.Errorf("readiness is asked at port %d", p)
				}
			}},
		{name: "without routes", sets: []string{"tls.mode=selfSigned", "hub.routes.enabled=false"}, hub: []string{"--routes=false"},
			check: func(t *testing.T, _, _ corev1.PodSpec, all map[string]any) {
				for _, r := range get[rbacv1.ClusterRole](t, all, "ClusterRole lastcall-hub").Rules {
					if slices.Contains(r.Resources, "services") || slices.Contains(r.APIGroups, "networking.k8s.io") || slices.Contains(r.APIGroups, "traefik.io") {
						t.Errorf("may %v %v of %v", r.Verbs, r.Resources, r.APIGroups)
					}
				}
			}},
		{name: "consumers", sets: []string{"tls.mode=selfSigned", "agent.consumers.enabled=true"}, agent: []string{"--consumers=auto"}, hub: []string{"!--consumer-kinds"}},
		{name: "entering pods", sets: []string{"tls.mode=selfSigned", "agent.consumers.enabled=true", "agent.consumers.enterPods=true"}, agent: []string{"--consumers=auto", "--pod-namespaces=/run/netns"},
			check: func(t *testing.T, agent, _ corev1.PodSpec, _ map[string]any) {
				// One capability and one directory, read-only, and nothing else more than always: no host PIDs.
				s := agent.Containers[0].SecurityContext
				if diff := cmp.Diff([]corev1.Capability{"NET_ADMIN", "SYS_ADMIN"}, s.Capabilities.Add); diff != "" || *s.AllowPrivilegeEscalation || s.Privileged != nil || agent.HostPID {
					t.Errorf("%s%+v, host PIDs %v", diff, s, agent.HostPID)
				}
				h := volume(agent, "pod-namespaces").HostPath
				i := slices.IndexFunc(agent.Containers[0].VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == "pod-namespaces" })
				if h == nil || h.Path != "/run/netns" || *h.Type != corev1.HostPathDirectoryOrCreate || i < 0 {
					t.Fatalf("volume %+v", h)
				}
				if m := agent.Containers[0].VolumeMounts[i]; !m.ReadOnly || *m.MountPropagation != corev1.MountPropagationHostToContainer || m.MountPath != "/run/netns" {
					t.Errorf("mount %+v", m)
				}
			}},
		{name: "entering pods without consumers", sets: []string{"tls.mode=selfSigned", "agent.consumers.enterPods=true"}, agent: []string{"!--pod-namespaces", "!--consumers"},
			check: func(t *testing.T, agent, _ corev1.PodSpec, _ map[string]any) {
				if add := agent.Containers[0].SecurityContext.Capabilities.Add; len(add) != 1 || volume(agent, "pod-namespaces").HostPath != nil {
					t.Errorf("%v, %+v", add, agent.Volumes)
				}
			}},
		{name: "values of an older release", sets: []string{"tls.mode=selfSigned", "agent.consumers=null", "hub.routes=null"}, agent: []string{"!--consumers"}, hub: []string{"!--consumer-kinds", "!--routes"}},
		{name: "consumers without the switch", sets: []string{"tls.mode=selfSigned", "agent.consumers.config.skip={traefik}"}, agent: []string{"!--consumers"}, hub: []string{"!--consumer-kinds"}},
		{name: "consumers that are declared", more: []string{"ConfigMap lastcall-consumers"},
			sets: []string{"tls.mode=selfSigned", "agent.consumers.enabled=true", "agent.consumers.config.skip={dns}",
				"agent.consumers.config.consumers[0].place=traefik", "agent.consumers.config.consumers[0].pods.labels.app=ours", "agent.consumers.config.consumers[0].pods.port=9000",
				"agent.consumers.config.consumers[1].place=skipper", "agent.consumers.config.consumers[1].pods.labels.app=skipper", "agent.consumers.config.consumers[1].pods.port=9911",
				"agent.consumers.config.consumers[1].scrape.fidelity=dataplane", "agent.consumers.config.consumers[1].scrape.fetch={/routes}",
				"agent.consumers.config.consumers[1].scrape.each=.[]", "agent.consumers.config.consumers[1].scrape.address=.url"},
			agent: []string{"--consumers=/etc/lastcall/consumers/consumers.yaml"}, hub: []string{"--consumer-kinds=skipper"},
			check: func(t *testing.T, agent, _ corev1.PodSpec, all map[string]any) {
				if m := volume(agent, "consumers").ConfigMap; m == nil || m.Name != "lastcall-consumers" {
					t.Errorf("volume %+v", m)
				}
				text := get[corev1.ConfigMap](t, all, "ConfigMap lastcall-consumers").Data["consumers.yaml"]
				c, err := consumer.ParseConfig([]byte(text))
				if err != nil || len(c.Consumers) != 2 || c.Consumers[1].Scrape == nil {
					t.Errorf("%+v, %v\n%s", c, err, text)
				}
			}},
		{name: "sidecars", sets: []string{"tls.mode=helm", "sidecars[0].namespace=edge", "sidecars[0].serviceAccount=envoy", "sidecars[1].namespace=edge", "sidecars[1].serviceAccount=nginx"},
			more: []string{"ClusterRole lastcall-sidecar", "ClusterRoleBinding lastcall-sidecar", "Role lastcall-hub-sidecars", "RoleBinding lastcall-hub-sidecars", "Secret lastcall-tls", "Secret lastcall-sidecar-tls"},
			hub:  []string{"--sidecar-namespaces=edge"},
			check: func(t *testing.T, _, _ corev1.PodSpec, all map[string]any) {
				var rules []string
				for _, r := range slices.Concat(get[rbacv1.ClusterRole](t, all, "ClusterRole lastcall-sidecar").Rules, get[rbacv1.Role](t, all, "Role lastcall-hub-sidecars").Rules) {
					rules = append(rules, fmt.Sprint(r.Verbs, r.APIGroups, r.Resources))
				}
				if diff := cmp.Diff([]string{"[list watch] [] [services]", "[list watch] [discovery.k8s.io] [endpointslices]", "[create] [authentication.k8s.io] [tokenreviews]",
					"[create] [authorization.k8s.io] [subjectaccessreviews]", "[list watch] [] [pods]"}, rules); diff != "" {
					t.Errorf("rights (-want +got):\n%s", diff)
				}
				var subjects []string
				for _, s := range slices.Concat(get[rbacv1.ClusterRoleBinding](t, all, "ClusterRoleBinding lastcall-sidecar").Subjects, get[rbacv1.RoleBinding](t, all, "RoleBinding lastcall-hub-sidecars").Subjects) {
					subjects = append(subjects, s.Namespace+"/"+s.Name)
				}
				if diff := cmp.Diff([]string{"edge/envoy", "edge/nginx", "ns/lastcall-hub"}, subjects); diff != "" {
					t.Error(diff)
				}
				// The hub verifies a sidecar by a name that its key alone is good for.
				of, sidecar := get[corev1.Secret](t, all, "Secret lastcall-tls"), get[corev1.Secret](t, all, "Secret lastcall-sidecar-tls")
				if sidecar.Namespace != "edge" || len(sidecar.Data) != 2 {
					t.Errorf("%s has %d keys", sidecar.Namespace, len(sidecar.Data))
				}
				sidecar.Data["ca.crt"] = of.Data["ca.crt"]
				verify(t, sidecar, "lastcall-sidecar")
				for name, s := range map[string]*corev1.Secret{"lastcall-agent": sidecar, "lastcall-sidecar": of} {
					pair, err := tls.X509KeyPair(s.Data["tls.crt"], s.Data["tls.key"])
					if err != nil || pair.Leaf.VerifyHostname(name) == nil {
						t.Errorf("%s is good for %s, %v", s.Name, name, err)
					}
				}
			}},
		{name: "sidecars without certificates", sets: []string{"tls.mode=selfSigned", "sidecars[0].namespace=edge", "sidecars[0].serviceAccount=envoy"},
			more: []string{"ClusterRole lastcall-sidecar", "ClusterRoleBinding lastcall-sidecar", "Role lastcall-hub-sidecars", "RoleBinding lastcall-hub-sidecars"}},
		{name: "namespace", sets: []string{"tls.mode=selfSigned", "namespace.create=true"}, more: []string{"Namespace ns"}},
		{name: "nothing optional", agent: []string{"--xtables-lock="}, sets: []string{"tls.mode=selfSigned", "agent.xtablesLock=", "agent.priorityClassName=", "agent.nodeSelector=null", "agent.tolerations=null", "agent.resources=null",
			"agent.goMemLimit=", "hub.nodeSelector=null", "hub.resources=null", "hub.goMemLimit="}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			all := render(t, "lastcall", tc.sets...)
			var keys []string
			for k := range all {
				keys = append(keys, k)
			}
			slices.Sort(keys)
			want := slices.Concat(always, tc.more)
			slices.Sort(want)
			if diff := cmp.Diff(want, keys); diff != "" {
				t.Errorf("objects (-want +got):\n%s", diff)
			}
			agent := get[appsv1.DaemonSet](t, all, "DaemonSet lastcall-agent").Spec.Template.Spec
			hub := get[appsv1.Deployment](t, all, "Deployment lastcall-hub").Spec.Template.Spec
			hasArgs(t, agent, tc.agent)
			hasArgs(t, hub, tc.hub)
			for _, p := range []corev1.PodSpec{agent, hub} {
				mountsHaveVolumes(t, p)
			}
			if tc.check != nil {
				tc.check(t, agent, hub, all)
			}
		})
	}
}

// TestFlags holds that the program knows every flag that the chart gives it.
func TestFlags(t *testing.T) {
	all := render(t, "lastcall", "agent.consumers.enabled=true", "agent.consumers.enterPods=true", "sidecars[0].namespace=edge", "sidecars[0].serviceAccount=envoy", "hub.routes.enabled=false", "agent.consumers.config.consumers[0].place=skipper", "agent.consumers.config.consumers[0].scrape.each=.[]")
	binary := filepath.Join(t.TempDir(), "lastcall")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "../cmd/lastcall").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, p := range []corev1.PodSpec{get[appsv1.DaemonSet](t, all, "DaemonSet lastcall-agent").Spec.Template.Spec,
		get[appsv1.Deployment](t, all, "Deployment lastcall-hub").Spec.Template.Spec} {
		// --help is looked at last: a flag that is unknown, or a value of the wrong type, comes first.
		args := slices.Concat(p.Containers[0].Args, []string{"--help"})
		if out, err := exec.CommandContext(t.Context(), binary, args...).CombinedOutput(); err != nil {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
	}
}

func hasArgs(t *testing.T, p corev1.PodSpec, want []string) {
	t.Helper()
	args := p.Containers[0].Args
	for _, w := range want {
		if not, ok := strings.CutPrefix(w, "!"); ok {
			if slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, not) }) {
				t.Errorf("%v has %s", args, not)
			}
		} else if !slices.Contains(args, w) {
			t.Errorf("%v lacks %s", args, w)
		}
	}
}

func mountsHaveVolumes(t *testing.T, p corev1.PodSpec) {
	t.Helper()
	var volumes, mounts []string
	for _, v := range p.Volumes {
		volumes = append(volumes, v.Name)
	}
	for _, m := range p.Containers[0].VolumeMounts {
		mounts = append(mounts, m.Name)
	}
	if diff := cmp.Diff(volumes, mounts); diff != "" {
		t.Errorf("volumes and mounts differ:\n%s", diff)
	}
}

func volume(p corev1.PodSpec, name string) corev1.VolumeSource {
	for _, v := range p.Volumes {
		if v.Name == name {
			return v.VolumeSource
		}
	}
	return corev1.VolumeSource{}
}

func TestPrivileges(t *testing.T) {
	all := render(t, "lastcall")
	agent := get[appsv1.DaemonSet](t, all, "DaemonSet lastcall-agent").Spec.Template.Spec
	hub := get[appsv1.Deployment](t, all, "Deployment lastcall-hub").Spec.Template.Spec
	runtimeDefault := &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}
	for _, tc := range []struct {
		name      string
		pod       corev1.PodSpec
		context   corev1.PodSecurityContext
		container corev1.SecurityContext
		host      bool
	}{
		{"agent", agent, corev1.PodSecurityContext{SeccompProfile: runtimeDefault},
			corev1.SecurityContext{RunAsUser: ptr.To[int64](0), AllowPrivilegeEscalation: ptr.To(false), ReadOnlyRootFilesystem: ptr.To(true),
				Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}, Add: []corev1.Capability{"NET_ADMIN"}}}, true},
		{"hub", hub, corev1.PodSecurityContext{SeccompProfile: runtimeDefault, RunAsNonRoot: ptr.To(true), RunAsUser: ptr.To[int64](65532),
			RunAsGroup: ptr.To[int64](65532), FSGroup: ptr.To[int64](65532), FSGroupChangePolicy: ptr.To(corev1.FSGroupChangeOnRootMismatch)},
			corev1.SecurityContext{AllowPrivilegeEscalation: ptr.To(false), ReadOnlyRootFilesystem: ptr.To(true),
				Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}}, false},
	} {
		if len(tc.pod.Containers) != 1 || len(tc.pod.InitContainers) != 0 {
			t.Fatalf("%s: not one container", tc.name)
		}
		if diff := cmp.Diff(&tc.context, tc.pod.SecurityContext); diff != "" {
			t.Errorf("%s: pod's security context (-want +got):\n%s", tc.name, diff)
		}
		c := tc.pod.Containers[0]
		if diff := cmp.Diff(&tc.container, c.SecurityContext); diff != "" {
			t.Errorf("%s: container's security context (-want +got):\n%s", tc.name, diff)
		}
		if tc.pod.HostNetwork != tc.host || tc.pod.HostPID || tc.pod.HostIPC {
			t.Errorf("%s: hostNetwork %v, hostPID %v, hostIPC %v", tc.name, tc.pod.HostNetwork, tc.pod.HostPID, tc.pod.HostIPC)
		}
		for _, v := range tc.pod.Volumes {
			if h := v.HostPath; h != nil && (tc.name != "agent" || h.Path != "/run/xtables.lock" || *h.Type != corev1.HostPathFileOrCreate) {
				t.Errorf("%s: hostPath %s, type %s", tc.name, h.Path, *h.Type)
			}
		}
		for _, m := range c.VolumeMounts {
			if tc.host && !m.ReadOnly {
				t.Errorf("%s: may write to %s", tc.name, m.MountPath)
			}
		}
		if _, limited := c.Resources.Limits[corev1.ResourceCPU]; limited {
			t.Errorf("%s: has a CPU limit, which makes intervals wider", tc.name)
		}
		if c.Resources.Limits.Memory().IsZero() {
			t.Errorf("%s: has no memory limit", tc.name)
		}
	}
}

// TestRights is the whole of what anybody gets. docs/security.md tells the reasons.
func TestRights(t *testing.T) {
	for _, tc := range []struct{ release, prefix string }{{"lastcall", "lastcall"}, {"my-lastcall", "my-lastcall"}, {"prod", "prod-lastcall"}} {
		t.Run(tc.release, func(t *testing.T) {
			all := render(t, tc.release)
			var got []string
			rule := func(kind, name string, rules []rbacv1.PolicyRule) {
				for _, r := range rules {
					line := fmt.Sprintf("%s %s: %s", kind, name, strings.Join(r.Verbs, ","))
					if r.NonResourceURLs != nil {
						line += " " + strings.Join(r.NonResourceURLs, ",")
					} else {
						line += fmt.Sprintf(" %s/%s", strings.Join(r.APIGroups, ","), strings.Join(r.Resources, ","))
					}
					if r.ResourceNames != nil {
						line += " named " + strings.Join(r.ResourceNames, ",")
					}
					got = append(got, line)
				}
			}
			binding := func(kind, name string, ref rbacv1.RoleRef, subjects []rbacv1.Subject) {
				for _, s := range subjects {
					got = append(got, fmt.Sprintf("%s %s: %s %s to %s %s/%s", kind, name, ref.Kind, ref.Name, s.Kind, s.Namespace, s.Name))
				}
			}
			for _, o := range all {
				switch o := o.(type) {
				case *rbacv1.ClusterRole:
					rule(o.Kind, o.Name, o.Rules)
				case *rbacv1.Role:
					rule(o.Kind, o.Namespace+"/"+o.Name, o.Rules)
				case *rbacv1.ClusterRoleBinding:
					binding(o.Kind, o.Name, o.RoleRef, o.Subjects)
				case *rbacv1.RoleBinding:
					binding(o.Kind, o.Namespace+"/"+o.Name, o.RoleRef, o.Subjects)
				}
			}
			want := strings.Split(strings.TrimSpace(strings.ReplaceAll(`
ClusterRole P-agent: list,watch /services,pods,nodes
ClusterRole P-agent: list,watch discovery.k8s.io/endpointslices
ClusterRole P-agent: create authentication.k8s.io/tokenreviews
ClusterRole P-agent: create authorization.k8s.io/subjectaccessreviews
ClusterRole P-hub: list,watch /nodes
ClusterRole P-hub: create authentication.k8s.io/tokenreviews
ClusterRole P-hub: create authorization.k8s.io/subjectaccessreviews
ClusterRole P-hub: get apps/deployments,replicasets,statefulsets,daemonsets
ClusterRole P-hub: list,watch /services
ClusterRole P-hub: list,watch networking.k8s.io/ingresses,ingressclasses
ClusterRole P-hub: list,watch gateway.networking.k8s.io/httproutes,grpcroutes,tlsroutes,tcproutes,udproutes
ClusterRole P-hub: list,watch traefik.io/ingressroutes,ingressroutetcps,ingressrouteudps
ClusterRole P-hub: list,watch projectcontour.io/httpproxies
ClusterRole P-reader: get /v1/*
Role ns/P-hub: list,watch /pods
Role ns/P-user: list,get /pods
Role ns/P-user: create,get /pods/portforward
Role ns/P-user: list /serviceaccounts
Role ns/P-user: create /serviceaccounts/token named P-viewer
Role ns/P-user: list apps/daemonsets
ClusterRoleBinding P-agent: ClusterRole P-agent to ServiceAccount ns/P-agent
ClusterRoleBinding P-hub: ClusterRole P-hub to ServiceAccount ns/P-hub
ClusterRoleBinding P-reader: ClusterRole P-reader to ServiceAccount ns/P-hub
ClusterRoleBinding P-reader: ClusterRole P-reader to ServiceAccount ns/P-viewer
RoleBinding ns/P-hub: Role P-hub to ServiceAccount ns/P-hub
`, "P-", tc.prefix+"-")), "\n")
			slices.Sort(got)
			slices.Sort(want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("rights (-want +got):\n%s", diff)
			}
			for component, account := range map[string]string{"agent": get[appsv1.DaemonSet](t, all, "DaemonSet "+tc.prefix+"-agent").Spec.Template.Spec.ServiceAccountName,
				"hub": get[appsv1.Deployment](t, all, "Deployment "+tc.prefix+"-hub").Spec.Template.Spec.ServiceAccountName} {
				if account != tc.prefix+"-"+component {
					t.Errorf("%s runs as %s", component, account)
				}
			}
		})
	}
}

// TestCertificate holds that the hub can verify an agent, and that names do for readers.
func TestCertificate(t *testing.T) {
	secret := get[corev1.Secret](t, render(t, "prod"), "Secret prod-lastcall-tls")
	verify(t, secret, "lastcall-agent", "lastcall-hub", "localhost", "prod-lastcall-hub", "prod-lastcall-hub.ns", "prod-lastcall-hub.ns.svc")
}

func verify(t *testing.T, secret *corev1.Secret, names ...string) {
	t.Helper()
	pair, err := tls.X509KeyPair(secret.Data["tls.crt"], secret.Data["tls.key"])
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(secret.Data["ca.crt"]) {
		t.Fatal("no CA")
	}
	for _, name := range names {
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestInstall installs, upgrades and uninstalls on a real API server. Nothing runs the pods, so nothing is waited for.
func TestInstall(t *testing.T) {
	requireHelm(t)
	s := apiserver.Start(t)
	client, err := kubernetes.NewForConfig(s.AdminConfig())
	if err != nil {
		t.Fatal(err)
	}
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	config := clientcmdapi.NewConfig()
	config.Clusters["c"] = &clientcmdapi.Cluster{Server: "https://" + s.Addr(), InsecureSkipTLSVerify: true}
	config.AuthInfos["a"] = &clientcmdapi.AuthInfo{Token: s.AdminConfig().BearerToken}
	config.Contexts["x"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "a"}
	config.CurrentContext = "x"
	if err := clientcmd.WriteToFile(*config, kubeconfig); err != nil {
		t.Fatal(err)
	}
	// Any working directory does.
	t.Chdir(t.TempDir())
	install := func(sets ...string) (*corev1.Secret, *appsv1.DaemonSet) {
		t.Helper()
		var said bytes.Buffer
		if err := upgrade(t.Context(), kubeconfig, "prod", "lastcall-system", &said, nil, sets); err != nil {
			t.Fatalf("%v\n%s", err, said.String())
		}
		if !strings.Contains(said.String(), "kubectl lastcall check") {
			t.Errorf("the notes do not say what to do next:\n%s", said.String())
		}
		secret, err := client.CoreV1().Secrets("lastcall-system").Get(t.Context(), "prod-lastcall-tls", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		set, err := client.AppsV1().DaemonSets("lastcall-system").Get(t.Context(), "prod-lastcall-agent", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return secret, set
	}
	first, set := install()
	verify(t, first, "lastcall-agent")
	if set.Generation != 1 {
		t.Errorf("generation %d", set.Generation)
	}
	second, same := install("hub.logLevel=debug")
	if diff := cmp.Diff(first.Data, second.Data); diff != "" {
		t.Error("an upgrade replaced the certificate")
	}
	if same.Generation != 1 {
		t.Error("an upgrade that changes the hub only restarts every agent")
	}
	// Sidecars that come later find their certificate, and a Secret that has none is said to be too old.
	if _, err := client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "edge"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	sidecars := []string{"sidecars[0].namespace=edge", "sidecars[0].serviceAccount=envoy", "agent.consumers.enabled=true", "agent.consumers.enterPods=true"} // what the API server makes of SYS_ADMIN too
	second, _ = install(sidecars...)
	beside, err := client.CoreV1().Secrets("edge").Get(t.Context(), "prod-lastcall-sidecar-tls", metav1.GetOptions{})
	if err != nil || !bytes.Equal(beside.Data["tls.key"], second.Data["sidecar.key"]) || !bytes.Equal(second.Data["tls.key"], first.Data["tls.key"]) {
		t.Errorf("the sidecars' Secret: %v", err)
	}
	delete(second.Data, "sidecar.crt")
	if second, err = client.CoreV1().Secrets("lastcall-system").Update(t.Context(), second, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := upgrade(t.Context(), kubeconfig, "prod", "lastcall-system", io.Discard, nil, sidecars); err == nil || !strings.Contains(err.Error(), "delete it, and upgrade once more") {
		t.Errorf("a Secret without a certificate for sidecars: %v", err)
	}
	// How docs/install.md renews it.
	if err := client.CoreV1().Secrets("lastcall-system").Delete(t.Context(), second.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	third, _ := install()
	verify(t, third, "lastcall-agent")
	if bytes.Equal(third.Data["tls.key"], first.Data["tls.key"]) {
		t.Error("the key came back from where it was deleted")
	}
	if err := Uninstall(t.Context(), kubeconfig, "prod", "lastcall-system"); err != nil {
		t.Fatal(err)
	}
	if err := Uninstall(t.Context(), kubeconfig, "prod", "lastcall-system"); err != nil {
		t.Error("what is not there: ", err)
	}
	ours := metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=lastcall"}
	roles, err := client.RbacV1().ClusterRoles().List(t.Context(), ours)
	if err != nil || len(roles.Items) != 0 {
		t.Errorf("left: %v, %v", roles.Items, err)
	}
	secrets, err := client.CoreV1().Secrets("lastcall-system").List(t.Context(), metav1.ListOptions{})
	if err != nil || len(secrets.Items) != 0 {
		t.Errorf("left: %v, %v", secrets.Items, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Install(ctx, kubeconfig, "prod", "lastcall-system", io.Discard); err == nil {
		t.Error("installed although canceled")
	}
}
