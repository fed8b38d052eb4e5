//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// request and reply are one JSON value each way, one pair per connection.
type request struct {
	Op    string // start, run, stop, list
	Name  string
	Args  []string
	Env   []string
	Grace time.Duration // stop: from SIGTERM to SIGKILL
}

type reply struct {
	Error    string    `json:",omitempty"`
	Output   string    `json:",omitempty"` // run
	Services []service `json:",omitempty"` // list
}

type service struct {
	Name    string
	Pid     int // in this PID namespace
	Started time.Time
	Exited  bool
	Status  string `json:",omitempty"`
	done    chan struct{}
	code    syscall.WaitStatus
}

// services are the programs started here, by name. Nothing is restarted: a
// test that kills something wants it dead.
type services struct {
	dir string

	mu     sync.Mutex // also held around fork, so that reap cannot take a child before it is known
	byName map[string]*service
	byPid  map[int]*service
}

func newServices(dir string) *services {
	return &services{dir: dir, byName: map[string]*service{}, byPid: map[int]*service{}}
}

func (s *services) serve(socket net.Listener) error {
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	go func() {
		for range children {
			s.reap()
		}
	}()
	for {
		conn, err := socket.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			var req request
			if err := json.NewDecoder(conn).Decode(&req); err != nil {
				return
			}
			json.NewEncoder(conn).Encode(s.answer(req))
		}()
	}
}

func (s *services) answer(req request) (r reply) {
	var err error
	switch req.Op {
	case "start":
		_, err = s.start(req, req.Name+".log")
	case "run":
		r.Output, err = s.run(req)
	case "stop":
		err = s.stop(req)
	case "list":
		r.Services = s.list()
	default:
		err = fmt.Errorf("unknown request %q", req.Op)
	}
	if err != nil {
		r.Error = err.Error()
	}
	return r
}

func (s *services) start(req request, logName string) (*service, error) {
	out, err := os.OpenFile(filepath.Join(s.dir, "log", logName), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()

	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.byName[req.Name]; old != nil && !old.Exited {
		return nil, fmt.Errorf("%s is already running", req.Name)
	}
	p, err := os.StartProcess(req.Args[0], req.Args, &os.ProcAttr{
		Dir:   "/",
		Env:   req.Env,
		Files: []*os.File{null, out, out},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", req.Name, err)
	}
	svc := &service{Name: req.Name, Pid: p.Pid, Started: time.Now(), done: make(chan struct{})}
	s.byName[req.Name], s.byPid[p.Pid] = svc, svc
	p.Release() // reap waits for it, and for everybody else's orphans
	return svc, nil
}

// run is start, wait and the output.
func (s *services) run(req request) (string, error) {
	logName := req.Name + ".log"
	os.Remove(filepath.Join(s.dir, "log", logName))
	svc, err := s.start(req, logName)
	if err != nil {
		return "", err
	}
	<-svc.done
	out, err := os.ReadFile(filepath.Join(s.dir, "log", logName))
	if err != nil {
		return "", err
	}
	if svc.code.ExitStatus() != 0 {
		return string(out), fmt.Errorf("%s: %s", req.Name, svc.Status)
	}
	return string(out), nil
}

func (s *services) stop(req request) error {
	s.mu.Lock()
	svc := s.byName[req.Name]
	s.mu.Unlock()
	if svc == nil {
		return fmt.Errorf("%s was never started", req.Name)
	}
	s.signal(svc, syscall.SIGTERM)
	s.signal(svc, syscall.SIGCONT) // a stopped process would sleep through SIGTERM
	select {
	case <-svc.done:
		return nil
	case <-time.After(req.Grace):
	}
	s.signal(svc, syscall.SIGKILL)
	<-svc.done
	return nil
}

// signal holds the lock so that the pid cannot be reaped and reused in between.
func (s *services) signal(svc *service, sig syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !svc.Exited {
		syscall.Kill(svc.Pid, sig)
	}
}

func (s *services) list() []service {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []service
	for _, svc := range s.byName {
		all = append(all, *svc)
	}
	return all
}

func (s *services) reap() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || pid == 0 {
			return
		}
		svc := s.byPid[pid]
		if svc == nil {
			continue // an orphan, a containerd shim for example
		}
		delete(s.byPid, pid)
		svc.Exited, svc.code = true, status
		svc.Status = fmt.Sprintf("exit status %d", status.ExitStatus())
		if status.Signaled() {
			svc.Status = "killed: " + status.Signal().String()
		}
		log.Printf("%s (pid %d) ended: %s", svc.Name, pid, svc.Status)
		close(svc.done)
	}
}
