//go:build linux

package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/lastcall-k8s/lastcall/internal/testbed"
)

func load() *cobra.Command {
	var spec testbed.Spec
	var want testbed.LoadSpec
	cmd := &cobra.Command{
		Use:   "load",
		Short: "Fill the cluster with Services and endpoints that exist in the API only",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cluster, err := attach(spec)
			if err != nil {
				return err
			}
			return cluster.Load(cmd.Context(), want, os.Stderr)
		},
	}
	which(cmd, &spec)
	f := cmd.Flags()
	f.IntVar(&want.Services, "services", 1000, "number of Services")
	f.IntVar(&want.Endpoints, "endpoints", 10, "endpoints of each Service")
	f.StringVar(&want.Namespace, "namespace", "load", "namespace, made if needed")
	f.BoolVar(&want.Pods, "pods", false, "make pod objects on thin nodes and let the real controller make the slices")
	f.BoolVar(&want.Delete, "delete", false, "delete the namespace's load instead")
	return cmd
}
