package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/lastcall-k8s/lastcall/internal/benchresult"
)

var update = flag.Bool("update", false, "rewrite what is generated in the README")

// TestREADMEFlags: the README's table of flags is the program's own.
func TestREADMEFlags(t *testing.T) {
	const readme = "../../README.md"
	var b strings.Builder
	b.WriteString("| flag | default | |\n|---|---|---|\n")
	agentCommand().Flags().VisitAll(func(f *pflag.Flag) {
		value := f.DefValue
		if f.Name == "node-name" || f.Name == "api-listen" {
			value = "" // of this machine's environment
		}
		if value != "" {
			value = "`" + value + "`"
		}
		fmt.Fprintf(&b, "| `--%s` | %s | %s |\n", f.Name, value, f.Usage)
	})
	if *update {
		if err := benchresult.ReplaceSection(readme, "flags", b.String()); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), b.String()) {
		t.Errorf("the README's flags are not the program's; go test ./cmd/lastcall -run README -update writes:\n%s", b.String())
	}
}
