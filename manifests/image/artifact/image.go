package artifact

import (
	"compress/gzip"
	"fmt"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/lastcall-k8s/lastcall/manifests/image/tarlayer"
)

// What is in the image, and as whom it runs. The hub runs as this user; the chart makes the agent uid 0.
const (
	Entrypoint = "/lastcall"
	sbomPath   = "usr/share/sbom/lastcall.cdx.json" // scanners look for *.cdx.json
	User       = "65532:65532"
)

// Image is the program and its bill of materials, and nothing else: no shell, no libraries, no CA certificates (the
// only server it talks to is the API server, whose CA comes with the service account).
func (b Binary) Image() (v1.Image, error) {
	sbom, err := b.SBOM()
	if err != nil {
		return nil, err
	}
	layer, err := tarlayer.New(b.Time, []tarlayer.Entry{
		{Name: Entrypoint[1:], Mode: 0o755, Body: b.bytes},
		{Name: "usr/", Mode: 0o755}, {Name: "usr/share/", Mode: 0o755}, {Name: "usr/share/sbom/", Mode: 0o755},
		{Name: sbomPath, Mode: 0o644, Body: sbom},
	}, tarball.WithMediaType(types.OCILayer), tarball.WithCompressionLevel(gzip.BestCompression), tarball.WithCompressedCaching)
	if err != nil {
		return nil, err
	}
	image, err := mutate.AppendLayers(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON), layer)
	if err != nil {
		return nil, fmt.Errorf("image for %s: %w", b.Arch, err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("image for %s: %w", b.Arch, err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Created = "linux", b.Arch, v1.Time{Time: b.Time}
	config.Config = v1.Config{Entrypoint: []string{Entrypoint}, User: User, WorkingDir: "/", Labels: b.Labels()}
	config.History = []v1.History{{Created: v1.Time{Time: b.Time}, CreatedBy: "manifests/image"}}
	if image, err = mutate.ConfigFile(image, config); err != nil {
		return nil, fmt.Errorf("image for %s: %w", b.Arch, err)
	}
	return mutate.Annotations(image, b.Labels()).(v1.Image), nil
}

// Labels are https://github.com/opencontainers/image-spec/blob/main/annotations.md.
func (b Binary) Labels() map[string]string {
	const source = "https://" + Module
	labels := map[string]string{
		"title":         "lastcall",
		"description":   "Measures when everyone has let go of a terminating pod",
		"url":           source,
		"source":        source,
		"documentation": source + "/blob/main/docs/install.md",
		"licenses":      "Apache-2.0",
		"version":       b.Tag(),
		"created":       b.Time.Format(time.RFC3339),
	}
	if b.Revision != "" {
		labels["revision"] = b.Revision
	}
	full := map[string]string{}
	for k, v := range labels {
		full["org.opencontainers.image."+k] = v
	}
	return full
}
