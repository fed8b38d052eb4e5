package probes

import (
	"golang.org/x/sys/unix"
)

// shortSlice asks the scheduler to let the calling thread in early: since Linux 6.12 a task of the normal policy
// may request a slice of its own, and a short one preempts whoever runs a longer one (EEVDF with
// PREEMPT_SHORT, kernel/sched/fair.c). No privilege is needed; a task that sleeps nearly all the
// time takes nothing from others. Older kernels ignore the request: intervals are wider then.
func shortSlice() {
	attr, err := unix.SchedGetAttr(0, 0)
	if err != nil || attr.Policy != unix.SCHED_NORMAL {
		return
	}
	attr.Runtime = 100_000        // ns, the least that the kernel grants
	unix.SchedSetAttr(0, attr, 0) //nolint:errcheck // see above
}
