//go:build linux

// Command holder is process 1 of one machine of the testbed: the control
// plane or a node. It lives in PID, mount, network, UTS and IPC namespaces of
// its own, starts what the testbed asks for over a Unix socket, reaps, and
// otherwise does nothing. Its point is its death: when process 1 of a PID
// namespace is killed the kernel kills every other process in it, and with the
// last process go the mounts and the network. One kill per machine is the
// whole cleanup, whoever does it and whenever.
//
// The testbed compiles this directory from embedded source, so it uses only
// the standard library.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net"
	"os"
	"syscall"
)

// config comes through descriptor 3. The testbed sends it only after it has
// written down our pid, so a testbed killed in between leaves an end of file
// here instead of a process nobody knows.
type config struct {
	Hostname string
	Dir      string            // ours alone: log/, var/, bin/
	Keep     []string          // directories that must stay visible under the same path
	Mask     map[string]string // files of /proc/sys that show this text instead, here only
	Sysctls  map[string]string // of the network namespace
	Socket   string            // where the testbed talks to us
	Forward  string            // where connections accepted on descriptor 4 go; empty: no such descriptor
}

func main() {
	log.SetFlags(log.LstdFlags | log.Lmicroseconds)
	log.Fatal("holder: ", run())
}

// run holds the machine until its end; it returns only if that cannot begin, or cannot go on.
func run() error {
	if os.Getpid() != 1 {
		return errors.New("not process 1: the testbed starts this program, people do not")
	}
	var cfg config
	in := os.NewFile(3, "config")
	if err := json.NewDecoder(in).Decode(&cfg); err != nil {
		return fmt.Errorf("reading the configuration (was the testbed killed?): %w", err)
	}
	in.Close()
	if err := furnish(cfg); err != nil {
		return err
	}
	if err := syscall.Sethostname([]byte(cfg.Hostname)); err != nil {
		return fmt.Errorf("setting the host name: %w", err)
	}
	for name, value := range cfg.Sysctls {
		if err := os.WriteFile("/proc/sys/"+name, []byte(value), 0); err != nil {
			return fmt.Errorf("setting sysctl of the new network namespace: %w", err)
		}
	}
	if cfg.Forward != "" {
		listener, err := net.FileListener(os.NewFile(4, "forward"))
		if err != nil {
			return fmt.Errorf("taking over the listener: %w", err)
		}
		go forward(listener, cfg.Forward)
	}
	syscall.CloseOnExec(3)
	syscall.CloseOnExec(4)
	socket, err := net.Listen("unix", cfg.Socket)
	if err != nil {
		return err
	}
	log.Printf("%s is up", cfg.Hostname)
	return newServices(cfg.Dir).serve(socket)
}
