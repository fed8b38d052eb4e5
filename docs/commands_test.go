package docs

import (
	"go/ast"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/lastcall-k8s/lastcall/internal/doccommands"
)

// runBy says which test runs what people are told to type, by how the command begins. What is none of our own programs and is
// not here has to be marked in its document, `<!-- not run: why -->`.
var runBy = []struct{ begins, test string }{
	{"helm upgrade --install lastcall ./manifests/chart", "manifests.TestOnTestbed/helm upgrade --install"},
	{"helm upgrade lastcall ./manifests/chart", "manifests.TestOnTestbed/an upgrade out of one that got stuck"},
	{"helm uninstall lastcall", "manifests.TestOnTestbed/helm uninstall leaves the namespace"},
	{"helm template lastcall manifests/chart", "manifests.TestInstallYAML"},
	// The same requests by the same file, without kubectl.
	{"kubectl apply --server-side -f manifests/install.yaml", "manifests.TestOnTestbed/kubectl apply -f install.yaml"},
	{"kubectl apply --server-side -f -", "manifests.TestOnTestbed/kubectl apply -f install.yaml"},
	{"kubectl -n lastcall-system create rolebinding lastcall-TEAM --role=lastcall-user", "manifests.TestOnTestbed/people may what kubectl lastcall takes, and nothing else"},
	{"kubectl rollout restart deploy/shop", "bench/demo.TestDemo"},
	{"kubectl patch deploy shop -p", "bench/demo.TestDemo"},
	{"kubectl delete -f manifests/install.yaml", "manifests.TestOnTestbed/kubectl delete -f install.yaml leaves nothing"},
}

// TestCommands: whatever a document tells people to type is run by a test, is taken by the program that it is for, or says
// that it is not run. How kubectl-lastcall and lastcall take theirs is held beside them (TestDocumented).
func TestCommands(t *testing.T) {
	commands, err := doccommands.Read("..")
	if err != nil {
		t.Fatal(err)
	}
	make := makefile(t)
	values := chartValues(t)
	objects := names(t)
	n := map[string]int{}
	for _, c := range commands {
		program := c.Words[0]
		n[program]++
		why := ""
		switch {
		case program == "make":
			why = make.refuses(c)
		case program == "go":
			why = goRefuses(t, c)
		case program == "lastcall", program == "kubectl" && len(c.Words) > 1 && c.Words[1] == "lastcall":
		default:
			if c.NotRun == "" && !run(t, c) {
				why = "no test runs it (runBy), and no mark before its block says why not: <!-- not run: why -->"
			}
		}
		switch program {
		case "helm":
			why += values.refuses(c)
		case "kubectl":
			why += objects.refuses(c)
		}
		if why != "" {
			t.Errorf("%s: %s: %s", c.At(), c, why)
		}
	}
	for program, least := range map[string]int{"make": 10, "go": 10, "kubectl": 20, "helm": 4} {
		if n[program] < least {
			t.Errorf("only %d commands of %s were found", n[program], program)
		}
	}
}

// run reports whether some test runs a command, and fails if that test does not exist.
func run(t *testing.T, c doccommands.Command) bool {
	t.Helper()
	for _, r := range runBy {
		if strings.HasPrefix(c.String()+" ", r.begins+" ") {
			test := testName.FindStringSubmatch("`" + r.test + "`")
			if why := testsIn(t, filepath.Join("..", test[1])).missing(test[2], test[3]); why != "" {
				t.Errorf("runBy names %s: %s", r.test, why)
			}
			return true
		}
	}
	return false
}

// targets of the Makefile, and the variables that its lines take.
type targets struct {
	names map[string]bool
	text  string
}

func makefile(t *testing.T) targets {
	t.Helper()
	text, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	m := targets{map[string]bool{}, string(text)}
	for _, found := range regexp.MustCompile(`(?m)^([a-z-]+):.*## `).FindAllStringSubmatch(m.text, -1) {
		m.names[found[1]] = true
	}
	return m
}

func (m targets) refuses(c doccommands.Command) string {
	variables := c.Env
	for _, w := range c.Words[1:] {
		if strings.Contains(w, "=") {
			variables = append(variables, w)
		} else if !m.names[w] {
			return "the Makefile has no target " + w
		}
	}
	for _, v := range variables {
		if name, _, _ := strings.Cut(v, "="); !regexp.MustCompile(`\b` + name + `\b`).MatchString(m.text) {
			return "the Makefile does not know " + name
		}
	}
	return ""
}

