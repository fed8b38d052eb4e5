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
		upToDate(t, file, section, b.String(), "flags of "+section, "Flags")
	}
}

// upToDate: the section of a document is as it is generated. -update writes it.
func upToDate(t *testing.T, file, section, text, what, run string) {
	t.Helper()
	if *update {
		if err := benchresult.ReplaceSection(file, section, text); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(have), text) {
		t.Errorf("the %s are others; go test ./cmd/lastcall -run %s -update writes:\n%s", what, run, text)
	}
}
