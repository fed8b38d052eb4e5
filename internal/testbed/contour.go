//go:build linux

package testbed

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Contour, an ingress controller, with a real Envoy on every node, in the namespace projectcontour as its own manifests
// have it. Envoy listens on port 8080 of its pods and on port 80 of the Service envoy, once an Ingress or an HTTPProxy is there.

const (
	contourImage = "testbed.local/contour:1"
	envoyImage   = "testbed.local/envoy:1"
	contourIP    = "10.96.0.11" // of its Service, so that Envoys need no DNS
)

//go:embed with/contour.yaml
var contourYAML string

// contourFiles are those of the module's own manifests that are applied as they are: namespace and service accounts,
// custom resources, rights.
var contourFiles = []string{"00-common.yaml", "01-crds.yaml", "02-rbac.yaml", "02-role-contour.yaml"}

func contourMissing(cacheDir, version string) bool {
	return moduleMissing("contour")(cacheDir, version) || moduleMissing("envoy")(cacheDir, EnvoyVersion)
}

func buildContour(ctx context.Context, cacheDir, version string, p *progress) error {
	// Envoy first: that is what may not be had, and it takes seconds to know.
	if moduleMissing("envoy")(cacheDir, EnvoyVersion) {
		err := inGuestDir(cacheDir, "envoy", EnvoyVersion, func(dir string) error { return fetchEnvoy(ctx, dir, EnvoyVersion, p) })
		if err != nil {
			return err
		}
	}
	if !moduleMissing("contour")(cacheDir, version) {
		return nil
	}
	return inGuestDir(cacheDir, "contour", version, func(dir string) error {
		const module = "github.com/projectcontour/contour"
		source, err := moduleSource(ctx, module, version)
		if err != nil {
			return err
		}
		err = building(p, "contour", version, func() error {
			return installModule(ctx, dir, module+"/cmd/contour", version, "-X "+module+"/internal/build.Version="+version)
		})
		if err != nil {
			return err
		}
		var all [][]byte
		for _, name := range contourFiles {
			text, err := os.ReadFile(filepath.Join(source, "examples/contour", name))
			if err != nil {
				return fmt.Errorf("contour's manifests: %w", err)
			}
			all = append(all, text)
		}
		return os.WriteFile(filepath.Join(dir, "manifests.yaml"), bytes.Join(all, []byte("\n---\n")), 0o644)
	})
}

func (c *Cluster) startContour(ctx context.Context, version string) error {
	dir := guestDir(c.Spec.CacheDir, "contour", version)
	theirs, err := os.ReadFile(filepath.Join(dir, "manifests.yaml"))
	if err != nil {
		return err
	}
	contour, errContour := ImageFromBinary(contourImage, filepath.Join(dir, "contour"))
	envoy, errEnvoy := imageFromProgram(ctx, envoyImage, filepath.Join(guestDir(c.Spec.CacheDir, "envoy", EnvoyVersion), "envoy"))
	if err := errors.Join(errContour, errEnvoy); err != nil {
		return err
	}
	if err := errors.Join(c.LoadImage(ctx, contour), c.LoadImage(ctx, envoy)); err != nil {
		return err
	}
	if err := c.Apply(ctx, string(theirs)); err != nil {
		return err
	}
	return c.Apply(ctx, strings.NewReplacer("CONTOUR_IMAGE", contourImage, "ENVOY_IMAGE", envoyImage, "CONTOUR_IP", contourIP).Replace(contourYAML))
}
