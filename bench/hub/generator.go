//go:build linux

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"
)

// generatorEnv makes this program the generator: the agents' processor time is then another process's than the hub's.
const generatorEnv = "LASTCALL_BENCH_HUB_SHAPE"

// request and reply are what the two processes say to each other, a line of JSON each.
type request struct {
	Do   string `json:"do"`             // "begin", "end", "look", "cool"
	Path string `json:"path,omitempty"` // of cool
}

type reply struct {
	Error string    `json:"error,omitempty"`
	API   string    `json:"api,omitempty"` // the first reply
	CA    []byte    `json:"ca,omitempty"`
	Port  int       `json:"port,omitempty"`
	Begun time.Time `json:"begun,omitzero"`
	Last  int       `json:"last,omitempty"`
	CPU   float64   `json:"cpu,omitempty"`   // seconds so far
	Lines uint64    `json:"lines,omitempty"` // written so far by all agents
}

// generate is the generator: it ends with its input.
func generate(text string, in io.Reader, out io.Writer) error {
	a := &agents{}
	if err := json.Unmarshal([]byte(text), &a.shape); err != nil {
		return err
	}
	ca, err := a.serve()
	if err != nil {
		return err
	}
	defer a.close() //nolint:errcheck // the process ends
	h, err := api(a.shape)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	a.served.Go(func() {
		server.Serve(l) //nolint:errcheck // it ends by close
	})
	defer server.Close()
	say := json.NewEncoder(out)
	if err := say.Encode(reply{API: "http://" + l.Addr().String(), CA: ca, Port: a.Port}); err != nil {
		return err
	}
	for asked := json.NewDecoder(in); ; {
		var q request
		if err := asked.Decode(&q); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		var r reply
		switch q.Do {
		case "begin":
			r.Begun = a.begin()
		case "end":
			r.Last = a.script.Load().end(time.Now())
		case "look":
			r.CPU, r.Lines = processor(), a.written()
		case "cool":
			if err := cool(q.Path); err != nil {
				r.Error = err.Error()
			}
		}
		if err := say.Encode(r); err != nil {
			return err
		}
	}
}

// cool makes the next reads of a file come from its disk. Not in the hub's process: closing a descriptor of SQLite's file
// there would drop its locks.
func cool(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return err
	}
	return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
}

// processor is this process's time on processors, in seconds.
func processor() float64 {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

// generator is the other process, seen from the hub's.
type generator struct {
	reply // the first
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   *bufio.Reader
}

func start(s shape) (*generator, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	g := &generator{cmd: exec.Command(self)}
	g.cmd.Env = append(os.Environ(), generatorEnv+"="+string(text))
	g.cmd.Stderr = os.Stderr
	if g.in, err = g.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := g.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	g.out = bufio.NewReader(out)
	if err := g.cmd.Start(); err != nil {
		return nil, err
	}
	g.reply, err = g.read()
	if err != nil {
		g.close() //nolint:errcheck // reading failed first
	}
	return g, err
}

func (g *generator) read() (r reply, err error) {
	line, err := g.out.ReadBytes('\n')
	if err != nil {
		return r, fmt.Errorf("the generator is gone: %w", err)
	}
	if err := json.Unmarshal(line, &r); err != nil {
		return r, err
	}
	if r.Error != "" {
		return r, fmt.Errorf("generator: %s", r.Error)
	}
	return r, nil
}

func (g *generator) ask(q request) (reply, error) {
	if err := json.NewEncoder(g.in).Encode(q); err != nil {
		return reply{}, err
	}
	return g.read()
}

// close ends the generator: its input ends.
func (g *generator) close() error {
	g.in.Close()
	return g.cmd.Wait()
}
