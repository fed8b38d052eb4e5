package main

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// timeline is the time of this process: the wall clock at its start, and from there CLOCK_MONOTONIC_RAW. A wall
// clock is stepped by whoever sets it, and CLOCK_MONOTONIC, which Go measures with, is slewed with it (adjtimex, ntpd up
// to 500 ppm, chrony up to 83,333 ppm); RAW is the bare oscillator, so two of them drift apart by no more
// than theirs do. What the hub is told are moments on this timeline.
//
// Go's moments are brought onto it between two readings of both clocks. One is taken each second, so a slew that
// starts or ends in between is off by what it does in half a second.
type timeline struct {
	read func() (time.Time, time.Duration)

	mu       sync.Mutex
	start    time.Time
	readings []reading // oldest first
}

// reading is what both clocks showed at one moment.
type reading struct {
	at  time.Time // with Go's monotonic reading
	raw time.Duration
}

// readings kept: as many minutes as the commit log has, from which the oldest moments come.
const maxReadings = 11 * 60

func newTimeline(read func() (time.Time, time.Duration)) *timeline {
	l := &timeline{read: read}
	at, raw := read()
	l.start, l.readings = at, []reading{{at, raw}}
	return l
}

// note takes a reading; it is called each second.
func (l *timeline) note() {
	at, raw := l.read()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.readings = append(l.readings, reading{at, raw})
	if len(l.readings) > maxReadings {
		// The first stays: it is where the timeline starts.
		l.readings = slices.Delete(l.readings, 1, len(l.readings)-maxReadings+1)
	}
}

func (l *timeline) now() time.Time {
	_, raw := l.read()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.moment(raw)
}

// of brings a moment of Go's clock onto the timeline. It must come from time.Now, directly or by addition.
func (l *timeline) of(t time.Time) time.Time {
	l.mu.Lock()
	newest := l.readings[len(l.readings)-1]
	l.mu.Unlock()
	if t.After(newest.at) {
		l.note()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	i, _ := slices.BinarySearchFunc(l.readings, t, func(r reading, t time.Time) int { return r.at.Compare(t) })
	i = min(max(i, 1), len(l.readings)-1)
	if i == 0 {
		return l.moment(l.readings[0].raw + t.Sub(l.readings[0].at))
	}
	a, b := l.readings[i-1], l.readings[i]
	rate := 1.0
	if d := b.at.Sub(a.at); d > 0 {
		rate = float64(b.raw-a.raw) / float64(d)
	}
	return l.moment(a.raw + time.Duration(float64(t.Sub(a.at))*rate))
}

func (l *timeline) moment(raw time.Duration) time.Time {
	// Round strips Go's monotonic reading: the result is a moment of another clock.
	return l.start.Round(0).Add(raw - l.readings[0].raw).UTC()
}

// readClocks reads Go's clock and CLOCK_MONOTONIC_RAW at the same moment: the best of a few tries, since this
// thread may be interrupted between the two.
func readClocks() (time.Time, time.Duration) {
	var at time.Time
	var raw time.Duration
	best := time.Duration(math.MaxInt64)
	for range 5 {
		before := time.Now()
		r := clock(unix.CLOCK_MONOTONIC_RAW)
		if d := time.Since(before); d < best {
			best, at, raw = d, before.Add(d/2), r
		}
		if best < 2*time.Microsecond {
			break
		}
	}
	return at, raw
}

func clock(id int32) time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(id, &t) != nil {
		return 0 // cannot be: these clocks exist since Linux 2.6.39
	}
	return time.Duration(t.Nano())
}

// clockEpoch changes when the timeline of this machine was interrupted: at boot, and when it was suspended, which
// CLOCK_MONOTONIC_RAW does not count. A virtual machine that is paused from outside does not know: the hub
// sees that by a sample that fits none before.
func clockEpoch() string {
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	suspended := clock(unix.CLOCK_BOOTTIME) - clock(unix.CLOCK_MONOTONIC)
	return fmt.Sprintf("%s+%d", strings.TrimSpace(string(boot)), suspended.Round(10*time.Millisecond).Milliseconds())
}

// clockMaxError is the kernel's bound on the error of CLOCK_REALTIME, in seconds. The kernel lets it
// grow by 500 ppm without a time service, and stops at 16 s (kernel/time/ntp.c, NTP_PHASE_LIMIT).
func clockMaxError() float64 {
	var t unix.Timex
	if _, err := unix.Adjtimex(&t); err != nil {
		return math.NaN()
	}
	return float64(t.Maxerror) / 1e6
}
