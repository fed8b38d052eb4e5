package ledger

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
)

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
