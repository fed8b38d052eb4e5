//go:build linux || darwin

package store

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
)

// own takes the lock that says which hub uses the store. Two hubs, as during a rolling update, would give the same
// episode number to different episodes. The kernel drops the lock with the process, however that ends. It is a
// file of its own: a lock on the database itself would meet SQLite's on NFS, where flock is emulated by fcntl.
func own(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	switch err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); {
	case errors.Is(err, syscall.EWOULDBLOCK):
		return nil, errors.Join(faultf(InUse, "another hub holds %s", path), f.Close())
	case err != nil && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, syscall.ENOLCK):
		return nil, errors.Join(&os.PathError{Op: "lock", Path: path, Err: err}, f.Close())
	}
	return f, nil
}

// volumeBytes is how large the volume of path is, for who is not root; 0 if that is unknown.
func volumeBytes(path string) int64 {
	var st syscall.Statfs_t
	if err := syscall.Statfs(filepath.Dir(path), &st); err != nil {
		return 0
	}
	return (int64(st.Blocks) - int64(st.Bfree) + int64(st.Bavail)) * int64(st.Bsize)
}
