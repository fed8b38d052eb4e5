package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// TestReproducible: two builds, from two places, make the same archive byte for byte; the image runs what it should as
// nobody special, and its bill of materials names what is in it.
func TestReproducible(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	// A copy of the source elsewhere: no path of this machine may be in the image.
	copied := t.TempDir()
	files, err := exec.Command("git", "-C", root, "ls-files", "--cached", "--others", "--exclude-standard", "go.mod", "go.sum", "cmd/lastcall", "hub", "ledger", "probes", "watcher").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range strings.Fields(string(files)) {
		body, err := os.ReadFile(filepath.Join(root, name))
		if os.IsNotExist(err) {
			continue // deleted in the working copy
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Dir(filepath.Join(copied, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(copied, name), body, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var archives [2][]byte
	for i, dir := range []string{root, copied} {
		t.Chdir(dir)
		out := filepath.Join(t.TempDir(), "lastcall.oci.tar")
		var said bytes.Buffer
		if err := run(t.Context(), options{out: out, version: "v0", name: "example.test/lastcall:v0", arches: []string{runtime.GOARCH}}, &said); err != nil {
			t.Fatal(err)
		}
		t.Log(said.String())
		if archives[i], err = os.ReadFile(out); err != nil {
			t.Fatal(err)
		}
		bom, err := os.ReadFile(strings.TrimSuffix(out, ".oci.tar") + "-" + runtime.GOARCH + ".cdx.json")
		if err != nil {
			t.Fatal(err)
		}
		var b struct {
			Components []struct{ Name, Version string }
		}
		if err := json.Unmarshal(bom, &b); err != nil {
			t.Fatal(err)
		}
		names := map[string]string{}
		for _, c := range b.Components {
			names[c.Name] = c.Version
		}
		for _, want := range []string{"std", "k8s.io/client-go", "modernc.org/sqlite"} {
			if names[want] == "" {
				t.Errorf("the bill of materials lacks %s", want)
			}
		}
		if names["github.com/chromedp/chromedp"] != "" {
			t.Error("a test's module is in the binary")
		}
	}
	if !bytes.Equal(archives[0], archives[1]) {
		t.Error("two builds of the same source differ")
	}
	if bytes.Contains(archives[0], []byte(root)) {
		t.Errorf("the archive holds the path %s", root)
	}
}

// TestConfig: what a container runtime is told.
func TestConfig(t *testing.T) {
	program := filepath.Join(t.TempDir(), "lastcall")
	if err := os.WriteFile(program, []byte("program"), 0o755); err != nil {
		t.Fatal(err)
	}
	image, err := makeImage(program, []byte("{}"), "arm64", "v1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	c, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if c.OS != "linux" || c.Architecture != "arm64" || c.Config.User != "65532:65532" || len(c.Config.Entrypoint) != 1 ||
		c.Config.Entrypoint[0] != "/lastcall" || c.Config.Labels["org.opencontainers.image.version"] != "v1.2.3" || c.Created.Unix() != 0 {
		t.Errorf("config %+v", c)
	}
}
