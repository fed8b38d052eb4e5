package artifact

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Index is one image for all architectures of the binaries.
func Index(binaries []Binary) (v1.ImageIndex, error) {
	if len(binaries) == 0 {
		return nil, errors.New("no binary to make an image of")
	}
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for i, b := range binaries {
		if b.Tag() != binaries[0].Tag() || b.Revision != binaries[0].Revision {
			return nil, fmt.Errorf("the binaries are of different versions: %s and %s", binaries[0].Version, b.Version)
		}
		for _, other := range binaries[:i] {
			if other.Arch == b.Arch {
				return nil, fmt.Errorf("two binaries for %s", b.Arch)
			}
		}
		image, err := b.Image()
		if err != nil {
			return nil, err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image,
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: b.Arch}}})
	}
	return mutate.Annotations(index, binaries[0].Labels()).(v1.ImageIndex), nil
}

// WriteArchive writes an OCI image layout as a tar archive: skopeo calls it oci-archive, and containerd imports it under
// the name in its annotations. The layout is that of docker buildx: index.json names one index.
func WriteArchive(path, ref string, index v1.ImageIndex) error {
	tag, err := name.NewTag(ref)
	if err != nil {
		return fmt.Errorf("image name: %w", err)
	}
	dir, err := os.MkdirTemp("", "lastcall-image-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	l, err := layout.Write(dir, empty.Index)
	if err != nil {
		return fmt.Errorf("write image %s: %w", ref, err)
	}
	if err := l.AppendIndex(index, layout.WithAnnotations(map[string]string{
		"io.containerd.image.name":          tag.Name(),
		"org.opencontainers.image.ref.name": tag.TagStr(),
	})); err != nil {
		return fmt.Errorf("write image %s: %w", ref, err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return tarDir(path, dir)
}

// tarDir writes a directory as a tar archive, in lexical order and without times and owners.
func tarDir(path, dir string) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := tar.NewWriter(f)
	err = filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil || file == dir {
			return err
		}
		inside, err := filepath.Rel(dir, file)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: inside + "/", Mode: 0o755})
		}
		return tarFile(w, file, inside)
	})
	return errors.Join(err, w.Close())
}

func tarFile(w *tar.Writer, file, inside string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: inside, Mode: 0o644, Size: info.Size()}); err != nil {
		return err
	}
	_, err = io.Copy(w, f)
	return err
}