// goRefuses looks whether the package is there, and whether its program has these flags.
func goRefuses(t *testing.T, c doccommands.Command) string {
	t.Helper()
	if len(c.Words) < 3 || c.Words[1] != "run" && c.Words[1] != "test" {
		return "of go, only run and test of a package of ours are expected"
	}
	pkg, args := c.Words[2], c.Words[3:]
	dir := filepath.Join("..", strings.TrimSuffix(pkg, "/..."))
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if !strings.HasPrefix(pkg, "./") || err != nil || len(files) == 0 && !strings.HasSuffix(pkg, "...") {
		return "there is no package " + pkg
	}
	known := flagsOf(t, dir)
	if c.Words[1] == "test" {
		for _, f := range []string{"run", "bench", "benchtime", "count", "v", "timeout", "fuzz", "fuzztime"} {
			known[f] = true
		}
	}
	for i, a := range args {
		if a == "--" {
			break // what follows is for a program that this one starts
		}
		name, value, has := strings.Cut(strings.TrimLeft(a, "-"), "=")
		if !strings.HasPrefix(a, "-") || a == "-" {
			continue
		}
		if !known[name] {
			return "it has no flag " + a
		}
		if !has && i+1 < len(args) {
			value = args[i+1]
		}
		if c.Words[1] == "test" && (name == "run" || name == "bench" || name == "fuzz") && !testsIn(t, dir).some(value) {
			return "it has no test like " + value
		}
	}
	return ""
}

// some reports whether a function is named by the pattern of -run, -bench or -fuzz; "-" is how to name none.
func (ts *tests) some(pattern string) bool {
	if pattern == "-" || pattern == "." {
		return true
	}
	pattern, _, _ = strings.Cut(pattern, "/")
	p, err := regexp.Compile(pattern)
	if err != nil {
		return false
	}
	for f := range ts.funcs {
		if p.MatchString(f) {
			return true
		}
	}
	return false
}

var defines = regexp.MustCompile(`^(Bool|String|Int|Int64|Uint64|Float64|Duration|StringSlice|StringArray|Func)(Var)?(P)?$`)

// flagsOf are the names of the flags that the code in a directory defines, read off its calls: nothing is built.
func flagsOf(t *testing.T, dir string) map[string]bool {
	t.Helper()
	flags := map[string]bool{"h": true, "help": true}
	inspect(t, filepath.Join(dir, "*.go"), func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		s, ok := call.Fun.(*ast.SelectorExpr)
		if !ok || !defines.MatchString(s.Sel.Name) {
			return true
		}
		kind := defines.FindStringSubmatch(s.Sel.Name)
		at := 0
		if kind[2] != "" {
			at = 1
		}
		for i := at; i < len(call.Args) && (i == at || i == at+1 && kind[3] != ""); i++ {
			if l, ok := call.Args[i].(*ast.BasicLit); ok && l.Kind == token.STRING {
				name, err := strconv.Unquote(l.Value)
				if err != nil {
					t.Fatal(err)
				}
				flags[name] = true
			}
		}
		return true
	})
	return flags
}

// values of the chart.
type values map[string]any

func chartValues(t *testing.T) (v values) {
	t.Helper()
	text, err := os.ReadFile("../manifests/chart/values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func (v values) has(path string) bool {
	var at any = map[string]any(v)
	for key := range strings.SplitSeq(path, ".") {
		key, _, _ = strings.Cut(key, "[")
		m, ok := at.(map[string]any)
		if !ok {
			return false
		}
		if at, ok = m[key]; !ok {
			return false
		}
	}
	return true
}

// refuses looks whether the chart has the values that are set, and whether the chart is where it is said to be.
func (v values) refuses(c doccommands.Command) string {
	for i, w := range c.Words {
		if strings.Contains(w, "manifests/") {
			if _, err := os.Stat(filepath.Join("..", w)); err != nil {
				return err.Error()
			}
		}
		if w != "--set" || i+1 == len(c.Words) {
			continue
		}
		for set := range strings.SplitSeq(c.Words[i+1], ",") {
			if path, _, _ := strings.Cut(set, "="); path != "..." && !v.has(path) {
				return "the chart has no value " + path
			}
		}
	}
	return ""
}

// installed are the names in install.yaml.
type installed []string

func names(t *testing.T) (all installed) {
	t.Helper()
	text, err := os.ReadFile("../manifests/install.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^  name: (lastcall-\S+)$`).FindAllStringSubmatch(string(text), -1) {
		all = append(all, m[1])
	}
	if len(all) < 10 {
		t.Fatalf("found only %v", all)
	}
	return append(all, "lastcall-tls", "lastcall-agents", "lastcall-demo", "lastcall-demo-system", "lastcall-measure-") // the chart's Secret; a quota, the demo's and the canary's
}

var lastcallName = regexp.MustCompile(`\blastcall-[a-z0-9-]+`)

// refuses looks whether what kubectl is asked for is there.
func (all installed) refuses(c doccommands.Command) string {
	for _, w := range c.Words {
		for _, name := range lastcallName.FindAllString(w, -1) {
			if !slices.Contains(all, name) {
				return "nothing installed is called " + name
			}
		}
	}
	return ""
}
