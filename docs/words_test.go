package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestWords: reading.md explains each value of the types that people meet in answers.
func TestWords(t *testing.T) {
	text, err := os.ReadFile("reading.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, of := range []struct {
		dir   string
		types []string
	}{
		{"../ledger", []string{"Outcome", "Reason", "T0Source"}},
		{"../hub/report", []string{"Late", "Tag", "PlaceState", "AgentState"}},
		{"../hub/sizing", []string{"Code", "Basis"}},
		{"../cmd/kubectl-lastcall", []string{"result"}},
	} {
		values := constants(t, of.dir, of.types)
		for _, name := range of.types {
			if len(values[name]) < 3 {
				t.Errorf("%s: found only %q of %s", of.dir, values[name], name)
			}
			for _, v := range values[name] {
				if !strings.Contains(string(text), "`"+v+"`") {
					t.Errorf("reading.md does not explain `%s`, a %s", v, name)
				}
			}
		}
	}
}

// constants are the values of the string constants of these types in a directory.
func constants(t *testing.T, dir string, types []string) map[string][]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	values := map[string][]string{}
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			of, ok := spec.Type.(*ast.Ident)
			if !ok || !slices.Contains(types, of.Name) {
				return true
			}
			for _, v := range spec.Values {
				if l, ok := v.(*ast.BasicLit); ok && l.Kind == token.STRING {
					s, err := strconv.Unquote(l.Value)
					if err != nil {
						t.Fatal(err)
					}
					values[of.Name] = append(values[of.Name], s)
				}
			}
			return true
		})
	}
	return values
}
