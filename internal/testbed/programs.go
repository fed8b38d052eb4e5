//go:build linux

package testbed

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// Our own small programs travel inside the testbed as source and are compiled
// into the cache under a hash of it: whatever binary imports this package (a
// test for example) brings them along, and an edit makes a new one.
//
//go:embed holder/*.go pause/*.go server/*.go
var programSource embed.FS

// program returns the path of a compiled holder, pause or server.
func program(ctx context.Context, cacheDir, name string) (string, error) {
	files, err := fs.Glob(programSource, name+"/*.go")
	if err != nil || len(files) == 0 {
		return "", fmt.Errorf("no program %q inside the testbed", name)
	}
	hash := sha256.New()
	source := map[string][]byte{}
	for _, file := range files {
		text, err := programSource.ReadFile(file)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(hash, "%s %d\n%s", file, len(text), text)
		source[filepath.Base(file)] = text
	}
	path := filepath.Join(cacheDir, "programs", name+"-"+hex.EncodeToString(hash.Sum(nil))[:16])
	if isExecutable(path) {
		return path, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(filepath.Dir(path), "tmp-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	source["go.mod"] = []byte("module lastcall.test/" + name + "\n\ngo 1.24\n")
	for file, text := range source {
		if err := os.WriteFile(filepath.Join(dir, file), text, 0o644); err != nil {
			return "", err
		}
	}
	built := filepath.Join(dir, name)
	if _, err := runGo(ctx, dir, "build", "-buildvcs=false", "-trimpath", "-ldflags", "-s -w", "-o", built, "."); err != nil {
		return "", fmt.Errorf("building %s with %s: %w", name, runtime.Version(), err)
	}
	return path, os.Rename(built, path)
}
