//go:build linux

package testbed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

const (
	controlPlane = "control-plane"
	holderSocket = "holder.sock"
)

// machine is the control plane or one node: a holder process and what it
// started, all in namespaces of their own.
type machine struct {
	Name    string
	Process process
	dir     string
}

func (m *machine) netnsPath() string { return fmt.Sprintf("/proc/%d/ns/net", m.Process.Pid) }

// root is the machine's file system as seen from outside.
func (m *machine) root() string { return fmt.Sprintf("/proc/%d/root", m.Process.Pid) }

func (m *machine) logPath(service string) string {
	return filepath.Join(m.dir, "log", service+".log")
}

// These mirror the types of the same name in holder.
type (
	holderConfig struct {
		Hostname string
		Dir      string
		Keep     []string
		Mask     map[string]string
		Sysctls  map[string]string
		Socket   string
		Forward  string
	}
	holderRequest struct {
		Op    string
		Name  string
		Args  []string
		Env   []string
		Grace time.Duration
	}
	holderReply struct {
		Error    string
		Output   string
		Services []service
	}
	service struct {
		Name    string
		Pid     int
		Started time.Time
		Exited  bool
		Status  string
	}
)

// kubeletSettings are settings of the whole machine that the kubelet sets at
// its start (container_manager_linux.go, setupKernelTunables). The holder
// shows it the values it wants and leaves the machine alone.
var kubeletSettings = map[string]string{
	"vm/overcommit_memory":      "1",
	"vm/panic_on_oom":           "0",
	"kernel/panic":              "10",
	"kernel/panic_on_oops":      "1",
	"kernel/keys/root_maxkeys":  "1000000",
	"kernel/keys/root_maxbytes": "25000000",
}

// startMachine starts a holder. record is called with its identity before it
// does anything at all; if we die before that it exits by itself.
func startMachine(ctx context.Context, holder string, cfg holderConfig, door *os.File, record func(*machine) error) (*machine, error) {
	m := &machine{Name: cfg.Hostname, dir: cfg.Dir}
	for _, sub := range []string{"log", "bin", "var"} {
		if err := os.MkdirAll(filepath.Join(cfg.Dir, sub), 0o755); err != nil {
			return nil, err
		}
	}
	out, err := os.OpenFile(m.logPath("holder"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	configOut, configIn, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer configIn.Close()

	cmd := exec.Command(holder)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=" + systemPath}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.ExtraFiles = []*os.File{configOut}
	if door != nil {
		cmd.ExtraFiles = append(cmd.ExtraFiles, door)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid: true, // Ctrl-C is for us
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET |
			syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
	}
	err = cmd.Start()
	configOut.Close()
	if err != nil {
		return nil, fmt.Errorf("starting %s in new namespaces: %w", m.Name, err)
	}
	// Takes note of its end whenever that is; it outlives this process.
	go cmd.Wait()

	p, ok := processOf(cmd.Process.Pid)
	if !ok {
		return nil, fmt.Errorf("%s ended at once: %s", m.Name, lastLog(m.logPath("holder")))
	}
	m.Process = p
	if err := record(m); err != nil {
		return nil, err
	}
	if err := json.NewEncoder(configIn).Encode(cfg); err != nil {
		return nil, fmt.Errorf("configuring %s: %w", m.Name, err)
	}
	err = waitFor(ctx, m.Name+"'s holder", 10*time.Second, func(ctx context.Context) error {
		if !m.Process.alive() {
			return fmt.Errorf("it ended: %s", lastLog(m.logPath("holder")))
		}
		_, err := m.list(ctx)
		return err
	}, nil)
	return m, err
}

// ask sends one request to the holder.
func (m *machine) ask(ctx context.Context, req holderRequest) (holderReply, error) {
	var reply holderReply
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(m.dir, holderSocket))
	if err != nil {
		return reply, fmt.Errorf("%s does not answer: %w", m.Name, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() }) // ends the blocked read
	defer stop()
	err = json.NewEncoder(conn).Encode(req)
	if err == nil {
		err = json.NewDecoder(conn).Decode(&reply)
	}
	switch {
	case ctx.Err() != nil:
		return reply, ctx.Err()
	case err != nil:
		return reply, fmt.Errorf("asking %s to %s %s: %w", m.Name, req.Op, req.Name, err)
	case reply.Error != "":
		return reply, errors.New(m.Name + ": " + reply.Error)
	}
	return reply, nil
}

// command is a program to start on a machine.
type command struct {
	name string
	args []string
	env  []string
}

func (m *machine) start(ctx context.Context, c command) error {
	_, err := m.ask(ctx, holderRequest{Op: "start", Name: c.name, Args: c.args, Env: m.environment(c.env)})
	return err
}

// run starts a command, waits for its end and returns its output.
func (m *machine) run(ctx context.Context, c command) (string, error) {
	reply, err := m.ask(ctx, holderRequest{Op: "run", Name: c.name, Args: c.args, Env: m.environment(c.env)})
	if err != nil && reply.Output != "" {
		err = fmt.Errorf("%w: %s", err, lastLines([]byte(reply.Output), 3))
	}
	return reply.Output, err
}

func (m *machine) stop(ctx context.Context, name string, grace time.Duration) error {
	_, err := m.ask(ctx, holderRequest{Op: "stop", Name: name, Grace: grace})
	return err
}

func (m *machine) list(ctx context.Context) ([]service, error) {
	reply, err := m.ask(ctx, holderRequest{Op: "list"})
	return reply.Services, err
}

// path is PATH on this machine: its own iptables links first.
func (m *machine) path() string { return filepath.Join(m.dir, "bin") + ":" + systemPath }

func (m *machine) environment(more []string) []string {
	return append([]string{"PATH=" + m.path(), "HOME=/var/tmp", "TMPDIR=/var/tmp"}, more...)
}

// broken reports a process that has ended, with its last words.
func (m *machine) broken(ctx context.Context, expected []string) error {
	if !m.Process.alive() {
		return fmt.Errorf("%s is gone", m.Name)
	}
	services, err := m.list(ctx)
	if err != nil {
		return err
	}
	byName := map[string]service{}
	for _, s := range services {
		byName[s.Name] = s
	}
	for _, name := range expected {
		s, ok := byName[name]
		if !ok {
			return fmt.Errorf("%s was not started on %s", name, m.Name)
		}
		if s.Exited {
			return fmt.Errorf("%s on %s ended (%s), log %s: %s", name, m.Name, s.Status, m.logPath(name), lastLog(m.logPath(name)))
		}
	}
	return nil
}

func lastLog(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(lastLines(text, 5))
}
