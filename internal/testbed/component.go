//go:build linux

package testbed

import (
	"os"
	"testing"
)

// RequireComponent returns the path of a built component of Kubernetes, like "kube-apiserver", for a test that
// needs no cluster. Where it is not built yet the test is skipped; with REQUIRE_CLUSTER=1 it is built.
func RequireComponent(t testing.TB, name string) string {
	t.Helper()
	spec, err := Spec{}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	path := componentPath(spec.CacheDir, spec.Version, name)
	switch {
	case isExecutable(path):
	case os.Getenv("REQUIRE_CLUSTER") == "1":
		if err := build(t.Context(), spec, newProgress(t.Output())); err != nil {
			t.Fatal(err)
		}
	default:
		t.Skipf("needs %s %s, which is not built yet: REQUIRE_CLUSTER=1 or `go run ./bench/testbed build` does that", name, spec.Version)
	}
	return path
}
