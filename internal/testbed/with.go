//go:build linux

package testbed

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/semver"
)

// What Spec.With can bring.
const (
	Contour = "contour"
	CoreDNS = "coredns"
	HAProxy = "haproxy"
)

// Versions of what Spec.With brings: the newest that the Go module proxy and PyPI serve.
const (
	ContourVersion = "v1.33.8"
	CoreDNSVersion = "v1.15.0"
	EnvoyVersion   = "1.40.0"
)

// guest is something that users run in a cluster beside their workloads, and that sends to endpoints.
type guest struct {
	name    string
	version string // default; "" if it is what the machine has installed
	needs   string // another guest, "" for none
	// missing says whether something is not there yet that build brings.
	missing func(cacheDir, version string) bool
	build   func(ctx context.Context, cacheDir, version string, p *progress) error
	start   func(c *Cluster, ctx context.Context, version string) error
	// pods are where its own pods are: namespace and label selector.
	pods []podSet
}

type podSet struct{ namespace, selector string }

// guests in the order in which they are started.
var guests = []guest{
	{name: CoreDNS, version: CoreDNSVersion, missing: moduleMissing(CoreDNS), build: buildCoreDNS, start: (*Cluster).startCoreDNS,
		pods: []podSet{{"kube-system", "k8s-app=kube-dns"}}},
	{name: Contour, version: ContourVersion, missing: contourMissing, build: buildContour, start: (*Cluster).startContour,
		pods: []podSet{{"projectcontour", "app=contour"}, {"projectcontour", "app=envoy"}}},
	{name: HAProxy, needs: CoreDNS, missing: haproxyMissing, build: installHAProxy, start: (*Cluster).startHAProxy,
		pods: []podSet{{"haproxy", "app=haproxy"}}},
}

// ParseWith reads a list like "contour,coredns@v1.15.0".
func ParseWith(text string) ([]string, error) {
	if text == "" {
		return nil, nil
	}
	items := strings.Split(text, ",")
	_, err := withVersions(items)
	return items, err
}

// withVersions checks a list of guests, and gives each the version it has by default.
func withVersions(items []string) (all []string, err error) {
	var errs []error
	names := map[string]bool{}
	for _, item := range items {
		name, version, given := strings.Cut(strings.TrimSpace(item), "@")
		i := slices.IndexFunc(guests, func(g guest) bool { return g.name == name })
		switch {
		case i < 0:
			errs = append(errs, fmt.Errorf("with %q: want contour, coredns or haproxy, each with @VERSION if need be", item))
			continue
		case names[name]:
			errs = append(errs, fmt.Errorf("with %s: given twice", name))
			continue
		case given && guests[i].version == "":
			errs = append(errs, fmt.Errorf("with %s: its version is that of the package on this machine", item))
		case given && semver.Canonical(version) != version:
			errs = append(errs, fmt.Errorf("with %s: want a full version like %s", item, guests[i].version))
		case !given:
			version = guests[i].version
		}
		names[name] = true
		if version != "" {
			name += "@" + version
		}
		all = append(all, name)
	}
	for _, g := range guests {
		if names[g.name] && g.needs != "" && !names[g.needs] {
			errs = append(errs, fmt.Errorf("with %s: it finds its servers through %s: --with %s,%s", g.name, g.needs, g.needs, g.name))
		}
	}
	slices.Sort(all)
	return all, errors.Join(errs...)
}

// has says whether the spec asks for a guest, and in which version.
func (s Spec) has(name string) (version string, ok bool) {
	for _, item := range s.With {
		if n, v, _ := strings.Cut(item, "@"); n == name {
			return v, true
		}
	}
	return "", false
}

// missingGuests lists those that are not in the cache yet.
func missingGuests(spec Spec) (missing []guest) {
	for _, g := range guests {
		if version, ok := spec.has(g.name); ok && g.missing(spec.CacheDir, version) {
			missing = append(missing, g)
		}
	}
	return missing
}

// buildGuests fills the cache; the caller holds its lock.
func buildGuests(ctx context.Context, spec Spec, p *progress) error {
	for _, g := range missingGuests(spec) {
		version, _ := spec.has(g.name)
		if err := g.build(ctx, spec.CacheDir, version, p); err != nil {
			return fmt.Errorf("--with %s: %w", g.name, err)
		}
	}
	return nil
}

// GuestsReady waits until all that Spec.With brought is as it should: after a change to it, for example.
func (c *Cluster) GuestsReady(ctx context.Context) error {
	for _, g := range guests {
		if _, ok := c.Spec.has(g.name); !ok {
			continue
		}
		err := waitFor(ctx, "the pods of "+g.name, 2*time.Minute, func(ctx context.Context) error { return c.guestReady(ctx, g) }, nil)
		if err != nil {
			return err
		}
	}
	return nil
}

// startGuests returns when every pod of theirs is ready.
func (c *Cluster) startGuests(ctx context.Context, p *progress) error {
	for _, g := range guests {
		version, ok := c.Spec.has(g.name)
		if !ok {
			continue
		}
		if err := g.start(c, ctx, version); err != nil {
			return fmt.Errorf("starting %s: %w", g.name, err)
		}
		err := waitFor(ctx, "the pods of "+g.name, 2*time.Minute, func(ctx context.Context) error { return c.guestReady(ctx, g) }, nil)
		if err != nil {
			return err
		}
		p.say("%s is ready", strings.TrimSpace(g.name+" "+version))
	}
	return nil
}

// guestDir is where what is built of a guest is kept.
func guestDir(cacheDir, name, version string) string {
	return filepath.Join(cacheDir, "guests", name+"-"+version)
}
