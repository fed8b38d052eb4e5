//go:build linux

package docs

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	yamlutil "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/lastcall-k8s/lastcall/manifests"
)

// TestPrivileges: security.md names every privilege that the chart gives, and no other. install.yaml is what the chart renders
// (manifests.TestInstallYAML).
func TestPrivileges(t *testing.T) {
	text, err := os.ReadFile("../manifests/install.yaml")
	if err != nil {
		t.Fatal(err)
	}
	pods, rights := granted(t, text)
	named(t, "pods", 2, pods)
	named(t, "rights", 4, rights)
}

// TestOptionalPrivileges: likewise what values give that are off by default.
func TestOptionalPrivileges(t *testing.T) {
	helm, err := manifests.Helm(t.Context())
	if err != nil {
		if os.Getenv("REQUIRE_CLUSTER") == "1" {
			t.Fatal(err)
		}
		t.Skip(err, " (REQUIRE_CLUSTER=1 makes this a failure)")
	}
	render := func(sets ...string) (pods, rights []string) {
		args := []string{"template", "lastcall", "../manifests/chart", "-n", system, "--set", "tls.mode=selfSigned"}
		for _, s := range sets {
			args = append(args, "--set", s)
		}
		out, err := exec.CommandContext(t.Context(), helm, args...).Output()
		if err != nil {
			t.Fatal(err)
		}
		return granted(t, out)
	}
	pods, rights := render()
	morePods, moreRights := render("agent.consumers.enabled=true", "agent.consumers.enterPods=true", "sidecars[0].namespace=edge", "sidecars[0].serviceAccount=sidecar")
	without := func(all, some []string) []string {
		return slices.DeleteFunc(all, func(s string) bool { return slices.Contains(some, s) })
	}
	named(t, "optional pods", 2, without(morePods, pods))
	named(t, "optional rights", 4, without(moreRights, rights))
}

const system = "lastcall-system"

// named compares a table of security.md with what the chart gives.
func named(t *testing.T, section string, columns int, want []string) {
	t.Helper()
	text, err := os.ReadFile("security.md")
	if err != nil {
		t.Fatal(err)
	}
	got := rowsOf(t, string(text), section, columns)
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-what the chart gives, +what security.md says):\n%s", section, diff)
	}
}

// rowsOf are the first columns of the table between two marks, joined, and every row gives a reason.
func rowsOf(t *testing.T, text, section string, columns int) (rows []string) {
	t.Helper()
	_, rest, begins := strings.Cut(text, "<!-- "+section+" -->\n")
	table, _, ends := strings.Cut(rest, "<!-- /"+section+" -->")
	if !begins || !ends {
		t.Fatalf("security.md has no section %s", section)
	}
	for i, line := range strings.Split(strings.TrimSpace(table), "\n") {
		cells := strings.Split(strings.Trim(line, "|"), " | ")
		if i < 2 {
			continue // headings
		}
		if len(cells) != columns+1 || strings.TrimSpace(cells[columns]) == "" {
			t.Errorf("no reason: %s", line)
			continue
		}
		rows = append(rows, strings.ReplaceAll(strings.TrimSpace(strings.Join(cells[:columns], " | ")), "`", ""))
	}
	return rows
}

