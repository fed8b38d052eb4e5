package store

import (
	"os"
	"os/exec"
	"testing"
)

const childDir = "LASTCALL_STORE_CHILD" // the directory in which a child works

// child returns this test binary, to run test once more in another process; there, in childDir is set. It is run by its
// link in /proc, which any user may follow.
func child(t *testing.T, test, dir string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^"+test+"$", "-test.count=1", "-test.v")
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	cmd.Dir = "/"
	return cmd
}

// run runs a child, and fails the test if it does.
func run(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Error(err)
	}
}
