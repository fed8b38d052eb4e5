//go:build linux

package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/lastcall-k8s/lastcall/internal/benchresult"
)

// renderPart writes the newest result of a part into its section of RESULTS.md; without one the section stays as it is.
func renderPart(dir, name string, into any, about *benchresult.Run, conditions func() string, rows func() [][]string) error {
	file, ok, err := benchresult.Newest(dir, name, into)
	if err != nil || !ok {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\n`%s` at commit %s, %s: Kubernetes %s, kernel %s, %d x %s; %s Data: [%s](results/%s)\n\n",
		about.Command, about.Commit, about.Date.Format(time.DateOnly), about.Versions["kubernetes"], about.Kernel, about.CPUs, about.CPU, conditions(),
		filepath.Base(file), filepath.Base(file))
	for i, row := range rows() {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
		if i == 0 {
			b.WriteString(strings.Repeat("|---", len(row)) + "|\n")
		}
	}
	b.WriteString("\n")
	return benchresult.ReplaceSection(filepath.Join(filepath.Dir(dir), "RESULTS.md"), name, b.String())
}
