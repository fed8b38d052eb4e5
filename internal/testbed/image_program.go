//go:build linux

package testbed

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/lastcall-k8s/lastcall/manifests/image/tarlayer"
)

// imageFromProgram makes an image of a program of this machine that is linked dynamically: the program, /NAME, with the
// loader and every library that it asks for, under the paths they have here.
func imageFromProgram(ctx context.Context, ref, path string) (Image, error) {
	binary, err := os.ReadFile(path)
	if err != nil {
		return Image{}, fmt.Errorf("making image %s: %w", ref, err)
	}
	out, err := exec.CommandContext(ctx, "ldd", path).CombinedOutput()
	if err != nil {
		return Image{}, fmt.Errorf("making image %s: ldd %s: %w: %s", ref, path, err, out)
	}
	libraries, err := parseLDD(string(out))
	if err != nil {
		return Image{}, fmt.Errorf("making image %s of %s: %w", ref, path, err)
	}
	var more []tarlayer.Entry
	for _, lib := range libraries {
		body, err := os.ReadFile(lib)
		if err != nil {
			return Image{}, fmt.Errorf("making image %s: %w", ref, err)
		}
		more = append(more, tarlayer.Entry{Name: strings.TrimPrefix(lib, "/"), Mode: 0o755, Body: body})
	}
	return imageFromBytes(ref, filepath.Base(path), binary, nil, more...)
}

// parseLDD lists the files in the output of ldd. vdso is none: the kernel maps it.
func parseLDD(out string) (files []string, err error) {
	for line := range strings.Lines(out) {
		name, path, found := strings.Cut(strings.TrimSpace(line), " => ")
		if !found {
			path = name // the loader has no arrow
		}
		path, _, _ = strings.Cut(path, " (")
		switch {
		case path == "not found":
			return nil, fmt.Errorf("library %s is not on this machine", name)
		case filepath.IsAbs(path):
			files = append(files, filepath.Clean(path))
		}
	}
	slices.Sort(files)
	return slices.Compact(files), nil
}
