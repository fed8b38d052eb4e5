package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lastcall-k8s/lastcall/internal/doccommands"
)

// nowhere is a cluster that does not answer: whatever is wrong with a command is said before it is asked.
const nowhere = `{"apiVersion": "v1", "kind": "Config", "current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
 "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}], "users": [{"name": "u", "user": {"token": "t"}}]}`

// TestDocumented: every `kubectl lastcall ...` that a document tells people to type is taken, up to where the cluster is asked.
func TestDocumented(t *testing.T) {
	commands, err := doccommands.Read("../..")
	if err != nil {
		t.Fatal(err)
	}
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(kubeconfig, []byte(nowhere), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBECONFIG", kubeconfig)
	taken := map[string]bool{}
	for _, d := range commands {
		if len(d.Words) < 2 || d.Words[0] != "kubectl" || d.Words[1] != "lastcall" {
			continue
		}
		args := slices.Clone(d.Words[2:])
		for i := range args {
			args[i] = strings.Replace(args[i], "TYPE/", "deployment/", 1)
		}
		if len(args) > 0 && args[len(args)-1] == "..." {
			args = args[:len(args)-1]
		}
		var out, said bytes.Buffer
		root := rootCommand(&cli{out: &out, err: &said, view: view{now: time.Now, zone: time.UTC}})
		root.SetArgs(args)
		if err := root.ExecuteContext(t.Context()); err != nil && !strings.HasPrefix(err.Error(), "the API server does not answer (https://127.0.0.1:1:") && err != errCheckFailed {
			t.Errorf("%s: %s: %v", d.At(), d, err)
		}
		if len(args) > 0 {
			taken[args[0]] = true
		}
	}
	for _, c := range rootCommand(&cli{}).Commands() {
		if c.IsAvailableCommand() && c.Name() != "options" && !taken[c.Name()] {
			t.Errorf("no document tells how to use kubectl lastcall %s", c.Name())
		}
	}
}
