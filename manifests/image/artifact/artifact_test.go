package artifact

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
)

// TestReproducible: the same source in two places makes the same archive byte for byte, with nothing of either place.
// Copies, because what others edit meanwhile must not be what differs; so without history, which TestStamp has.
func TestReproducible(t *testing.T) {
	root, err := Root(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	places := []string{filepath.Join(t.TempDir(), "here"), filepath.Join(t.TempDir(), "elsewhere", "deeper")}
	copySource(t, root, places[0])
	copySource(t, places[0], places[1])
	var archives [2][]byte
	for i, place := range places {
		out := filepath.Join(t.TempDir(), "lastcall.oci.tar")
		index, err := Index([]Binary{build(t, place)})
		if err != nil {
			t.Fatal(err)
		}
		if err := WriteArchive(out, "example.test/lastcall:1", index); err != nil {
			t.Fatal(err)
		}
		if archives[i], err = os.ReadFile(out); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(archives[0], archives[1]) {
		t.Error("two builds of the same source differ")
	}
}

// TestContent: the image has what it should, and runs it as nobody special.
func TestContent(t *testing.T) {
	root, err := Root(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b := build(t, root)
	image, err := b.Image()
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	c := config.Config
	if config.OS != "linux" || config.Architecture != runtime.GOARCH || c.User != "65532:65532" || len(c.Entrypoint) != 1 || c.Entrypoint[0] != "/lastcall" {
		t.Errorf("config %+v", config)
	}
	if c.Labels["org.opencontainers.image.version"] != b.Tag() || c.Labels["org.opencontainers.image.licenses"] != "Apache-2.0" || !config.Created.Equal(b.Time) {
		t.Errorf("labels %v, created %v", c.Labels, config.Created)
	}
	files := extract(t, image)
	if !bytes.Equal(files["lastcall"], b.bytes) {
		t.Error("the program in the image is not the binary")
	}
	if bytes.Contains(files["lastcall"], []byte(root)) {
		t.Errorf("the program knows that it was built in %s", root)
	}
	var bill struct {
		SerialNumber string
		Metadata     struct{ Component struct{ Name string } }
		Components   []struct{ Name, Version, PURL string }
	}
	if err := json.Unmarshal(files[sbomPath], &bill); err != nil {
		t.Fatal(err)
	}
	parts := map[string]string{}
	for _, p := range bill.Components {
		parts[p.Name] = p.PURL
	}
	for _, want := range []string{"std", "k8s.io/client-go", "modernc.org/sqlite"} {
		if !strings.HasPrefix(parts[want], "pkg:golang/"+want+"@") {
			t.Errorf("the bill of materials has %q for %s", parts[want], want)
		}
	}
	for _, not := range []string{"github.com/CycloneDX/cyclonedx-go", "github.com/google/go-containerregistry"} {
		if parts[not] != "" {
			t.Errorf("%s, which only makes the image, is in the product", not)
		}
	}
	if bill.Metadata.Component.Name != "lastcall" || !strings.HasPrefix(bill.SerialNumber, "urn:uuid:") {
		t.Errorf("the bill is of %q, number %q", bill.Metadata.Component.Name, bill.SerialNumber)
	}
}

// TestStamp: a commit's build says which, and its image is as old as the commit.
func TestStamp(t *testing.T) {
	root, err := Root(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if stamp(t.Context(), root) == "false" {
		if os.Getenv("REQUIRE_CLUSTER") == "1" {
			t.Fatal("this source has no history that git would read")
		}
		t.Skip("this source has no history that git would read")
	}
	b := build(t, root)
	if len(b.Revision) != 40 || b.Time.Year() < 2020 || b.Tag() == "devel" || strings.Contains(b.Tag(), "+") {
		t.Errorf("revision %q, time %v, tag %q", b.Revision, b.Time, b.Tag())
	}
	t.Setenv("SOURCE_DATE_EPOCH", "86400")
	if at, err := moment("2026-01-02T03:04:05Z"); err != nil || at.Unix() != 86400 {
		t.Errorf("with SOURCE_DATE_EPOCH: %v, %v", at, err)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "yesterday")
	if _, err := moment(""); err == nil {
		t.Error("a bad SOURCE_DATE_EPOCH is taken")
	}
}

// TestRefused: what would not run in the image.
func TestRefused(t *testing.T) {
	text := filepath.Join(t.TempDir(), "lastcall")
	if err := os.WriteFile(text, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{text: "not a Go program", self: "not " + Program, text + "x": "no such file"} {
		if _, err := Read(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	if _, err := Index(nil); err == nil {
		t.Error("an image of nothing")
	}
	if err := WriteArchive(filepath.Join(t.TempDir(), "a.tar"), "Not A Name", nil); err == nil {
		t.Error("a name that no registry takes")
	}
}

func build(t *testing.T, root string) Binary {
	t.Helper()
	path := filepath.Join(t.TempDir(), "lastcall")
	if err := Compile(t.Context(), root, runtime.GOARCH, path); err != nil {
		t.Fatal(err)
	}
	b, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// copySource copies what a build of the program reads.
func copySource(t *testing.T, from, to string) {
	t.Helper()
	for _, part := range []string{"cmd/lastcall", "hub", "internal/boundclock", "ledger", "probes", "watcher", "go.mod", "go.sum"} {
		source, target := filepath.Join(from, part), filepath.Join(to, part)
		info, err := os.Stat(source)
		if err != nil {
			t.Fatal(err)
		}
		if info.IsDir() {
			if err := os.CopyFS(target, os.DirFS(source)); err != nil {
				t.Fatal(err)
			}
			continue
		}
		text, err := os.ReadFile(source)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(target, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func extract(t *testing.T, image v1.Image) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	r := mutate.Extract(image)
	defer r.Close()
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Gid != 0 {
			t.Errorf("%s belongs to %d:%d", h.Name, h.Uid, h.Gid)
		}
		files[h.Name] = body
	}
}
