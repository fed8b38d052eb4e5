package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// notForUsers are what the program must not bring to people's machines, directly or not.
var notForUsers = []string{"github.com/vishvananda/", "github.com/google/nftables", "github.com/lastcall-k8s/lastcall/probes",
	"github.com/lastcall-k8s/lastcall/watcher", "github.com/lastcall-k8s/lastcall/internal/", "k8s.io/kubernetes", "modernc.org/"}

// TestBuilds: it runs where people run kubectl. With nothing in the build cache that takes a minute or two.
func TestBuilds(t *testing.T) {
	for _, platform := range []string{"linux/arm64", "darwin/arm64", "windows/amd64"} {
		goos, goarch, _ := strings.Cut(platform, "/")
		run := func(t *testing.T, args ...string) string {
			cmd := exec.Command("go", args...)
			cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+goos, "GOARCH="+goarch)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
			}
			return string(out)
		}
		t.Run(platform, func(t *testing.T) {
			t.Parallel()
			for dep := range strings.FieldsSeq(run(t, "list", "-deps", ".")) {
				for _, not := range notForUsers {
					if strings.HasPrefix(dep, not) {
						t.Errorf("imports %s", dep)
					}
				}
			}
			if testing.Short() && os.Getenv("REQUIRE_CLUSTER") != "1" {
				t.Skip("its dependencies are checked, it is not built in -short mode")
			}
			run(t, "build", "-o", os.DevNull, ".")
		})
	}
}
