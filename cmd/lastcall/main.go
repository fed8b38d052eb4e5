// Command lastcall measures when every place has stopped sending new connections to a terminating pod.
//
//	lastcall agent    on every node: times removals in this node's kernel
//	lastcall hub      one per cluster: joins what the agents saw
//	lastcall canary   the server in the pods of kubectl lastcall measure
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/prometheus/common/version"
	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	version.Version = buildVersion() // what lastcall_build_info says; the linker is not told it
	root := &cobra.Command{
		Use:   "lastcall",
		Short: "Measures when everyone has let go of a terminating pod",
		Long: "lastcall timestamps when the removal of a terminating pod lands in every node's kernel,\n" +
			"so that preStop can sleep as long as it must, and no longer.",
		Version:       buildVersion(),
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(agentCommand(), hubCommand(), canaryCommand())
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "lastcall: %v\n", err)
		stop()
		os.Exit(1)
	}
}

// buildVersion is the module's version, with the commit it was built from if it is not a release.
func buildVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	// Since Go 1.24 it names the commit itself, where the build knows it.
	v := info.Main.Version
	if v != "" && v != "(devel)" {
		return v
	}
	v = "(devel)"
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return v + "+" + s.Value[:12]
		}
	}
	return v
}
