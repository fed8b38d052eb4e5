package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var quoted = regexp.MustCompile("`([^`]+)`( of [A-Za-z]+)?")

// TestMessages: what troubleshooting.md quotes is said by the program: each part between two "…" is in one of its texts. What
// others say is marked there, as in `ImagePullBackOff` of Kubernetes.
func TestMessages(t *testing.T) {
	texts := said(t)
	document, err := os.ReadFile("troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	n, theirs := 0, regexp.MustCompile(`of (Kubernetes|Go|the system)`)
	for line := range strings.Lines(string(document)) {
		cell, isRow := strings.CutPrefix(line, "| ")
		if !isRow {
			continue
		}
		cell, _, _ = strings.Cut(cell, " | ")
		if theirs.MatchString(cell) {
			continue
		}
		for _, q := range quoted.FindAllStringSubmatch(cell, -1) {
			n++
			for part := range strings.SplitSeq(q[1], "…") {
				if part = strings.Trim(part, " "); len(part) > 1 && !strings.Contains(texts, part) {
					t.Errorf("no program of ours says %q: %s", part, q[1])
				}
			}
		}
	}
	if n < 40 {
		t.Errorf("only %d messages were found", n)
	}
}

// said is all text in the program's code, one string to a line; what a verb stands for is cut out.
func said(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	verb := regexp.MustCompile(`%[+#]?[0-9.*]*[a-zA-Z]`)
	for _, dir := range []string{"../cmd", "../hub", "../ledger", "../probes", "../watcher"} {
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err != nil {
				return err
			}
			ast.Inspect(f, func(n ast.Node) bool {
				if e, ok := n.(ast.Expr); ok {
					if s, ok := joined(e); ok {
						all.WriteString(verb.ReplaceAllString(s, "\x00") + "\n")
						return false
					}
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all.String()
}

// joined is the value of a string literal, or of a sum of some.
func joined(e ast.Expr) (string, bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		if e.Kind == token.STRING {
			s, err := strconv.Unquote(e.Value)
			return s, err == nil
		}
	case *ast.BinaryExpr:
		x, okX := joined(e.X)
		y, okY := joined(e.Y)
		return x + y, e.Op == token.ADD && okX && okY
	}
	return "", false
}
