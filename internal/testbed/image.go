//go:build linux

package testbed

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/lastcall-k8s/lastcall/manifests/image/tarlayer"
)

// Images every node has. There is no registry: pods say
// imagePullPolicy: Never.
const (
	PauseImage  = "testbed.local/pause:1"
	ServerImage = "testbed.local/server:1" // see server/main.go for its flags
)

// Image is something to load on nodes.
type Image struct {
	Name  string // with a registry host, like testbed.local/server:1
	image v1.Image
}

// ImageFromBinary makes an image of one static binary, which is its
// entrypoint, /NAME with NAME the file's base name; links are further paths to
// the same file. Equal bytes make an equal image.
func ImageFromBinary(ref, path string, links ...string) (Image, error) {
	binary, err := os.ReadFile(path)
	if err != nil {
		return Image{}, fmt.Errorf("making image %s: %w", ref, err)
	}
	return imageFromBytes(ref, filepath.Base(path), binary, links)
}

func imageFromBytes(ref, base string, binary []byte, links []string, more ...tarlayer.Entry) (Image, error) {
	files, err := layer(base, binary, links, more)
	if err != nil {
		return Image{}, fmt.Errorf("making image %s: %w", ref, err)
	}
	image, err := mutate.AppendLayers(empty.Image, files)
	if err != nil {
		return Image{}, fmt.Errorf("making image %s: %w", ref, err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		return Image{}, fmt.Errorf("making image %s: %w", ref, err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", runtime.GOARCH
	config.Config.Entrypoint = []string{"/" + base}
	config.Config.Env = []string{"PATH=/bin:/"}
	image, err = mutate.ConfigFile(image, config)
	if err != nil {
		return Image{}, fmt.Errorf("making image %s: %w", ref, err)
	}
	return Image{Name: ref, image: image}, nil
}

func layer(base string, binary []byte, links []string, more []tarlayer.Entry) (v1.Layer, error) {
	entries := []tarlayer.Entry{{Name: "bin/", Mode: 0o755}, {Name: "etc/", Mode: 0o755}, {Name: "tmp/", Mode: 0o755}, {Name: base, Mode: 0o755, Body: binary}}
	for _, link := range links {
		entries = append(entries, tarlayer.Entry{Name: link, Mode: 0o777, Link: "/" + base})
	}
	return tarlayer.New(time.Unix(0, 0), append(entries, more...))
}

// write stores the image as what `ctr images import` reads.
func (i Image) write(path string) error {
	ref, err := name.NewTag(i.Name)
	if err != nil {
		return fmt.Errorf("image name %q: %w", i.Name, err)
	}
	if err := tarball.WriteToFile(path, ref, i.image); err != nil {
		return fmt.Errorf("writing image %s: %w", i.Name, err)
	}
	return nil
}

// baseImages are what every node starts with.
func baseImages(ctx context.Context, cacheDir string) ([]Image, error) {
	var images []Image
	for _, b := range []struct {
		ref, program string
		links        []string
	}{
		{PauseImage, "pause", nil},
		{ServerImage, "server", []string{"bin/sleep"}},
	} {
		path, err := program(ctx, cacheDir, b.program)
		if err != nil {
			return nil, err
		}
		binary, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		image, err := imageFromBytes(b.ref, b.program, binary, b.links)
		if err != nil {
			return nil, err
		}
		images = append(images, image)
	}
	return images, nil
}
