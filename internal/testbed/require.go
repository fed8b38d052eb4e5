//go:build linux

package testbed

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"
)

// RequireCluster returns a running cluster for a test. One that runs already
// with this spec is used and left running; otherwise it is brought up and ends
// with the test. Give tests of different packages different names: go test
// runs packages at the same time.
//
// Where a cluster cannot run, or its components are not built yet, the test is
// skipped with the reason, and with REQUIRE_CLUSTER=1 it fails (or builds).
// The cluster's logs are among the artifacts of a failed test (go test
// -artifacts).
func RequireCluster(t testing.TB, spec Spec) *Cluster {
	t.Helper()
	must := os.Getenv("REQUIRE_CLUSTER") == "1"
	if testing.Short() && !must {
		t.Skip("needs a cluster: not in -short mode")
	}
	spec, err := spec.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	if err := checkHost(); err != nil {
		if must {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	if missing := missingComponents(spec); len(missing) > 0 && !must {
		t.Skipf("needs a cluster, and Kubernetes %v is not built yet: REQUIRE_CLUSTER=1 or `go run ./bench/testbed build` does that", spec.versions())
	}
	if missing := missingGuests(spec); len(missing) > 0 && !must {
		t.Skipf("needs a cluster with %s, which is not there yet: REQUIRE_CLUSTER=1 or `go run ./bench/testbed build --with %s` does that", missing[0].name, strings.Join(spec.With, ","))
	}
	before, err := Attach(spec.Dir, spec.Name)
	wasRunning := err == nil && before.healthy(t.Context()) == nil

	// Longer than a cold build; the test's own deadline ends it earlier.
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Minute)
	defer cancel()
	cluster, err := Up(ctx, spec, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			if err := cluster.Logs(t.ArtifactDir()); err != nil {
				t.Log("saving the cluster's logs: ", err)
			}
		}
		if wasRunning {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := cluster.Down(ctx); err != nil {
			t.Error(err)
		}
	})
	return cluster
}
