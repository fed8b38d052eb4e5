//go:build linux

package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/lastcall-k8s/lastcall/internal/testbed"
)

func image() *cobra.Command {
	var spec testbed.Spec
	var name string
	cmd := &cobra.Command{
		Use:   "image FILE",
		Short: "Load an image on every node: an archive, or a static binary with --as",
		Long: `Load an image on every node. FILE is an archive as docker save writes it
(NAME.tar), or with --as a static binary that becomes the entrypoint of an
image of that name. Pods must say imagePullPolicy: Never.`,
		Example: `  testbed image --as testbed.local/agent:1 ./lastcall
  testbed image image.tar`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cluster, err := attach(spec)
			if err != nil {
				return err
			}
			if name == "" && strings.HasSuffix(args[0], ".tar") {
				return cluster.LoadArchive(cmd.Context(), args[0])
			}
			image, err := testbed.ImageFromBinary(name, args[0])
			if err != nil {
				return err
			}
			return cluster.LoadImage(cmd.Context(), image)
		},
	}
	which(cmd, &spec)
	cmd.Flags().StringVar(&name, "as", "", "name of the image to make of a binary, with a registry host, like testbed.local/agent:1")
	return cmd
}
