package docs

import (
	"slices"
	"strings"
	"testing"

	"github.com/lastcall-k8s/lastcall/internal/doccommands"
)

// kubectlTakes are the flags of kubectl's commands, as far as documents use them: those of kubectl 1.32, by its --help. Tests have no
// kubectl, and a flag that one command has another may lack: logs has no --field-selector.
var kubectlTakes = map[string]string{
	"apply":              "-f --filename --server-side --dry-run",
	"create namespace":   "--dry-run",
	"create rolebinding": "--role --clusterrole --group --user --serviceaccount",
	"create token":       "--audience --duration",
	"delete":             "-f --filename -l --selector --all --wait --field-selector",
	"describe":           "-l --selector -A --all-namespaces",
	"get":                "-o --output -l --selector -A --all-namespaces -w --watch --field-selector --raw",
	"label":              "--overwrite",
	"logs":               "-c --container -f --follow -l --selector --since --tail -p --previous --prefix --all-containers --all-pods",
	"patch":              "-p --patch --patch-file --type --dry-run",
	"port-forward":       "--address",
	"rollout history":    "--revision",
	"rollout restart":    "-l --selector",
}

const kubectlGlobal = "-n --namespace --context --kubeconfig"

// TestKubectl: kubectl's own commands in documents have the flags that are given to them.
func TestKubectl(t *testing.T) {
	commands, err := doccommands.Read("..")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, c := range commands {
		if c.Words[0] != "kubectl" || len(c.Words) > 1 && c.Words[1] == "lastcall" {
			continue
		}
		n++
		if why := kubectlRefuses(c.Words[1:]); why != "" {
			t.Errorf("%s: %s: %s", c.At(), c, why)
		}
	}
	if n < 20 {
		t.Errorf("only %d commands were found", n)
	}
	for _, refused := range []string{"-n x logs -l a=b --field-selector c=d", "frobnicate", "rollout undo x", "-x get"} {
		if kubectlRefuses(strings.Fields(refused)) == "" {
			t.Errorf("kubectl %s is taken", refused)
		}
	}
}

func kubectlRefuses(words []string) string {
	var names, flags []string
	for i := 0; i < len(words); i++ {
		flag, _, has := strings.Cut(words[i], "=")
		switch {
		case !strings.HasPrefix(flag, "-") || flag == "-":
			names = append(names, flag)
		case slices.Contains(strings.Fields(kubectlGlobal), flag):
			if !has {
				i++ // its value
			}
		default:
			flags = append(flags, flag)
		}
	}
	command := ""
	for _, n := range []int{1, 2} {
		if len(names) >= n && kubectlTakes[strings.Join(names[:n], " ")] != "" {
			command = strings.Join(names[:n], " ")
		}
	}
	if command == "" {
		return "it has no such command, or none that is known here"
	}
	for _, f := range flags {
		if !slices.Contains(strings.Fields(kubectlTakes[command]), f) {
			return "kubectl " + command + " has no flag " + f
		}
	}
	return ""
}
