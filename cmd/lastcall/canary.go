package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
)

// canaryFlags are a canary's whole configuration.
type canaryFlags struct {
	listen   string
	linger   time.Duration
	logLevel string
}

// canaryCommand is what the pods of `kubectl lastcall measure` run. It asks nobody for anything and needs no right.
func canaryCommand() *cobra.Command {
	var f canaryFlags
	c := &cobra.Command{
		Use:   "canary",
		Short: "Answers over HTTP until some seconds after it is told to stop: the pods of kubectl lastcall measure",
		Long: `The server in the pods that kubectl lastcall measure makes and deletes. It answers every request with its pod's name,
and when it is told to stop it goes on answering for --linger: whoever is still sent there meanwhile is served.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, err := newLog(cmd, f.logLevel)
			if err != nil {
				return err
			}
			if f.linger < 0 {
				return fmt.Errorf("--linger %v: must not be negative", f.linger)
			}
			s := &site{flag: "--listen", address: f.listen, handler: canaryAnswers(), most: 256}
			if err := listenAll([]*site{s}); err != nil {
				return err
			}
			log.Info("started", "version", buildVersion(), "listen", s.listener.Addr().String(), "linger", f.linger)
			return lingering(cmd.Context(), f.linger, func(ctx context.Context) error { return serve(ctx, time.Second, log, s) })
		},
	}
	fl := c.Flags()
	fl.SortFlags = false
	fl.StringVar(&f.listen, "listen", ":8080", "address of the HTTP server")
	fl.DurationVar(&f.linger, "linger", 5*time.Second, "how long it goes on answering after SIGTERM")
	fl.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
	return c
}

func canaryAnswers() http.Handler {
	name, _ := os.Hostname()
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, name) })
}

// lingering runs something until some time after ctx ended, or until it ends by itself.
func lingering(ctx context.Context, linger time.Duration, run func(context.Context) error) error {
	later, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	var g errgroup.Group
	g.Go(func() error {
		defer end()
		return run(later)
	})
	g.Go(func() error {
		select {
		case <-later.Done():
			return nil
		case <-ctx.Done():
		}
		select {
		case <-later.Done():
		case <-time.After(linger):
			end()
		}
		return nil
	})
	return g.Wait()
}
