package main

import (
	"testing"

	"github.com/spf13/cobra"

	"github.com/lastcall-k8s/lastcall/internal/doccommands"
)

// TestDocumented: every `lastcall agent ...` and `lastcall hub ...` of a document has flags that exist.
func TestDocumented(t *testing.T) {
	commands, err := doccommands.Read("../..")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, d := range commands {
		if d.Words[0] != "lastcall" || len(d.Words) < 2 {
			continue
		}
		n++
		command, known := map[string]func() *cobra.Command{"agent": agentCommand, "hub": hubCommand, "canary": canaryCommand}[d.Words[1]]
		if !known {
			t.Errorf("%s: there is no lastcall %s", d.At(), d.Words[1])
			continue
		}
		sub := command()
		sub.InitDefaultHelpFlag()
		err := sub.ParseFlags(d.Words[2:])
		if err == nil {
			err = sub.ValidateArgs(sub.Flags().Args())
		}
		if err != nil {
			t.Errorf("%s: %s: %v", d.At(), d, err)
		}
	}
	if n == 0 {
		t.Error("no document tells of lastcall agent or lastcall hub")
	}
}
