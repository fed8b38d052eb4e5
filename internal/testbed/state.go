//go:build linux

package testbed

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// state is what down and the next up must know, in DIR/NAME/cluster.json.
type state struct {
	Spec     Spec // with defaults
	Boot     string
	Started  time.Time
	Port     int        // of the API server on 127.0.0.1
	Machines []*machine // every holder that was started
	Complete bool       // up came to its end
}

// ErrNotRunning means that there is no cluster of that name.
var ErrNotRunning = errors.New("no such testbed cluster")

func statePath(dir string) string { return filepath.Join(dir, "cluster.json") }

func readState(dir string) (*state, error) {
	text, err := os.ReadFile(statePath(dir))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w: nothing in %s", ErrNotRunning, dir)
	}
	if err != nil {
		return nil, err
	}
	var s state
	if err := json.Unmarshal(text, &s); err != nil {
		return nil, fmt.Errorf("reading %s: %w", statePath(dir), err)
	}
	if filepath.Join(s.Spec.Dir, s.Spec.Name) != dir {
		return nil, fmt.Errorf("%s describes a cluster in %s: not touching it", statePath(dir), filepath.Join(s.Spec.Dir, s.Spec.Name))
	}
	if s.Boot != bootID() {
		// Another boot's processes are gone; these pids are somebody else's.
		s.Machines, s.Complete = nil, false
	}
	for _, m := range s.Machines {
		m.dir = filepath.Join(dir, m.Name)
	}
	return &s, nil
}

// write replaces the file whole: a reader, or a down after our death, sees one
// version or the next.
func (s *state) write(dir string) error {
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	next := statePath(dir) + ".next"
	if err := os.WriteFile(next, append(text, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(next, statePath(dir))
}
