//go:build linux

package manifests

import (
	"os"
	"path/filepath"
	"testing"
)

// TestHelm: the helm in $PATH is taken if it is one that renders install.yaml as it is.
func TestHelm(t *testing.T) {
	requireHelm(t)
	for _, tc := range []struct {
		version string
		taken   bool
	}{{"v4.99.1", true}, {"v3.19.0", false}, {"not found >&2; exit 1", false}} {
		dir := t.TempDir()
		path := filepath.Join(dir, "helm")
		if err := os.WriteFile(path, []byte("#!/bin/sh\necho "+tc.version+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
		got, err := Helm(t.Context())
		if err != nil || (got == path) != tc.taken {
			t.Errorf("helm that says %s: %s, %v", tc.version, got, err)
		}
	}
}
