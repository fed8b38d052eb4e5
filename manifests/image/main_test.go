package main

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// TestPush builds for this machine, writes the archive, and pushes to a registry that then has the image for it.
func TestPush(t *testing.T) {
	server := httptest.NewServer(registry.New())
	defer server.Close()
	to := strings.TrimPrefix(server.URL, "http://") + "/me/lastcall:dev"
	dir := t.TempDir()
	o := options{out: filepath.Join(dir, "dist", "lastcall.oci.tar"), push: to, archs: runtime.GOARCH}
	var said strings.Builder
	if err := run(t.Context(), o, &said); err != nil {
		t.Fatal(err)
	}
	t.Log(said.String())
	ref, err := name.ParseReference(to)
	if err != nil {
		t.Fatal(err)
	}
	image, err := remote.Image(ref, remote.WithPlatform(v1.Platform{OS: "linux", Architecture: runtime.GOARCH}))
	if err != nil {
		t.Fatal(err)
	}
	digest, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(said.String(), "linux/"+runtime.GOARCH+"  "+digest.String()) {
		t.Errorf("the registry has %s, which was not said", digest)
	}
	if _, err := os.Stat(filepath.Join(dir, "dist", "lastcall-linux-"+runtime.GOARCH+".cdx.json")); err != nil {
		t.Error(err)
	}
}
