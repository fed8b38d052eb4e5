package ledger

import (
	"context"
	"strings"
	"testing"
	"time"
)

var someStart = Start{Node: "node-1", Version: "v", Place: "kube-proxy", Backend: "nftables", Families: []Family{IPv4}}

func sameTime(t time.Time) time.Time { return t }

func TestRing(t *testing.T) {
	r := NewRing("b", 2000, time.Minute, sameTime)
	for i := range 100 {
		r.Started(ms(i), someStart)
	}
	lines, next, lost := r.Since(1)
	if next != 101 || lost == 0 || int(lost)+len(lines) != 100 {
		t.Errorf("next %d, lost %d, %d lines; want every line told as kept or lost", next, lost, len(lines))
	}
	size := 0
	for _, l := range lines {
		size += len(l)
	}
	if size > 2000 || size < 1500 {
		t.Errorf("keeps %d bytes, bound 2000", size)
	}
	if !strings.Contains(string(lines[len(lines)-1]), `"seq":100,`) {
		t.Errorf("last line: %s", lines[len(lines)-1])
	}
	if lines, next, lost := r.Since(next); len(lines) != 0 || next != 101 || lost != 0 {
		t.Errorf("a reader that is up to date: %d lines, next %d, lost %d", len(lines), next, lost)
	}
	if lines, next, lost := r.Since(5000); len(lines) != 0 || next != 101 || lost != 0 {
		t.Errorf("a reader from another boot: %d lines, next %d, lost %d", len(lines), next, lost)
	}
	r.Started(ms(100_000), someStart)
	if lines, _, lost := r.Since(1); len(lines) != 1 || lost != 100 {
		t.Errorf("after a minute and a half: %d lines, lost %d; want the newest only", len(lines), lost)
	}
}

func TestRingWait(t *testing.T) {
	r := NewRing("b", 2000, time.Minute, sameTime)
	done := make(chan error)
	go func() { done <- r.Wait(context.Background(), 1) }()
	r.Started(ms(0), someStart)
	if err := <-done; err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() { done <- r.Wait(ctx, 2) }()
	cancel()
	if err := <-done; err != context.Canceled {
		t.Errorf("after cancel: %v", err)
	}
}
