//go:build linux

package testbed

import (
	"context"
	_ "embed"
	"errors"
	"os"
	"path/filepath"
	"strings"
)

// CoreDNS is the cluster's DNS as kubeadm installs it: two replicas behind the Service kube-dns, whose address the
// kubelets give to pods.

const (
	corednsImage  = "testbed.local/coredns:1"
	dnsIP         = "10.96.0.10"
	clusterDomain = "cluster.local"
)

//go:embed with/coredns.yaml
var corednsYAML string

// corednsMain has the plugins that our Corefile asks for. Upstream's own main has those for clouds too, which take 4 of the 5 minutes
// of its build; a main of one's own is how plugins are chosen there.
const corednsMain = `package main

import (
	"github.com/coredns/coredns/coremain"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/loadbalance"
	_ "github.com/coredns/coredns/plugin/metrics"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/reload"
)

func main() { coremain.Run() }
`

func buildCoreDNS(ctx context.Context, cacheDir, version string, p *progress) error {
	return inGuestDir(cacheDir, "coredns", version, func(dir string) error {
		return building(p, "coredns", version, func() error {
			source := filepath.Join(dir, "source")
			if err := os.Mkdir(source, 0o755); err != nil {
				return err
			}
			defer os.RemoveAll(source)
			gomod := "module lastcall.test/coredns\n\ngo 1.26\n\nrequire github.com/coredns/coredns " + version + "\n"
			err := errors.Join(
				os.WriteFile(filepath.Join(source, "go.mod"), []byte(gomod), 0o644),
				os.WriteFile(filepath.Join(source, "main.go"), []byte(corednsMain), 0o644))
			if err != nil {
				return err
			}
			_, err = runGo(ctx, source, "build", "-buildvcs=false", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(dir, "coredns"), ".")
			return err
		})
	})
}

func (c *Cluster) startCoreDNS(ctx context.Context, version string) error {
	image, err := ImageFromBinary(corednsImage, filepath.Join(guestDir(c.Spec.CacheDir, "coredns", version), "coredns"))
	if err != nil {
		return err
	}
	if err := c.LoadImage(ctx, image); err != nil {
		return err
	}
	return c.Apply(ctx, strings.NewReplacer("COREDNS_IMAGE", corednsImage, "DNS_IP", dnsIP, "CLUSTER_DOMAIN", clusterDomain).Replace(corednsYAML))
}
