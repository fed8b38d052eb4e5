package main

import (
	"testing"
	"time"
)

// worldClock is a machine whose clocks are set by the test: what Go reads may be stepped and slewed, RAW is true.
type worldClock struct {
	start time.Time
	true_ time.Duration // elapsed
	mono  time.Duration // elapsed by CLOCK_MONOTONIC
	slew  float64
}

func (w *worldClock) pass(d time.Duration) {
	w.true_ += d
	w.mono += time.Duration(float64(d) * (1 + w.slew))
}

// read gives Go's moment by CLOCK_MONOTONIC: Add keeps its monotonic reading, as time.Now's has one.
func (w *worldClock) read() (time.Time, time.Duration) { return w.start.Add(w.mono), w.true_ }

// TestTimeline: moments are told by the bare oscillator whatever a time service does to the clock that Go reads.
func TestTimeline(t *testing.T) {
	w := &worldClock{start: time.Now()}
	l := newTimeline(w.read)
	begin := l.now()
	type moment struct {
		at    time.Time
		true_ time.Duration
	}
	var moments []moment
	for second := range 600 {
		switch second {
		case 100:
			w.slew = 500e-6
		case 300:
			w.slew = -0.0833 // chrony's limit
		case 400:
			w.slew = 0
		}
		for range 10 {
			w.pass(100 * time.Millisecond)
			at, elapsed := w.read()
			moments = append(moments, moment{at, elapsed})
		}
		l.note()
	}
	var worst time.Duration
	for _, m := range moments {
		worst = max(worst, (l.of(m.at).Sub(begin) - m.true_).Abs())
	}
	if worst > time.Millisecond {
		t.Errorf("off by up to %v", worst)
	}
	if drift := l.now().Sub(begin) - w.true_; drift != 0 {
		t.Errorf("now is off by %v", drift)
	}
	w.pass(3 * time.Second) // nothing was noted for a while
	at, elapsed := w.read()
	if off := (l.of(at).Sub(begin) - elapsed).Abs(); off > time.Microsecond {
		t.Errorf("a moment that was just taken is off by %v", off)
	}
}

// TestReadClocks: the two clocks are read together, on this machine too.
func TestReadClocks(t *testing.T) {
	l := newTimeline(readClocks)
	if off := time.Since(l.now()).Abs(); off > time.Second {
		t.Errorf("the timeline starts %v off the wall clock", off)
	}
	before := l.now()
	got := l.of(time.Now())
	if after := l.now(); got.Before(before.Add(-time.Millisecond)) || got.After(after.Add(time.Millisecond)) {
		t.Errorf("%v is not between %v and %v", got, before, after)
	}
	if a, b := clockEpoch(), clockEpoch(); a != b || len(a) < 36 {
		t.Errorf("epoch %q, then %q", a, b)
	}
}
