package docs

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const (
	kubernetes    = "k8s.io/kubernetes@v1.36.3"
	endpointslice = "k8s.io/endpointslice@v0.36.3"
)

// upstream is what the documents say of Kubernetes' source: where, and what must stand there.
var upstream = []struct {
	document, module, file string
	from, to               int
	says                   string
}{
	{"kube-proxy-metric.md", endpointslice, "util/trigger_time_tracker.go", 141, 146, "readyCondition.LastTransitionTime.Time"},
	{"kube-proxy-metric.md", endpointslice, "", 150, 152, "service.CreationTimestamp.Time"},
	{"kube-proxy-metric.md", endpointslice, "", 83, 129, "return minChangedTriggerTime"},
	{"kube-proxy-metric.md", endpointslice, "utils.go", 187, 197, "delete(endpointSlice.Annotations, v1.EndpointsLastChangeTriggerTime)"},
	{"kube-proxy-metric.md", endpointslice, "reconciler.go", 455, 455, "addTriggerTimeAnnotation("},
	{"kube-proxy-metric.md", endpointslice, "util/trigger_time_tracker_test.go", 99, 107, "service, pod1).expectNil()"},
	{"kube-proxy-metric.md", kubernetes, "pkg/proxy/endpointschangetracker.go", 109, 109, "!t.IsZero()"},
	{"kube-proxy-metric.md", kubernetes, "", 102, 108, "delete(ect.lastChangeTriggerTimes, namespacedName)"},
	{"kube-proxy-metric.md", kubernetes, "", 148, 148, "#81360"},
	{"kube-proxy-metric.md", kubernetes, "pkg/proxy/iptables/proxier.go", 1412, 1417, "NetworkProgrammingLatency"},
	{"kube-proxy-metric.md", kubernetes, "pkg/proxy/nftables/proxier.go", 1734, 1739, "NetworkProgrammingLatency"},
	{"kube-proxy-metric.md", kubernetes, "pkg/proxy/metrics/metrics.go", 94, 99, "LinearBuckets(0.25, 0.25, 2)"},
	{"kube-proxy-metric.md", kubernetes, "pkg/proxy/metrics/metrics.go", 82, 88, "clock drift"},
	{"kube-proxy-metric.md", kubernetes, "pkg/proxy/apis/config/v1alpha1/defaults.go", 52, 53, "defaultMetricsAddress"},
	{"departures.md", kubernetes, "pkg/kubelet/pod_workers.go", 1280, 1288, "GetNewerThan"},
	{"measuring.md", kubernetes, "pkg/proxy/iptables/proxier.go", 546, 546, "func portProtoHash("},
}

// TestUpstream: what a document says of a line of Kubernetes stands there.
func TestUpstream(t *testing.T) {
	out, err := exec.Command("go", "env", "GOMODCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	cache := strings.TrimSpace(string(out))
	for _, m := range []string{kubernetes, endpointslice} {
		if _, err := os.Stat(filepath.Join(cache, m)); err != nil {
			if os.Getenv("REQUIRE_CLUSTER") != "1" {
				t.Skip(err, " (make components brings it; REQUIRE_CLUSTER=1 has it downloaded)")
			}
			download := exec.Command("go", "mod", "download", m)
			download.Dir = t.TempDir() // in no module
			if out, err := download.CombinedOutput(); err != nil {
				t.Fatalf("%v: %v\n%s", download, err, out)
			}
		}
	}
	file := ""
	for _, u := range upstream {
		if u.file != "" {
			file = u.file
		}
		place := fmt.Sprintf("%s:%d", u.file, u.from)
		if u.to > u.from {
			place += fmt.Sprintf("-%d", u.to)
		}
		document, err := os.ReadFile(u.document)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(document), "`"+place+"`") {
			t.Errorf("%s does not speak of `%s`", u.document, place)
		}
		source, err := os.ReadFile(filepath.Join(cache, u.module, file))
		if err != nil {
			t.Error(err)
			continue
		}
		lines := strings.Split(string(source), "\n")
		if len(lines) < u.to || !strings.Contains(strings.Join(lines[u.from-1:u.to], "\n"), u.says) {
			t.Errorf("%s: %s %s, lines %d to %d do not say %q", u.document, u.module, file, u.from, u.to, u.says)
		}
	}
	// What is not there cannot be pointed to.
	source, err := os.ReadFile(filepath.Join(cache, endpointslice, "util/trigger_time_tracker.go"))
	if err != nil || strings.Contains(string(source), "DeletionTimestamp") {
		t.Errorf("kube-proxy-metric.md says that deletionTimestamp is never read there: %v", err)
	}
}
