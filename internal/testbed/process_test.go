//go:build linux

package testbed

import (
	"os"
	"os/exec"
	"testing"
	"time"
)

func TestKillHitsOnlyTheRecordedProcess(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	p, ok := processOf(cmd.Process.Pid)
	if !ok || !p.alive() {
		t.Fatalf("process %d not found", cmd.Process.Pid)
	}
	// The same pid, recorded for a process that is long gone.
	older := process{Pid: p.Pid, Start: p.Start - 1}
	if err := older.kill(time.Second); err != nil || !p.alive() {
		t.Fatalf("killing an older process of the same pid: %v, alive %t", err, p.alive())
	}
	if err := p.kill(5 * time.Second); err != nil {
		t.Fatal(err)
	}
	if p.alive() {
		t.Error("alive after kill, or a zombie counts as alive")
	}
	cmd.Wait()
	if err := p.kill(time.Second); err != nil {
		t.Errorf("killing a process that is gone: %v", err)
	}
}

func TestProcessOfSelf(t *testing.T) {
	if p, ok := processOf(os.Getpid()); !ok || !p.alive() || p.Start == 0 {
		t.Errorf("processOf(self) = %+v, %t", p, ok)
	}
}
