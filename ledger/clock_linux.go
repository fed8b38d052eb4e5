package ledger

import (
	"math"

	"golang.org/x/sys/unix"
)

// clockMaxError is the kernel's bound on the error of CLOCK_REALTIME, in seconds. The kernel lets it
// grow by 500 ppm without a time service, and stops at 16 s (kernel/time/ntp.c, NTP_PHASE_LIMIT).
func clockMaxError() float64 {
	var t unix.Timex
	if _, err := unix.Adjtimex(&t); err != nil {
		return math.NaN()
	}
	return float64(t.Maxerror) / 1e6
}
