package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/lastcall-k8s/lastcall/internal/benchresult"
)

var update = flag.Bool("update", false, "rewrite what is generated in the docs")

// TestFlags: the tables of flags in the docs are the program's own.
func TestFlags(t *testing.T) {
	const file = "../../docs/flags.md"
	for section, command := range map[string]*cobra.Command{"agent": agentCommand(), "hub": hubCommand(), "canary": canaryCommand()} {
		var b strings.Builder
		b.WriteString("| flag | default | |\n|---|---|---|\n")
		command.Flags().VisitAll(func(f *pflag.Flag) {
			value := f.DefValue
			if f.Name == "node-name" || f.Name == "api-listen" || f.Name == "namespace" {
				value = "" // of this machine's environment
			}
			if value != "" {
				value = "`" + value + "`"
			}
			fmt.Fprintf(&b, "| `--%s` | %s | %s |\n", f.Name, value, f.Usage)
		})
		if *update {
			if err := benchresult.ReplaceSection(file, section, b.String()); err != nil {
				t.Fatal(err)
			}
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), b.String()) {
			t.Errorf("the flags of %s are others; go test ./cmd/lastcall -run Flags -update writes:\n%s", section, b.String())
		}
	}
}
