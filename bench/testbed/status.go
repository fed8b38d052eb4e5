//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/lastcall-k8s/lastcall/internal/testbed"
)

func status() *cobra.Command {
	var spec testbed.Spec
	var output string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the cluster, its nodes and its programs",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cluster, err := attach(spec)
			if errors.Is(err, testbed.ErrNotRunning) {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			if err != nil {
				return err
			}
			s := cluster.Status(cmd.Context())
			if output == "json" {
				return json.NewEncoder(os.Stdout).Encode(s)
			}
			return s.Print(os.Stdout)
		},
	}
	which(cmd, &spec)
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table or json")
	return cmd
}

// attach finds the running cluster, or says how to start one.
func attach(spec testbed.Spec) (*testbed.Cluster, error) {
	cluster, err := testbed.Attach(spec.Dir, spec.Name)
	if errors.Is(err, testbed.ErrNotRunning) {
		return nil, fmt.Errorf("%w: start it with `testbed up`", err)
	}
	return cluster, err
}
