package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/netutil"
	"golang.org/x/sync/errgroup"
)

// site is one address that is served.
type site struct {
	flag    string // that gave the address, for errors
	address string // "": not served
	tls     *tls.Config
	handler http.Handler
	// most bounds the connections: whoever finds the port must not take our memory.
	most int

	listener net.Listener
}

// listen opens the site's address. An address in use must fail before anything else is started.
func (s *site) listen() error {
	if s.address == "" {
		return nil
	}
	l, err := net.Listen("tcp", s.address)
	if err != nil {
		return fmt.Errorf("%s: %w", s.flag, err)
	}
	l = netutil.LimitListener(l, s.most)
	if s.tls != nil {
		l = tls.NewListener(l, s.tls)
	}
	s.listener = l
	return nil
}

// listenAll opens all sites or none.
func listenAll(sites []*site) error {
	for i, s := range sites {
		if err := s.listen(); err != nil {
			for _, opened := range sites[:i] {
				if opened.listener != nil {
					opened.listener.Close()
				}
			}
			return err
		}
	}
	return nil
}

// serve serves all sites until ctx ends; then what is being answered has grace to end.
func serve(ctx context.Context, grace time.Duration, log *slog.Logger, sites ...*site) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, s := range sites {
		if s.listener == nil {
			continue
		}
		server := &http.Server{Handler: s.handler, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 32 << 10,
			// Failed handshakes and the like are the other side's business.
			ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
		g.Go(func() error {
			if err := server.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("serve %s: %w", s.flag, err)
			}
			return nil
		})
		g.Go(func() error {
			<-ctx.Done()
			end, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
			defer cancel()
			if server.Shutdown(end) != nil {
				server.Close()
			}
			return nil
		})
	}
	return g.Wait()
}

// refuse answers with an error, in JSON as all of /v1.
func refuse(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]string{"error": text}) //nolint:errcheck // the reader has left
}
