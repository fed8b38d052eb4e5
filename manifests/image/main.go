// Command image builds lastcall's container image without a container engine.
//
//	go run ./manifests/image                                 dist/lastcall.oci.tar, for amd64 and arm64
//	go run ./manifests/image -push registry.example/me/lastcall:dev
//	go run ./manifests/image -arch amd64 -ref registry.example/me/lastcall:dev -o /tmp/lastcall.oci.tar
//
// Beside the archive it writes one bill of materials (CycloneDX) an architecture, which is in the image too. The same
// commit and the same Go make the same digest on every machine.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/lastcall-k8s/lastcall/manifests/image/artifact"
)

type options struct {
	out      string
	ref      string
	push     string
	archs    string
	binaries string
}

func main() {
	var o options
	flag.StringVar(&o.out, "o", "dist/lastcall.oci.tar", "the archive to write: an OCI layout, as ctr images import and skopeo (oci-archive:) read it")
	flag.StringVar(&o.ref, "ref", "", "the image's name in the archive (default ghcr.io/lastcall-k8s/lastcall:VERSION)")
	flag.StringVar(&o.push, "push", "", "also push it under this name, with the credentials of docker login")
	flag.StringVar(&o.archs, "arch", strings.Join(artifact.Archs, ","), "architectures to build, separated by commas")
	flag.StringVar(&o.binaries, "binary", "", "instead of building: binaries of cmd/lastcall for linux, separated by commas")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o, os.Stdout); err != nil {
		stop()
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, out io.Writer) error {
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q; see -help", flag.Arg(0))
	}
	binaries, err := o.read(ctx)
	if err != nil {
		return err
	}
	index, err := artifact.Index(binaries)
	if err != nil {
		return err
	}
	if o.ref == "" {
		o.ref = "ghcr.io/lastcall-k8s/lastcall:" + binaries[0].Tag()
	}
	if err := artifact.WriteArchive(o.out, o.ref, index); err != nil {
		return err
	}
	if err := o.describe(out, binaries, index); err != nil {
		return err
	}
	if o.push == "" {
		return nil
	}
	return push(ctx, out, o.push, index)
}

// read takes the binaries that were given, or builds them.
func (o options) read(ctx context.Context) (binaries []artifact.Binary, err error) {
	paths := split(o.binaries)
	if o.binaries == "" {
		dir, err := os.MkdirTemp("", "lastcall-image-")
		if err != nil {
			return nil, err
		}
		defer os.RemoveAll(dir)
		root, err := artifact.Root(ctx)
		if err != nil {
			return nil, err
		}
		for _, arch := range split(o.archs) {
			fmt.Fprintf(os.Stderr, "building %s for linux/%s\n", artifact.Program, arch)
			path := filepath.Join(dir, arch)
			if err := artifact.Compile(ctx, root, arch, path); err != nil {
				return nil, err
			}
			paths = append(paths, path)
		}
	}
	for _, path := range paths {
		b, err := artifact.Read(path)
		if err != nil {
			return nil, err
		}
		binaries = append(binaries, b)
	}
	return binaries, nil
}

func split(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
}

// describe writes the bills of materials beside the archive and says what was made.
func (o options) describe(out io.Writer, binaries []artifact.Binary, index v1.ImageIndex) error {
	manifest, err := index.IndexManifest()
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "lastcall %s, commit %s, %s\n", binaries[0].Version, cmp.Or(binaries[0].Revision, "unknown"), binaries[0].Go())
	for i, b := range binaries {
		bill, err := b.SBOM()
		if err != nil {
			return err
		}
		path := strings.TrimSuffix(strings.TrimSuffix(o.out, ".tar"), ".oci") + "-linux-" + b.Arch + ".cdx.json"
		if err := os.WriteFile(path, bill, 0o644); err != nil {
			return err
		}
		image, err := index.Image(manifest.Manifests[i].Digest)
		if err != nil {
			return err
		}
		wire, err := pulled(image)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "linux/%s  %s  %s to pull, binary %s; %s\n", b.Arch, manifest.Manifests[i].Digest, mib(wire), mib(int64(b.Size())), path)
	}
	digest, err := index.Digest()
	if err != nil {
		return err
	}
	info, err := os.Stat(o.out)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s  %s  %s; %s\n", o.ref, digest, mib(info.Size()), o.out)
	return nil
}

// pulled is how much a node fetches.
func pulled(image v1.Image) (int64, error) {
	manifest, err := image.Manifest()
	if err != nil {
		return 0, err
	}
	total := manifest.Config.Size
	for _, l := range manifest.Layers {
		total += l.Size
	}
	return total, nil
}

func push(ctx context.Context, out io.Writer, to string, index v1.ImageIndex) error {
	ref, err := name.ParseReference(to)
	if err != nil {
		return fmt.Errorf("-push: %w", err)
	}
	if err := remote.WriteIndex(ref, index, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)); err != nil {
		return fmt.Errorf("push %s (docker login %s first, if it wants credentials): %w", to, ref.Context().RegistryStr(), err)
	}
	digest, err := index.Digest()
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "pushed %s@%s\n", ref.Context().Name(), digest)
	return nil
}

func mib(bytes int64) string { return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20)) }
