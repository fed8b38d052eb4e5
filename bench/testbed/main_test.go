//go:build linux

package main

import (
	"bytes"
	"strings"
	"testing"
)

// A flag defined twice panics only when the command is made.
func TestEveryCommandHasHelp(t *testing.T) {
	for _, sub := range root().Commands() {
		cmd := root()
		var out bytes.Buffer
		cmd.SetOut(&out)
		cmd.SetArgs([]string{sub.Name(), "--help"})
		if err := cmd.ExecuteContext(t.Context()); err != nil || !strings.Contains(out.String(), "Usage:") {
			t.Errorf("testbed %s --help: %v\n%s", sub.Name(), err, out.String())
		}
	}
}
