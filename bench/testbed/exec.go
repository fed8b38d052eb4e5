//go:build linux

package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/lastcall-k8s/lastcall/internal/testbed"
)

func execIn() *cobra.Command {
	var spec testbed.Spec
	var host bool
	cmd := &cobra.Command{
		Use:   "exec NODE -- COMMAND [ARG]...",
		Short: "Run a command in a node's network namespace",
		Long: `Run a command in a node's network namespace, with this machine's files and
processes, the node's own iptables first on PATH, and a KUBECONFIG that works
there. With --host the command also gets the node's /run, /var and processes,
like a shell on the node. NODE may be control-plane.

The command replaces testbed: signals and the exit code are its own. (Under
"go run" every failure is exit code 1; build the program if that matters.)`,
		Example: `  testbed exec node-1 -- nft list ruleset
  testbed exec node-2 -- iptables-save -t nat
  testbed exec --host node-1 -- ctr -n k8s.io containers list`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			cluster, err := attach(spec)
			if err != nil {
				return err
			}
			node, command := args[0], args[1:]
			if command[0] == "--" {
				command = command[1:]
			}
			if len(command) == 0 {
				return errors.New("no command after --")
			}
			return cluster.Exec(node, host, command)
		},
	}
	which(cmd, &spec)
	cmd.Flags().BoolVar(&host, "host", false, "enter the node's files and processes too")
	cmd.Flags().SetInterspersed(false)
	return cmd
}
