//go:build linux

package testbed

import (
	"context"
	_ "embed"
	"errors"
	"strings"
)

// HAProxy is the one of this machine's distribution, in a pod: a plain server-template on a headless Service, which it
// resolves through the cluster's DNS, as many use it without any controller. It listens on port 8080 of its pod and on port 80
// of its Service, both called haproxy; on 8081 it opens a connection to a pod for each request. Its runtime socket is
// admin.sock on the volume "run".

const haproxyImage = "testbed.local/haproxy:1"

// HAProxyBackend is the headless Service whose pods HAProxy sends to, on port 8080; it need not be there at its start.
const HAProxyBackend = "web.default.svc." + clusterDomain

//go:embed with/haproxy.yaml
var haproxyYAML string

func haproxyMissing(string, string) bool { return lookPath("haproxy") == "" }

// installHAProxy builds nothing: how to install a package is the machine's business.
func installHAProxy(context.Context, string, string, *progress) error {
	return errors.New("HAProxy comes from the distribution, and there is none on this machine: apt-get install haproxy")
}

func (c *Cluster) startHAProxy(ctx context.Context, _ string) error {
	image, err := imageFromProgram(ctx, haproxyImage, lookPath("haproxy"))
	if err != nil {
		return err
	}
	if err := c.LoadImage(ctx, image); err != nil {
		return err
	}
	return c.Apply(ctx, strings.NewReplacer("HAPROXY_IMAGE", haproxyImage, "DNS_IP", dnsIP, "BACKEND", HAProxyBackend).Replace(haproxyYAML))
}
