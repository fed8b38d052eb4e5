//go:build linux

// Command testbed runs a real Kubernetes cluster on this machine, without
// Docker: see package internal/testbed.
//
//	eval "$(go run ./bench/testbed up)"
//	kubectl get nodes
//	go run ./bench/testbed exec node-1 -- nft list ruleset
//	go run ./bench/testbed down
//
// Data goes to stdout, everything else to stderr.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := root().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "testbed:", err)
		os.Exit(1)
	}
}

func root() *cobra.Command {
	cmd := &cobra.Command{
		Use:           "testbed",
		Short:         "A real Kubernetes cluster on one Linux machine, without Docker",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	cmd.AddCommand(up(), down(), status(), execIn(), load(), image(), build())
	return cmd
}
