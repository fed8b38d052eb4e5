//go:build linux

package testbed

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
)

func TestLockExcludesAlsoWhileItsFileIsRemoved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deep", "lock")
	var holders atomic.Int32
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			release, err := lockFile(t.Context(), path, true, nil)
			if err != nil {
				t.Error(err)
				return
			}
			if n := holders.Add(1); n != 1 {
				t.Errorf("%d hold the lock", n)
			}
			holders.Add(-1)
			release()
		})
	}
	group.Wait()
}

func TestLockWaitEndsWithContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	release, err := lockFile(t.Context(), path, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	ctx, cancel := context.WithCancel(t.Context())
	_, err = lockFile(ctx, path, false, cancel)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("waiting for a held lock ended with %v", err)
	}
}
