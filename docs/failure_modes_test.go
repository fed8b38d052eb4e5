// Package docs holds what people read, and this test of it.
package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var testName = regexp.MustCompile("`([a-z0-9/-]+)\\.(Test\\w+)(?:/([^`]+))?`")

// TestFailureModes: every row of failure-modes.md names a test that exists, or says that there is none yet.
func TestFailureModes(t *testing.T) {
	text, err := os.ReadFile("failure-modes.md")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]*tests{}
	rows := 0
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| case |") {
			continue
		}
		rows++
		named := testName.FindAllStringSubmatch(line, -1)
		if len(named) == 0 && !strings.Contains(line, "not yet: ") {
			t.Errorf("no test, and it does not say why not yet: %s", line)
		}
		for _, n := range named {
			if known[n[1]] == nil {
				known[n[1]] = testsIn(t, filepath.Join("..", n[1]))
			}
			if why := known[n[1]].missing(n[2], n[3]); why != "" {
				t.Errorf("%s: %s", n[0], why)
			}
		}
	}
	if rows < 30 {
		t.Errorf("only %d rows were found", rows)
	}
}

// tests are the names in a package that a subtest can have: those of its test functions, its string literals, its scripts.
type tests struct {
	funcs, words map[string]bool
}

func testsIn(t *testing.T, dir string) *tests {
	t.Helper()
	found := &tests{map[string]bool{}, map[string]bool{}}
	inspect(t, filepath.Join(dir, "*_test.go"), func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			found.funcs[n.Name.Name] = true
		case *ast.BasicLit:
			if s, err := strconv.Unquote(n.Value); err == nil && n.Kind == token.STRING {
				found.words[s] = true
			}
		}
		return true
	})
	scripts, err := filepath.Glob(filepath.Join(dir, "testdata", "*.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range scripts {
		found.words[strings.TrimSuffix(filepath.Base(s), ".txtar")] = true
	}
	return found
}

func (ts *tests) missing(test, sub string) string {
	if !ts.funcs[test] {
		return "there is no such test"
	}
	if sub == "" {
		return ""
	}
	for part := range strings.SplitSeq(sub, "/") {
		if !ts.words[part] {
			return "it has no part called " + strconv.Quote(part)
		}
	}
	return ""
}

// inspect walks the code of the files that match.
func inspect(t *testing.T, pattern string, visit func(ast.Node) bool) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, visit)
	}
}
