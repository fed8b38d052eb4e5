package sizing

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestNoClock: what was recommended can be worked out again.
func TestNoClock(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		source, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, call := range []string{"time.No" + "w(", "time.Sinc" + "e(", "time.Unti" + "l("} {
			if strings.Contains(string(source), call) {
				t.Errorf("%s calls %s", f, call)
			}
		}
	}
}
