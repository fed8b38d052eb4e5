package probes

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// lockWatch tells when somebody opens or closes the file with which iptables-legacy's programs exclude one another.
// Every one of them opens it when it starts and closes it when it ends, readers too; nobody has to, and one that
// waits (-w) opens it long before it commits. So an event is a reason to look, or not to look yet, and never a bound: bounds
// are reads.
//
// It watches inodes and opens nothing itself. The directory is watched as well, for a file that appears later or
// is made anew.
type lockWatch struct {
	fd        int
	path      string
	dir, file int // watch descriptors; -1: none

	holders int           // who has it open, as far as was heard
	since   time.Time     // when the first of them opened it, or another was done
	most    time.Duration // for how long from then on one is taken for being at work
}

const (
	// busyMost is how long somebody is taken for being at work: a program that keeps the file open must not keep us from
	// reading.
	busyMost = 10 * time.Second
	// busyLeast is the same for one who still has it open when another is done: twice as long as that one took, or this. The
	// kernel tells of two that close it one after the other as of one (inotify(7): identical events are coalesced), so there
	// may be nobody.
	busyLeast = 100 * time.Millisecond
)

// busy reports whether a program of iptables-legacy is at work.
func (l *lockWatch) busy(now time.Time) bool {
	return l != nil && l.holders > 0 && now.Sub(l.since) < l.most
}

const lockEvents = unix.IN_OPEN | unix.IN_CLOSE_WRITE | unix.IN_CLOSE_NOWRITE

// openLockWatch watches the lock file at path, which need not exist yet.
func openLockWatch(path string) (*lockWatch, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", path, err)
	}
	l := &lockWatch{fd: fd, path: filepath.Clean(path), dir: -1, file: -1}
	l.dir, err = unix.InotifyAddWatch(fd, filepath.Dir(l.path), unix.IN_CREATE|unix.IN_MOVED_TO|unix.IN_ONLYDIR)
	if err == nil {
		err = l.watchFile()
	}
	if err != nil {
		l.close()
		return nil, fmt.Errorf("watch %s: %w", path, err)
	}
	return l, nil
}

func (l *lockWatch) close() { unix.Close(l.fd) }

func (l *lockWatch) watchFile() error {
	file, err := unix.InotifyAddWatch(l.fd, l.path, lockEvents)
	switch {
	case errors.Is(err, unix.ENOENT):
		return nil // the directory tells when it is made
	case err != nil:
		return err
	}
	l.file, l.holders = file, 0
	return nil
}

// touched takes what is new and reports whether somebody may be done with the lock. It does not wait.
func (l *lockWatch) touched() (yes bool, err error) {
	if l == nil {
		return false, nil
	}
	var b [8 << 10]byte
	for {
		n, err := unix.Read(l.fd, b[:])
		switch {
		case errors.Is(err, unix.EAGAIN):
			return yes, nil
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return true, fmt.Errorf("read events of %s: %w", l.path, err)
		}
		again := false
		for e := b[:n]; len(e) >= unix.SizeofInotifyEvent; {
			ne := binary.NativeEndian
			wd, mask := int(int32(ne.Uint32(e))), ne.Uint32(e[4:])
			end := min(len(e), unix.SizeofInotifyEvent+int(ne.Uint32(e[12:])))
			name := string(cString(e[unix.SizeofInotifyEvent:end]))
			e = e[end:]
			switch {
			case mask&unix.IN_Q_OVERFLOW != 0:
				yes, again = true, true
			case wd == l.dir && name == filepath.Base(l.path):
				yes, again = true, true // whoever made it is at work
			case wd == l.file && mask&unix.IN_OPEN != 0:
				l.opened(time.Now())
			case wd == l.file && mask&lockEvents != 0:
				l.closed(time.Now())
				yes = true
			}
		}
		if again {
			if err := l.watchFile(); err != nil {
				return true, fmt.Errorf("watch %s again: %w", l.path, err)
			}
		}
	}
}

func (l *lockWatch) opened(now time.Time) {
	if !l.busy(now) { // whoever was counted is gone
		l.holders, l.since, l.most = 0, now, busyMost
	}
	l.holders++
}

func (l *lockWatch) closed(now time.Time) {
	l.holders = max(0, l.holders-1) // it may have been open before we came
	l.most = min(busyMost, max(busyLeast, 2*now.Sub(l.since)))
	l.since = now
}
