//go:build linux

package expected

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	corev1 "k8s.io/api/core/v1"
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
	{testbed.IPTablesLegacy, "zone-c"},
}

var families = []ledger.Family{ledger.IPv4, ledger.IPv6}

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
			ns := freshnet.New(t, "nft", "iptables-nft-restore", "iptables-legacy-restore")
			for _, f := range families {
				if s.mode == testbed.NFTables {
					ns.Exec(t, sections[string(f)], "nft", "-f", "-")
				} else {
					ns.Exec(t, sections[string(f)], "env", "XTABLES_LOCKFILE="+filepath.Join(t.TempDir(), "lock"), s.program(f, "-restore"), "-w", "5")
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
