//go:build linux

package testbed

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/mod/semver"
)

// Defaults of Spec.
const (
	DefaultName    = "lastcall"
	DefaultVersion = "v1.36.3"
	DefaultDir     = "/run/lastcall-testbed"
)

// Spec says what cluster to run. The zero value is the default cluster: two
// nodes, one in nftables mode, one on iptables-nft.
type Spec struct {
	Name     string // clusters of different names do not see each other
	Dir      string // state lives in Dir/Name
	CacheDir string // built components, see Components
	Version  string // of Kubernetes, like v1.36.3

	Nodes []NodeSpec
	Thin  []NodeSpec // namespace, kube-proxy and Node object, no kubelet

	// KubeProxy are settings of every kube-proxy's configuration, written
	// FIELD=VALUE, like "nftables.minSyncPeriod=10s" or "featureGates.X=true".
	KubeProxy []string
	Verbosity int // -v of every Kubernetes component
	Port      int // of the API server on 127.0.0.1, 0 picks one

	// DualStack gives nodes, pods and Services IPv6 addresses beside the others. IPv4 comes first, and a
	// Service has to ask for more.
	DualStack bool `json:",omitempty"`

	// With are ingress controllers, DNS servers and proxies that run in the cluster as users run them: contour, coredns and
	// haproxy, each with @VERSION if need be. See with.go.
	With []string `json:",omitempty"`

	// Audit keeps a log of what service accounts ask of the API server, see Cluster.Audit.
	Audit bool `json:",omitempty"`
}

// NodeSpec is one node: how its kube-proxy programs rules, and optionally a
// version of kube-proxy other than the cluster's.
type NodeSpec struct {
	Mode    Mode
	Version string `json:",omitempty"`
}

// Mode is a kube-proxy mode; iptables is split by backend.
type Mode string

const (
	NFTables       Mode = "nftables"
	IPTablesNFT    Mode = "iptables-nft"
	IPTablesLegacy Mode = "iptables-legacy"
)

var modes = []Mode{NFTables, IPTablesNFT, IPTablesLegacy}

// proxyMode is kube-proxy's own word for it.
func (m Mode) proxyMode() string {
	if m == NFTables {
		return "nftables"
	}
	return "iptables"
}

// xtables is the program that iptables, iptables-save and the others are links
// to on such a node. A node in nftables mode has them too: the kubelet leaves
// its hint chains with iptables whatever kube-proxy does.
func (m Mode) xtables() string {
	if m == IPTablesLegacy {
		return "xtables-legacy-multi"
	}
	return "xtables-nft-multi"
}

var nodePattern = regexp.MustCompile(`^(?:(\d+)\*)?([a-z-]+)(?:@(v\d+\.\d+\.\d+))?$`)

// ParseNodes reads a list like "nftables,2*iptables-nft@v1.35.4".
func ParseNodes(text string) ([]NodeSpec, error) {
	var nodes []NodeSpec
	if text == "" {
		return nil, nil
	}
	for item := range strings.SplitSeq(text, ",") {
		m := nodePattern.FindStringSubmatch(strings.TrimSpace(item))
		if m == nil || !slices.Contains(modes, Mode(m[2])) {
			return nil, fmt.Errorf("node %q: want [N*]MODE[@vX.Y.Z] with MODE one of %s, %s, %s", item, modes[0], modes[1], modes[2])
		}
		count := 1
		if m[1] != "" {
			n, err := strconv.Atoi(m[1])
			if err != nil || n > maxNodes {
				return nil, fmt.Errorf("node %q: at most %d nodes", item, maxNodes)
			}
			count = n
		}
		for range count {
			nodes = append(nodes, NodeSpec{Mode: Mode(m[2]), Version: m[3]})
		}
	}
	return nodes, nil
}

// FormatNodes is the inverse of ParseNodes.
func FormatNodes(nodes []NodeSpec) string {
	var items []string
	for i := 0; i < len(nodes); {
		n := i
		for n < len(nodes) && nodes[n] == nodes[i] {
			n++
		}
		item := string(nodes[i].Mode)
		if nodes[i].Version != "" {
			item += "@" + nodes[i].Version
		}
		if n-i > 1 {
			item = fmt.Sprintf("%d*%s", n-i, item)
		}
		items = append(items, item)
		i = n
	}
	return strings.Join(items, ",")
}

var namePattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$`)

// withDefaults fills in what was left out.
func (s Spec) withDefaults() (Spec, error) {
	if s.Name == "" {
		s.Name = DefaultName
	}
	if s.Dir == "" {
		s.Dir = DefaultDir
	}
	if s.Version == "" {
		s.Version = DefaultVersion
	}
	if len(s.Nodes) == 0 {
		s.Nodes = []NodeSpec{{Mode: NFTables}, {Mode: IPTablesNFT}}
	}
	if s.CacheDir == "" {
		dir, err := DefaultCacheDir()
		if err != nil {
			return s, err
		}
		s.CacheDir = dir
	}
	with, errWith := withVersions(s.With)
	s.With = with
	var errDir, errCache error
	s.Dir, errDir = filepath.Abs(s.Dir)
	s.CacheDir, errCache = filepath.Abs(s.CacheDir)
	return s, errors.Join(errDir, errCache, errWith, s.validate())
}

func (s Spec) validate() error {
	var errs []error
	if !namePattern.MatchString(s.Name) {
		errs = append(errs, fmt.Errorf("name %q: want lower case letters, digits and dashes, at most 32", s.Name))
	}
	for _, v := range s.versions() {
		if semver.Canonical(v) != v || semver.Compare(v, "v1.34.0") < 0 {
			errs = append(errs, fmt.Errorf("version %q: want a full version like %s, at least v1.34", v, DefaultVersion))
		}
	}
	if len(s.Nodes) > maxNodes || len(s.Thin) > maxNodes {
		errs = append(errs, fmt.Errorf("%d nodes and %d thin nodes: at most %d of each", len(s.Nodes), len(s.Thin), maxNodes))
	}
	if err := applySettings(map[string]any{}, s.KubeProxy); err != nil {
		errs = append(errs, err)
	}
	// The longest socket we put there must fit into sockaddr_un.
	if socket := filepath.Join(s.Dir, s.Name, controlPlane, holderSocket); len(socket) > 100 {
		errs = append(errs, fmt.Errorf("directory %s is too long for a Unix socket in it", s.Dir))
	}
	return errors.Join(errs...)
}

// joined lists a value of each family that the cluster has, as flags take it.
func (s Spec) joined(v4, v6 string) string {
	if !s.DualStack {
		return v4
	}
	return v4 + "," + v6
}

// versions lists every version of Kubernetes the spec needs, the cluster's first.
func (s Spec) versions() []string {
	all := []string{s.Version}
	for _, n := range slices.Concat(s.Nodes, s.Thin) {
		if n.Version != "" && !slices.Contains(all, n.Version) {
			all = append(all, n.Version)
		}
	}
	return all
}

// DefaultCacheDir is where built components are kept: $LASTCALL_TESTBED_CACHE
// or lastcall/testbed in the user's cache directory.
func DefaultCacheDir() (string, error) {
	if dir := os.Getenv("LASTCALL_TESTBED_CACHE"); dir != "" {
		return dir, nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("finding a cache directory (set LASTCALL_TESTBED_CACHE or --cache-dir): %w", err)
	}
	return filepath.Join(dir, "lastcall", "testbed"), nil
}
