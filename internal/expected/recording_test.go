//go:build linux

package expected

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/lastcall-k8s/lastcall/ledger"
)

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

// line writes a path and its frontends as recordings have it: "local ns/name:port/tcp 10.0.0.1:80 via 10.96.0.1:80 *:30080".
func line(r ledger.Removal) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s/%s %s via", r.Path.Policy, r.Path.Service, r.Path.Service.Protocol, r.Path.Endpoint)
	for _, f := range r.Frontends {
		b.WriteString(" " + frontend(f))
	}
	return b.String()
}

func frontend(f ledger.Frontend) string {
	if f.Addr.IsValid() {
		return netip.AddrPortFrom(f.Addr, f.Port).String()
	}
	return "*:" + strconv.Itoa(int(f.Port))
}
