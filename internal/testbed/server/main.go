//go:build linux

// Command server is the workload of tests and demos: it says its own name over
// HTTP (--port) and over plain TCP (--tcp-port: the name on accept, then
// silence until the client closes). What it does on SIGTERM is a choice:
//
//	stop    close everything and exit at once, like most servers (default)
//	cut     reset the plain TCP connections that are open, and exit at once
//	drain   stop accepting, finish what runs, at most --drain, then exit
//	ignore  nothing: SIGKILL comes at the end of the grace period
//
// Every flag can be set by an environment variable too (PORT, TCP_PORT,
// ON_SIGTERM, DRAIN, NAME). Called as "sleep" it is sleep(1), for preStop
// hooks of the exec kind in an image without a shell.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	log.SetFlags(log.LstdFlags | log.Lmicroseconds)
	if filepath.Base(os.Args[0]) == "sleep" {
		sleep(os.Args[1:])
		return
	}
	host, _ := os.Hostname()
	var (
		port    = flag.String("port", env("PORT", "8080"), "HTTP port")
		tcpPort = flag.String("tcp-port", env("TCP_PORT", "8081"), "TCP port, empty for none")
		onTerm  = flag.String("on-sigterm", env("ON_SIGTERM", "stop"), "stop, cut, drain or ignore")
		drain   = flag.Duration("drain", envDuration("DRAIN", 30*time.Second), "longest drain")
		name    = flag.String("name", env("NAME", host), "what to answer")
	)
	flag.Parse()

	stop := make(chan os.Signal, 1)
	switch *onTerm {
	case "ignore":
		signal.Ignore(syscall.SIGTERM)
	case "stop", "cut", "drain":
		signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	default:
		log.Fatalf("--on-sigterm %q: want stop, cut, drain or ignore", *onTerm)
	}

	web := &http.Server{Addr: ":" + *port, Handler: handler(*name)}
	go func() {
		if err := web.ListenAndServe(); err != http.ErrServerClosed {
			log.Fatal(err)
		}
	}()
	plain := &greeter{name: *name}
	if *tcpPort != "" {
		listener, err := net.Listen("tcp", ":"+*tcpPort)
		if err != nil {
			log.Fatal(err)
		}
		plain.listener = listener
		go plain.serve()
	}
	log.Printf("%s serves HTTP on %s, TCP on %s; on SIGTERM: %s", *name, *port, *tcpPort, *onTerm)
	<-stop
	log.Print("told to stop")
	switch *onTerm {
	case "cut":
		plain.cut()
	case "drain":
		ctx, cancel := context.WithTimeout(context.Background(), *drain)
		defer cancel()
		plain.drain(ctx)
		web.Shutdown(ctx)
	}
	log.Print("stopped")
}

// handler answers with the name; /readyz can be switched by PUT with the body
// "true" or "false", so that a test can make a pod unready without ending it.
func handler(name string) http.Handler {
	var unready atomic.Bool
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if d, err := time.ParseDuration(r.FormValue("delay")); err == nil {
			time.Sleep(d)
		}
		fmt.Fprintln(w, name)
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if unready.Load() {
			http.Error(w, "told to be unready", http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("PUT /readyz", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(io.LimitReader(r.Body, 16))
		ready, err := strconv.ParseBool(strings.TrimSpace(string(body)))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		unready.Store(!ready)
	})
	return mux
}

// greeter is the TCP server: one line per connection, the client closes.
type greeter struct {
	name     string
	listener net.Listener
	open     sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool
}

func (g *greeter) serve() {
	for {
		conn, err := g.listener.Accept()
		if err != nil {
			return
		}
		g.open.Add(1)
		g.hold(conn, true)
		go func() {
			defer g.open.Done()
			defer conn.Close()
			defer g.hold(conn, false)
			fmt.Fprintln(conn, g.name)
			io.Copy(io.Discard, conn)
		}()
	}
}

func (g *greeter) hold(conn net.Conn, open bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.conns == nil {
		g.conns = map[net.Conn]bool{}
	}
	if open {
		g.conns[conn] = true
	} else {
		delete(g.conns, conn)
	}
}

// cut resets what is open: closing a socket that does not linger sends a reset (socket(7), SO_LINGER).
func (g *greeter) cut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for conn := range g.conns {
		conn.(*net.TCPConn).SetLinger(0)
		conn.Close()
	}
}

func (g *greeter) drain(ctx context.Context) {
	if g.listener == nil {
		return
	}
	g.listener.Close()
	idle := make(chan struct{})
	go func() { g.open.Wait(); close(idle) }()
	select {
	case <-idle:
	case <-ctx.Done():
	}
}

func sleep(args []string) {
	for _, arg := range args {
		if seconds, err := strconv.ParseFloat(arg, 64); err == nil {
			time.Sleep(time.Duration(seconds * float64(time.Second)))
		} else if d, err := time.ParseDuration(arg); err == nil {
			time.Sleep(d)
		} else {
			fmt.Fprintf(os.Stderr, "sleep: invalid time interval %q\n", arg)
			os.Exit(1)
		}
	}
}

func env(name, fallback string) string {
	if v, ok := os.LookupEnv(name); ok {
		return v
	}
	return fallback
}

func envDuration(name string, fallback time.Duration) time.Duration {
	d, err := time.ParseDuration(os.Getenv(name))
	if err != nil {
		return fallback
	}
	return d
}
