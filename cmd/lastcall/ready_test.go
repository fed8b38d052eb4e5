package main

import (
	"errors"
	"testing"
)

// TestNotReadyIsOneLine: what agents tell the hub of themselves stands in one line of what people read.
func TestNotReadyIsOneLine(t *testing.T) {
	s := &server{ready: &readiness{}}
	s.ready.set("kubernetes API", errors.Join(errors.New("services are not listed yet"), errors.New("pods are not listed yet")))
	s.ready.set("kernel", errors.New("later"))
	if got, want := s.notReady(), "kubernetes API: services are not listed yet; pods are not listed yet; kernel: later"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
