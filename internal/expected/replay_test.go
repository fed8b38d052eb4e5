//go:build linux

package expected

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/lastcall-k8s/lastcall/internal/freshnet"
	"github.com/lastcall-k8s/lastcall/internal/testbed"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// modes are those of the nodes, in order.
var modes = []struct {
	mode testbed.Mode
	zone string
}{
	{testbed.NFTables, "zone-a"},
	{testbed.IPTablesNFT, "zone-b"},
}

var families = []ledger.Family{ledger.IPv4, ledger.IPv6}

// record writes what a site routes to testdata/VERSION-MODE.txtar: its Node, each family's rules as the node's tool
// writes them, the paths that are routed and those that are not.
func (s site) record(t *testing.T, routed, not []ledger.Removal) {
	t.Helper()
	node, err := yaml.Marshal(&corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: s.node.Name, Labels: map[string]string{corev1.LabelTopologyZone: s.node.Labels[corev1.LabelTopologyZone]}},
		Spec:       corev1.NodeSpec{PodCIDR: s.node.Spec.PodCIDR, PodCIDRs: s.node.Spec.PodCIDRs},
		Status:     corev1.NodeStatus{Addresses: s.node.Status.Addresses},
	})
	if err != nil {
		t.Fatal(err)
	}
	ar := &txtar.Archive{Comment: fmt.Appendf(nil, "kube-proxy %s in mode %s, recorded on the testbed with the objects in objects.yaml.\n", s.version, s.mode)}
	add := func(name, text string) { ar.Files = append(ar.Files, txtar.File{Name: name, Data: []byte(text)}) }
	add("node", string(node))
	for _, f := range families {
		text, err := s.dump(f)
		if err != nil {
			t.Fatal(err)
		}
		add(string(f), plain(text))
	}
	add("routed", lines(routed))
	add("not routed", lines(not))
	if err := os.WriteFile(filepath.Join("testdata", s.version+"-"+string(s.mode)+".txtar"), txtar.Format(ar), 0o644); err != nil {
		t.Fatal(err)
	}
}

// plain leaves out what differs from run to run and means nothing, times and counters; and the match nfacct, which
// counts and decides nothing, and needs counters that a fresh namespace does not have.
func plain(text string) string {
	text = nfacct.ReplaceAllString(text, "")
	var b strings.Builder
	for l := range strings.Lines(text) {
		if strings.HasPrefix(l, "#") {
			continue
		}
		if strings.HasPrefix(l, ":") {
			name, _, _ := strings.Cut(l, "[")
			l = name + "[0:0]\n"
		}
		b.WriteString(l)
	}
	return b.String()
}

var nfacct = regexp.MustCompile(` -m nfacct --nfacct-name +\S+`)

func lines(paths []ledger.Removal) string {
	var b strings.Builder
	for _, r := range paths {
		b.WriteString(line(r) + "\n")
	}
	return b.String()
}

// TestReplay loads each recording into a fresh network namespace. The watcher must expect what was recorded as
// routed, from the same objects, and the kernel must route that and nothing else.
func TestReplay(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no recordings", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txtar")
		t.Run(name, func(t *testing.T) {
			ar, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			sections := map[string]string{}
			for _, f := range ar.Files {
				sections[f.Name] = string(f.Data)
			}
			s := site{node: &corev1.Node{}}
			version, mode, _ := strings.Cut(name, "-")
			s.version, s.mode = version, testbed.Mode(mode)
			if err := yaml.UnmarshalStrict([]byte(sections["node"]), s.node); err != nil {
				t.Fatal(err)
			}
			ns := freshnet.New(t, "nft", "iptables-nft-restore")
			for _, f := range families {
				if s.mode == testbed.NFTables {
					ns.Exec(t, sections[string(f)], "nft", "-f", "-")
				} else {
					ns.Exec(t, sections[string(f)], s.program(f, "-restore"))
				}
			}
			s.exec = func(name string, args ...string) (string, error) { return ns.Exec(t, "", name, args...), nil }
			s.enter = ns.Do
			routed, not, err := s.check(fixture(t))
			if err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(sections["routed"], lines(routed)); diff != "" {
				t.Errorf("expected paths (-recorded +now):\n%s", diff)
			}
			if diff := cmp.Diff(sections["not routed"], lines(not)); diff != "" {
				t.Errorf("conceivable paths that are not expected (-recorded +now):\n%s", diff)
			}
		})
	}
}
