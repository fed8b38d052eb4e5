//go:build linux

package prometheus

import (
	"os/exec"
	"strings"
	"testing"
)

// TestPrograms: they are built, and what their path says. `make components` runs it so that no test waits for the build.
func TestPrograms(t *testing.T) {
	for name, p := range programs {
		out, err := exec.CommandContext(t.Context(), Require(t, name), "--version").CombinedOutput()
		if err != nil || !strings.Contains(string(out), name+", version "+p.version) {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}
