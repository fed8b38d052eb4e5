//go:build linux

package testbed

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// process identifies a process for good: a pid is reused, a pid with its start
// time (in clock ticks since boot) is not.
type process struct {
	Pid   int
	Start uint64
}

// processOf reads the identity of a running process; ok is false if there is
// none. A zombie has ended: only its parent still has to take note.
func processOf(pid int) (p process, ok bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return process{}, false
	}
	// The second field is the name in brackets and may contain anything.
	_, rest, found := strings.Cut(string(text[max(0, strings.LastIndexByte(string(text), ')')):]), ") ")
	fields := strings.Fields(rest)
	if !found || len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return process{}, false
	}
	start, err := strconv.ParseUint(fields[19], 10, 64)
	return process{Pid: pid, Start: start}, err == nil
}

func (p process) alive() bool {
	now, ok := processOf(p.Pid)
	return ok && now == p
}

// kill ends exactly this process and returns when it has ended, which for
// process 1 of a PID namespace is when everything in it has.
func (p process) kill(limit time.Duration) error {
	fd, err := unix.PidfdOpen(p.Pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("opening process %d: %w", p.Pid, err)
	}
	defer unix.Close(fd)
	// Compared after opening: the descriptor now holds whoever this is.
	if !p.alive() {
		return nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("killing process %d: %w", p.Pid, err)
	}
	until := time.Now().Add(limit)
	for {
		left := time.Until(until)
		if left <= 0 {
			return fmt.Errorf("process %d did not end within %s of SIGKILL", p.Pid, limit)
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left.Milliseconds())+1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		if n > 0 {
			return nil
		}
	}
}

// outsidePid finds the pid, as we see it, of a process whose pid inside the
// PID namespace of holder is known.
func outsidePid(holder, inside int) (int, error) {
	space, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", holder))
	if err != nil {
		return 0, err
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if s, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", pid)); err != nil || s != space {
			continue
		}
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(status)) {
			if pids, ok := strings.CutPrefix(line, "NSpid:"); ok {
				f := strings.Fields(pids)
				if f[len(f)-1] == strconv.Itoa(inside) {
					return pid, nil
				}
			}
		}
	}
	return 0, fmt.Errorf("no process with pid %d in the PID namespace of %d", inside, holder)
}

// bootID tells boots apart: start times begin anew with each.
func bootID() string {
	text, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(text))
}