// granted reads privileges off what the chart renders, in the words of security.md.
func granted(t *testing.T, text []byte) (pods, rights []string) {
	t.Helper()
	rules, bound, in := map[string][]rbacv1.PolicyRule{}, map[string][]string{}, map[string]string{}
	for r := yamlutil.NewYAMLReader(bufio.NewReader(bytes.NewReader(text))); ; {
		doc, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		var head metav1.PartialObjectMetadata
		into(t, doc, &head)
		name := strings.TrimPrefix(head.Name, "lastcall-")
		switch head.Kind {
		case "DaemonSet":
			var o appsv1.DaemonSet
			into(t, doc, &o)
			pods = append(pods, ofPod(name, o.Spec.Template.Spec)...)
		case "Deployment":
			var o appsv1.Deployment
			into(t, doc, &o)
			pods = append(pods, ofPod(name, o.Spec.Template.Spec)...)
		case "ClusterRole", "Role":
			var o rbacv1.ClusterRole
			into(t, doc, &o)
			rules[head.Kind+" "+name] = o.Rules
			in[head.Kind+" "+name] = o.Namespace
		case "ClusterRoleBinding", "RoleBinding":
			var o rbacv1.ClusterRoleBinding
			into(t, doc, &o)
			for _, s := range o.Subjects {
				role := o.RoleRef.Kind + " " + strings.TrimPrefix(o.RoleRef.Name, "lastcall-")
				bound[role] = append(bound[role], strings.TrimPrefix(s.Name, "lastcall-"))
			}
		}
	}
	for role, rs := range rules {
		kind, name, _ := strings.Cut(role, " ")
		who := strings.Join(bound[role], ", ")
		if who == "" {
			who = name
		}
		where := map[string]string{"ClusterRole": "cluster", "Role": "namespace"}[kind]
		if kind == "Role" && in[role] != system {
			where = "the sidecars' namespaces"
		}
		for _, r := range rs {
			rights = append(rights, fmt.Sprintf("%s | %s | %s | %s", who, strings.Join(r.Verbs, ", "), objectsOf(r), where))
		}
	}
	return pods, rights
}

func into(t *testing.T, doc []byte, o any) {
	t.Helper()
	if err := yaml.Unmarshal(doc, o); err != nil {
		t.Fatalf("%v\n%s", err, doc)
	}
}

func objectsOf(r rbacv1.PolicyRule) string {
	on := slices.Clone(r.NonResourceURLs)
	for _, g := range r.APIGroups {
		for _, res := range r.Resources {
			if g != "" {
				res += "." + g
			}
			if len(r.ResourceNames) > 0 {
				res += ": " + strings.Join(r.ResourceNames, " ")
			}
			on = append(on, res)
		}
	}
	return strings.Join(on, ", ")
}

// ofPod is what a pod has beyond what the level "restricted" of Pod Security would let it have, and its ports.
func ofPod(who string, p corev1.PodSpec) (rows []string) {
	add := func(has bool, format string, args ...any) {
		if has {
			rows = append(rows, who+" | "+fmt.Sprintf(format, args...))
		}
	}
	add(p.HostNetwork, "hostNetwork")
	add(p.HostPID, "hostPID")
	add(p.HostIPC, "hostIPC")
	add(p.PriorityClassName != "", "priority %s", p.PriorityClassName)
	for _, o := range p.Tolerations {
		add(o.Key == "" && o.Operator == corev1.TolerationOpExists, "toleration of every taint")
	}
	paths := map[string]string{}
	for _, v := range p.Volumes {
		if v.HostPath != nil {
			paths[v.Name] = v.HostPath.Path
		}
	}
	for _, c := range slices.Concat(p.InitContainers, p.Containers) {
		s := c.SecurityContext
		nonRoot := p.SecurityContext.RunAsNonRoot != nil && *p.SecurityContext.RunAsNonRoot && s.RunAsUser == nil
		add(!nonRoot, "uid %d", value(s.RunAsUser))
		add(s.Privileged != nil && *s.Privileged, "privileged")
		add(s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation, "privilege escalation")
		add(s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem, "a root file system to write to")
		add(!slices.Contains(s.Capabilities.Drop, "ALL"), "the runtime's capabilities")
		for _, k := range s.Capabilities.Add {
			add(true, "capability %s", k)
		}
		for _, m := range c.VolumeMounts {
			mode := map[bool]string{true: "read-only", false: "to write"}[m.ReadOnly]
			add(paths[m.Name] != "", "hostPath %s, %s", paths[m.Name], mode)
		}
		for _, port := range c.Ports {
			on := map[bool]string{true: ", on the node"}[port.HostPort != 0]
			add(true, "port %d%s", port.ContainerPort, on)
		}
	}
	return rows
}

func value(uid *int64) int64 {
	if uid == nil {
		return 0
	}
	return *uid
}
