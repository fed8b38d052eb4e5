package ledger

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// LandedSince is the interval of the line's landing for a departure that began at t0: a path that was learnt late may
// have gone by any of the candidates, but not by one before t0.
func (e Event) LandedSince(t0 time.Time) Interval {
	i := e.Interval
	for _, c := range e.Candidates {
		if c.Hi.After(t0) {
			i.Lo = c.Lo
			break
		}
	}
	if i.Lo.Before(t0) {
		i.Lo = t0
	}
	return i
}

// maxLine bounds an event line that a reader accepts.
const maxLine = 16 << 20

// ReadEvents calls each for every line of /v1/events, until the stream ends.
func ReadEvents(r io.Reader, each func(Event)) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		var e Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return fmt.Errorf("event line %q: %w", lines.Bytes()[:min(200, len(lines.Bytes()))], err)
		}
		each(e)
	}
	return lines.Err()
}
