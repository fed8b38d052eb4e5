//go:build linux

// Package benchresult holds what every benchmark result says beside its figures: the command, the
// versions and the machine.
package benchresult

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Run is where figures come from.
type Run struct {
	Command string    `json:"command"`
	Date    time.Time `json:"date"`
	Commit  string    `json:"commit"`
	Go      string    `json:"go"`
	Kernel  string    `json:"kernel"`
	CPUs    int       `json:"cpus"`
	CPU     string    `json:"cpu"`
	// Versions of the programs that were measured against, by name.
	Versions map[string]string `json:"versions"`
}

// Describe fills what can be read off this machine. command is what a user types.
func Describe(command string) Run {
	r := Run{Command: command, Date: time.Now().UTC().Truncate(time.Second), Go: runtime.Version(),
		CPUs: runtime.NumCPU(), Versions: map[string]string{}}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		r.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(info)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				r.CPU = strings.TrimSpace(value)
				break
			}
		}
	}
	if out, err := exec.Command("git", "describe", "--always", "--dirty", "--abbrev=12").Output(); err == nil {
		r.Commit = strings.TrimSpace(string(out))
	}
	for name, args := range map[string][]string{"nft": {"nft", "--version"}, "iptables": {"iptables", "--version"}} {
		if out, err := exec.Command(args[0], args[1:]...).Output(); err == nil {
			r.Versions[name] = strings.TrimSpace(string(out))
		}
	}
	return r
}

// Write saves a result as dir/name-DATE.json.
func Write(dir, name string, date time.Time, v any) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, fmt.Sprintf("%s-%s.json", name, date.Format("20060102-1504"))), append(b, '\n'), 0o644)
}

// Newest reads the newest result of a name into v; ok is false if there is none.
func Newest(dir, name string, v any) (file string, ok bool, err error) {
	files, err := filepath.Glob(filepath.Join(dir, name+"-*.json"))
	if err != nil || len(files) == 0 {
		return "", false, err
	}
	slices.Sort(files)
	file = files[len(files)-1]
	b, err := os.ReadFile(file)
	if err != nil {
		return file, false, err
	}
	return file, true, json.Unmarshal(b, v)
}

// ReplaceSection puts text between "<!-- name -->" and "<!-- /name -->" in a Markdown file.
func ReplaceSection(file, name, text string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	begin, end := []byte("<!-- "+name+" -->\n"), []byte("<!-- /"+name+" -->")
	i, j := bytes.Index(b, begin), bytes.Index(b, end)
	if i < 0 || j < i {
		return fmt.Errorf("%s has no section %q", file, name)
	}
	out := append(slices.Clone(b[:i+len(begin)]), text...)
	return os.WriteFile(file, append(out, b[j:]...), 0o644)
}
