package docs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lastcall-k8s/lastcall/internal/doccommands"
)

// TestNamedTests: where a document names a test, there is one of that name.
func TestNamedTests(t *testing.T) {
	known, n := map[string]*tests{}, 0
	eachLine(t, func(f string, line int, l string) {
		for _, named := range testName.FindAllStringSubmatch(l, -1) {
			n++
			if known[named[1]] == nil {
				known[named[1]] = testsIn(t, filepath.Join("..", named[1]))
			}
			if why := known[named[1]].missing(named[2], named[3]); why != "" {
				t.Errorf("%s:%d: %s: %s", f, line, named[0], why)
			}
		}
	})
	if n < 100 {
		t.Errorf("only %d names were found", n)
	}
}

// eachLine calls do with every line of every document.
func eachLine(t *testing.T, do func(file string, line int, text string)) {
	t.Helper()
	files, err := doccommands.Documents("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		text, err := os.ReadFile(filepath.Join("..", f))
		if err != nil {
			t.Fatal(err)
		}
		line := 0
		for l := range strings.Lines(string(text)) {
			line++
			do(f, line, l)
		}
	}
}
