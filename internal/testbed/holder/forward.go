//go:build linux

package main

import (
	"io"
	"log"
	"net"
	"time"
)

// forward copies connections from a listener to an address in this network
// namespace. The listener was opened by the testbed in the machine's own
// namespace, and a socket stays in the namespace it was opened in: this one
// process is the door, and it closes with the control plane.
func forward(listener net.Listener, addr string) {
	for {
		outside, err := listener.Accept()
		if err != nil {
			log.Printf("forwarder: accept: %v", err)
			return
		}
		go func() {
			defer outside.Close()
			inside, err := net.DialTimeout("tcp", addr, 5*time.Second)
			if err != nil {
				return // the API server is down: the client sees the close
			}
			defer inside.Close()
			go func() {
				io.Copy(inside, outside)
				inside.(*net.TCPConn).CloseWrite()
			}()
			io.Copy(outside, inside)
		}()
	}
}
