//go:build linux

package testbed

import (
	"context"
	_ "embed"
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

func buildCoreDNS(ctx context.Context, cacheDir, version string, p *progress) error {
	return inGuestDir(cacheDir, "coredns", version, func(dir string) error {
		const module = "github.com/coredns/coredns"
		_, err := buildModule(ctx, dir, "coredns", module, module, version, "", p)
		return err
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
