package hub

import "time"

// Clock is the answer of an agent's /v1/clock: the moment on its timeline, and whether it is still the timeline it was.
type Clock struct {
	Boot  string    `json:"boot"`  // of the agent, as in its event lines
	Epoch string    `json:"epoch"` // changes when the machine's clock was interrupted: boot, suspend
	Time  time.Time `json:"time"`
}
