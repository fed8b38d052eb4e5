package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
)

func main() { os.Exit(run()) }

// run returns the exit code: 0, 1 for a failure or a failed check, 130 if it was interrupted before it was done.
func run() int {
	// client-go logs what it also returns; people get the error, once.
	klog.SetLogger(logr.Discard())
	rest.SetDefaultWarningHandler(rest.NoWarnings{})

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends it the hard way

	c := &cli{out: os.Stdout, err: os.Stderr,
		view: view{screen: screenOf(os.Stdout, os.LookupEnv), now: time.Now, zone: time.Local}}
	err := rootCommand(c).ExecuteContext(ctx)
	switch {
	case err == nil:
		return 0
	case ctx.Err() != nil:
		return 130
	case !errors.Is(err, errCheckFailed): // its report says it all
		complain(os.Stderr, err)
	}
	return 1
}

// complain prints an error for a person. Parts of it may come from the cluster.
func complain(w io.Writer, err error) {
	for i, line := range strings.Split(strings.TrimRight(err.Error(), "\n"), "\n") {
		if i == 0 {
			line = "error: " + line
		}
		fmt.Fprintln(w, visible(line))
	}
}

// buildVersion is the module's version, with the commit it was built from if it is not a release.
func buildVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	if v == "" {
		v = "(devel)"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return v + "+" + s.Value[:12]
		}
	}
	return v
}
