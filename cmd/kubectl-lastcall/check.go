package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// result of one check.
type result string

const (
	ok      result = "ok"
	warn    result = "warn"
	fail    result = "FAIL"
	unknown result = "unknown" // it could not be looked at; never counted as ok
)

// finding is a line of `check`.
type finding struct {
	Check  string `json:"check"`
	Result result `json:"result"`
	What   string `json:"what"`
	Do     string `json:"do,omitempty"` // lines; one that begins with kubectl or helm is a command
}

func checkCommand(c *cli) *cobra.Command {
	var (
		output format
		pre    bool
	)
	cmd := &cobra.Command{
		Use:   "check [flags]",
		Short: "Check that lastcall works here, or with --pre that it would",
		Long: `Check that lastcall works here, or with --pre that it would.

Without --pre: does the hub answer, is there an agent on every node (and if not,
why, and what to change), is what programs each node's Services measured, is
every ingress controller and DNS server read that serves a workload, have the
agents the rights they need, are the clocks good enough, were events lost,
do the versions fit.

With --pre, before anything is installed: the API server's version, the nodes,
what programs Services here and whether that can be measured, whether you may
install it, whether the namespace admits its pods, and what it will cost.

Each line is ok, warn, FAIL or unknown (it could not be looked at). Nothing is
changed, anywhere. Exits with 1 if anything failed.`,
		Example: `  # Does it work?
  kubectl lastcall check

  # Would it work, in a namespace of your choice?
  kubectl lastcall check --pre --lastcall-namespace monitoring

  # What failed, for a script
  kubectl lastcall check -o json | jq -r '.items[] | select(.result == "FAIL").what'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := output.check("json", "yaml"); err != nil {
				return err
			}
			look := c.checkInstalled
			if pre {
				look = c.checkBefore
			}
			fs, err := look(cmd.Context())
			if err != nil {
				return err
			}
			if output.machine() {
				err = output.print(c.out, items(fs))
			} else {
				c.view.findings(c.out, fs)
				c.note("%s", tally(fs))
			}
			if err == nil && count(fs, fail) > 0 {
				err = errCheckFailed
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&pre, "pre", false, "check whether lastcall could be installed and would work")
	cmd.Flags().StringVarP((*string)(&output), "output", "o", "", "json or yaml")
	return cmd
}

func (v view) findings(w io.Writer, fs []finding) {
	width := 0
	for _, f := range fs {
		width = max(width, len(f.Check))
	}
	styles := map[result]style{ok: green, warn: yellow, fail: red, unknown: yellow}
	for _, f := range fs {
		head := fmt.Sprintf("%-7s  %-*s  ", f.Result, width, f.Check)
		line := hang(head, visible(f.What), v.width)
		fmt.Fprintln(w, v.paint(line[:len(f.Result)], styles[f.Result])+line[len(f.Result):])
		for do := range strings.Lines(f.Do) {
			do = visible(strings.TrimRight(do, "\n"))
			indent := strings.Repeat(" ", len(head))
			if isCommand(do) {
				fmt.Fprintln(w, indent+"  "+do) // to be pasted: never wrapped
				continue
			}
			fmt.Fprintln(w, hang(indent+"> ", do, v.width))
		}
	}
}

// oneLine is an error without its advice.
func oneLine(err error) string {
	first, _, _ := strings.Cut(err.Error(), "\n")
	return first
}

func isCommand(line string) bool {
	return strings.HasPrefix(line, "kubectl ") || strings.HasPrefix(line, "helm ")
}

func count(fs []finding, r result) (n int) {
	for _, f := range fs {
		if f.Result == r {
			n++
		}
	}
	return n
}

func tally(fs []finding) string {
	var parts []string
	for _, r := range []result{ok, warn, unknown, fail} {
		if n := count(fs, r); n > 0 || r == ok {
			parts = append(parts, fmt.Sprintf("%d %s", n, r))
		}
	}
	return strings.Join(parts, ", ")
}

// checkInstalled gathers what is known of what is installed, and judges it.
func (c *cli) checkInstalled(ctx context.Context) ([]finding, error) {
	s := c.survey(ctx)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return s.findings(), nil
}
