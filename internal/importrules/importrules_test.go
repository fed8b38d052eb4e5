// Package importrules holds which package may know which.
package importrules

import (
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/lastcall-k8s/lastcall/"

// rules: package (or tree, with a trailing slash) -> what it must not import, and why.
var rules = []struct{ pkg, not, why string }{
	{"ledger", "k8s.io/", "the pairing is table-tested without Kubernetes"},
	{"ledger", module + "watcher", "the ledger is told; it does not ask"},
	{"ledger", module + "probes", "the ledger is told; it does not ask"},
	{"ledger", "github.com/vishvananda/", "the pairing knows no netlink"},
	{"watcher", module + "probes", "what the API says and what a place does meet in the ledger only"},
	{"watcher", "github.com/vishvananda/", "the watcher knows no netlink"},
	{"probes", module + "watcher", "what the API says and what a place does meet in the ledger only"},
	{"probes", "k8s.io/", "a probe reads its place; the API is the watcher's"},
	{"probes", "os/exec", "no exec on the hot path"},
	{"probes", "github.com/coreos/go-iptables", "it execs and takes the xtables lock; tests and benches only"},
	{"hub/", module + "watcher", "the hub knows nodes by what their agents say"},
	{"hub/", module + "probes", "the hub knows nodes by what their agents say"},
	{"hub/", "k8s.io/client-go/kubernetes", "a clientset makes the agent's process, the same binary, 10 MB larger"},
	{"hub/store", "k8s.io/", "rows are rows"},
	{"hub/report", "k8s.io/", "what the hub says is read on any machine"},
	{"hub/pages", "k8s.io/", "pages draw what the hub says"},
	{"hub/sizing", "k8s.io/", "a recommendation is a function of rows"},
	{"hub/sizing", module + "hub/store", "it is given episodes, and reads nothing"},
	{"hub/sizing", "os", "it is given episodes, and reads nothing"},
	{"hub/sizing", "net", "it is given episodes, and reads nothing"},
	{"hub/sizing", "context", "nothing in it waits"},
	{"cmd/kubectl-lastcall", module + "probes", "it runs on macOS and Windows"},
	{"cmd/kubectl-lastcall", "github.com/vishvananda/", "it runs on macOS and Windows"},
	{"cmd/lastcall", "os/exec", "the agent runs on every node and starts no program"},
	{"cmd/lastcall", module + "internal/testbed", "internal is what tests and benches share"},
	{"cmd/lastcall", "k8s.io/kubernetes", "the product's module never sees it"},
	{"bench/", "k8s.io/kubernetes", "the testbed builds it in a module of its own"},
}

func TestImports(t *testing.T) {
	for _, r := range rules {
		pattern := module + r.pkg
		if strings.HasSuffix(r.pkg, "/") {
			pattern += "..."
		}
		// Direct imports of the package itself: what its dependencies need is theirs to decide.
		out, err := exec.Command("go", "list", "-f", `{{.ImportPath}}{{range .Imports}} {{.}}{{end}}`, pattern).CombinedOutput()
		if err != nil {
			t.Fatalf("go list %s: %v\n%s", pattern, err, out)
		}
		for line := range strings.Lines(string(out)) {
			imports := strings.Fields(line)
			for _, i := range imports[1:] {
				if strings.HasPrefix(i+"/", strings.TrimSuffix(r.not, "/")+"/") {
					t.Errorf("%s imports %s: %s", imports[0], i, r.why)
				}
			}
		}
	}
}
