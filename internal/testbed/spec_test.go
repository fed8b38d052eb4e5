//go:build linux

package testbed

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestParseNodes(t *testing.T) {
	for _, tt := range []struct {
		text   string
		want   []NodeSpec
		format string // of want, if not text
	}{
		{text: "", want: nil},
		{text: "nftables", want: []NodeSpec{{Mode: NFTables}}},
		{text: "nftables,iptables-nft@v1.35.4", want: []NodeSpec{{Mode: NFTables}, {Mode: IPTablesNFT, Version: "v1.35.4"}}},
		{text: "2*iptables-legacy, nftables", want: []NodeSpec{{Mode: IPTablesLegacy}, {Mode: IPTablesLegacy}, {Mode: NFTables}}, format: "2*iptables-legacy,nftables"},
		{text: "2*nftables@v1.34.4", want: []NodeSpec{{NFTables, "v1.34.4"}, {NFTables, "v1.34.4"}}},
	} {
		got, err := ParseNodes(tt.text)
		if err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("ParseNodes(%q) = %v, %v, want %v", tt.text, got, err, tt.want)
		}
		format := tt.format
		if format == "" {
			format = tt.text
		}
		if got := FormatNodes(tt.want); got != format {
			t.Errorf("FormatNodes(%v) = %q, want %q", tt.want, got, format)
		}
	}
	for _, text := range []string{"ipvs", "nftables,", "nftables@1.35", "nftables@v1.35", "-1*nftables", "999*nftables", "99999999999999999999*nftables"} {
		if got, err := ParseNodes(text); err == nil {
			t.Errorf("ParseNodes(%q) = %v, want an error", text, got)
		}
	}
}

func TestSpecReportsAllMistakesAtOnce(t *testing.T) {
	_, err := Spec{
		Name: "Not A Name", Version: "1.36", Dir: "/" + strings.Repeat("d", 100), CacheDir: "/c",
		Nodes: []NodeSpec{{NFTables, "v1.20.0"}},
	}.withDefaults()
	for _, part := range []string{`"Not A Name"`, `"1.36"`, `"v1.20.0"`, "too long"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("error %v does not mention %s", err, part)
		}
	}
}

func TestDefaultSpecIsValid(t *testing.T) {
	spec, err := Spec{CacheDir: "/c"}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	nodes := spec.plan()
	if len(nodes) != 2 || nodes[0].Name != "node-1" || nodes[1].IP != "172.31.1.2" || nodes[1].PodCIDR != "10.244.2.0/24" || nodes[0].Version != DefaultVersion {
		t.Errorf("plan of the default spec: %+v", nodes)
	}
}

// A wrong name or directory must never make down delete what is not ours.
func TestDownTouchesOnlyClusters(t *testing.T) {
	dir := t.TempDir()
	precious := filepath.Join(dir, "precious", "file")
	for _, path := range []string{filepath.Dir(precious), filepath.Join(dir, "clusters")} {
		if err := os.Mkdir(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write := func(path, text string) {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(precious, "")
	for _, tt := range []struct{ dir, name string }{
		{dir, "precious"}, // no cluster.json
		{filepath.Join(dir, "clusters"), "../precious"},  // not a name
		{filepath.Join(dir, "clusters"), "../../" + dir}, // not a name
	} {
		if err := Down(t.Context(), tt.dir, tt.name, t.Output()); err == nil {
			t.Errorf("Down(%q, %q) succeeded", tt.dir, tt.name)
		}
	}
	if err := makeDir(filepath.Dir(precious)); err == nil {
		t.Error("a cluster would move into a directory that is not empty")
	}
	write(filepath.Join(dir, "precious", "cluster.json"), `{"Spec": {"Name": "precious", "Dir": "/elsewhere"}}`)
	if err := Down(t.Context(), dir, "precious", t.Output()); err == nil {
		t.Error("Down of another directory's cluster.json succeeded")
	}
	if _, err := os.Stat(precious); err != nil {
		t.Errorf("the file is gone: %v", err)
	}
}

func TestDualStackPlan(t *testing.T) {
	spec := Spec{Version: DefaultVersion, DualStack: true, Nodes: make([]NodeSpec, maxNodes), Thin: make([]NodeSpec, maxNodes)}
	seen := map[string]bool{}
	wire := netip.MustParsePrefix(controlPlaneIP6 + "/64")
	pods := netip.MustParsePrefix(clusterCIDR6)
	for _, n := range spec.plan() {
		addr, cidr := netip.MustParseAddr(n.IP6), netip.MustParsePrefix(n.PodCIDR6)
		if !wire.Contains(addr) || seen[n.IP6] || n.IP6 == controlPlaneIP6 {
			t.Errorf("%s: address %s is off the wire %s, or not its own", n.Name, n.IP6, wire)
		}
		if pods.Contains(cidr.Addr()) == n.Thin || cidr.Masked() != cidr || seen[n.PodCIDR6] {
			t.Errorf("%s: pods at %s", n.Name, n.PodCIDR6)
		}
		seen[n.IP6], seen[n.PodCIDR6] = true, true
	}
	if n := (Spec{Nodes: make([]NodeSpec, 1)}).plan()[0]; n.IP6 != "" || n.PodCIDR6 != "" {
		t.Errorf("%+v has IPv6 addresses in a cluster without", n)
	}
}
