package watcher

import (
	"bytes"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/lastcall-k8s/lastcall/ledger"
)

var update = flag.Bool("update", false, "write what the scripts in testdata yield into them")

// epoch is when the baseline of every script is complete. Section i of a script is received i seconds after.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// TestScripts runs the scripts in testdata: sections of objects as kubectl prints them, and in "want"
// the changes that follow. The place is node n1.
//
//	baseline        what the first lists hold
//	set             each object was added or modified
//	delete          each object was deleted; this is its last state
//	relist KIND     the complete list that bridges a hole in the watch of services, slices, pods or nodes
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			ar, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := runScript(t, ar)
			for i := range ar.Files {
				if f := &ar.Files[i]; f.Name == "want" {
					if *update {
						f.Data = []byte(got)
						if err := os.WriteFile(file, txtar.Format(ar), 0o644); err != nil {
							t.Fatal(err)
						}
					} else if diff := cmp.Diff(string(f.Data), got); diff != "" {
						t.Errorf("changes (-want +got):\n%s", diff)
					}
					return
				}
			}
			t.Fatalf("no section want; the changes are\n%s", got)
		})
	}
}

func runScript(t *testing.T, ar *txtar.Archive) string {
	t.Helper()
	s := newState("n1")
	var out strings.Builder
	for i, f := range ar.Files {
		at := epoch.Add(time.Duration(i) * time.Second)
		verb, arg, _ := strings.Cut(f.Name, " ")
		var changes []ledger.Change
		switch verb {
		case "baseline":
			for _, o := range parseObjects(t, f.Data, at) {
				changes = append(changes, s.set(o)...)
			}
			changes = append(changes, s.arm(at)...)
		case "set":
			for _, o := range parseObjects(t, f.Data, at) {
				changes = append(changes, s.set(o)...)
			}
		case "delete":
			for _, o := range parseObjects(t, f.Data, at) {
				changes = append(changes, s.drop(o)...)
			}
		case "relist":
			k, ok := map[string]kind{"services": services, "slices": endpointSlices, "pods": pods, "nodes": nodes}[arg]
			if !ok {
				t.Fatalf("unknown section %q", f.Name)
			}
			changes = s.replace(k, parseObjects(t, f.Data, at), at)
		case "want":
		default:
			t.Fatalf("unknown section %q", f.Name)
		}
		for _, c := range changes {
			fmt.Fprintln(&out, describe(c))
		}
	}
	return out.String()
}

// parseObjects reads YAML documents the way the API server's answers are read.
func parseObjects(t testing.TB, data []byte, at time.Time) []*object {
	t.Helper()
	var os []*object
	for _, obj := range parseYAML(t, data) {
		os = append(os, trim(obj, at).(*object))
	}
	return os
}

func parseYAML(t testing.TB, data []byte) []runtime.Object {
	t.Helper()
	var os []runtime.Object
	for _, doc := range bytes.Split(data, []byte("---\n")) {
		var meta metav1.TypeMeta
		if err := yaml.Unmarshal(doc, &meta); err != nil {
			t.Fatalf("%v in\n%s", err, doc)
		}
		var obj runtime.Object
		switch meta.Kind {
		case "":
			continue
		case "Service":
			obj = &corev1.Service{}
		case "EndpointSlice":
			obj = &discoveryv1.EndpointSlice{}
		case "Pod":
			obj = &corev1.Pod{}
		case "Node":
			obj = &corev1.Node{}
		default:
			t.Fatalf("unknown kind in\n%s", doc)
		}
		if err := yaml.UnmarshalStrict(doc, obj); err != nil {
			t.Fatalf("%v in\n%s", err, doc)
		}
		os = append(os, obj)
	}
	return os
}

// describe writes a change as one line.
func describe(c ledger.Change) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s ", offset(c.At))
	removal := func(verb string, r *ledger.Removal) {
		fmt.Fprintf(&b, "%s %s via", verb, describeKey(r.Key))
		for _, f := range r.Frontends {
			if f.Addr.IsValid() {
				fmt.Fprintf(&b, " %s", netip.AddrPortFrom(f.Addr, f.Port))
			} else {
				fmt.Fprintf(&b, " *:%d", f.Port)
			}
		}
		if !r.ExpectedSince.IsZero() {
			fmt.Fprintf(&b, " since %s", offset(r.ExpectedSince))
		}
		if !r.Seen.IsZero() && !r.Seen.Equal(c.At) {
			fmt.Fprintf(&b, " seen %s", offset(r.Seen))
		}
		if r.Rearmed {
			b.WriteString(" rearmed")
		}
	}
	switch {
	case c.Departed != nil:
		d := c.Departed
		fmt.Fprintf(&b, "departed %s %s/%s", d.Pod.UID, d.Pod.Namespace, d.Pod.Name)
		if d.Pod.Node != "" {
			fmt.Fprintf(&b, "@%s", d.Pod.Node)
		}
		fmt.Fprintf(&b, " %s, t0", d.Reason)
		if !d.T0.IsZero() {
			fmt.Fprintf(&b, " %s", offset(d.T0))
		}
		fmt.Fprintf(&b, " %s", d.Source)
		if d.Grace >= 0 {
			fmt.Fprintf(&b, ", grace %d", d.Grace)
		}
		if d.Workload != "" {
			fmt.Fprintf(&b, ", of %s", d.Workload)
		}
		if d.ResourceVersion != "" {
			fmt.Fprintf(&b, ", version %s", d.ResourceVersion)
		}
		if d.Revision != "" {
			fmt.Fprintf(&b, ", revision %s", d.Revision)
		}
		for _, x := range d.Containers {
			fmt.Fprintf(&b, "; %s %s", x.Name, x.PreStop.Kind)
			if x.PreStop.Seconds != nil {
				fmt.Fprintf(&b, " %d s", *x.PreStop.Seconds)
			}
			if x.PreStop.Rest {
				b.WriteString(" and more")
			}
			if len(x.Ports) > 0 {
				fmt.Fprintf(&b, " %v", x.Ports)
			}
			if x.Sidecar {
				b.WriteString(" sidecar")
			}
		}
	case c.Farewell != nil:
		fmt.Fprintf(&b, "farewell %s", c.Farewell.Pod.UID)
		for _, x := range c.Farewell.Exits {
			fmt.Fprintf(&b, ", %s %d %s", x.Name, x.Code, x.Finished.UTC().Format(time.TimeOnly))
			if x.By.Before(x.Told) {
				fmt.Fprintf(&b, " by %s", x.By.UTC().Format("15:04:05.000"))
			}
		}
		if c.Farewell.Gone {
			b.WriteString(", gone")
		}
	case c.Left != nil:
		removal("left", c.Left)
	case c.Retained != nil:
		removal("retained", c.Retained)
	case c.Returned != nil:
		fmt.Fprintf(&b, "returned %s", describeKey(*c.Returned))
	case c.Superseded != nil:
		fmt.Fprintf(&b, "superseded %s", describeKey(*c.Superseded))
	case c.Excluded:
		b.WriteString("excluded")
	}
	return b.String()
}

func describeKey(k ledger.Key) string {
	policy := ""
	if k.Path.Policy == ledger.Local {
		policy = " local"
	}
	return fmt.Sprintf("%s %s/%s%s %s", k.UID, k.Path.Service, k.Path.Service.Protocol, policy, k.Path.Endpoint)
}

func offset(t time.Time) string { return fmt.Sprintf("%+gs", t.Sub(epoch).Seconds()) }
