package ledger

import (
	"context"
	"encoding/json"
	"sync"
	"time"
)

// Ring keeps the newest event lines, bounded by bytes and by age. Each line is one JSON object; seq
// counts from 1 and has no holes, so a reader knows exactly what it missed.
type Ring struct {
	// Boot identifies this run of the agent: seq starts anew with it.
	Boot     string
	maxBytes int
	maxAge   time.Duration
	timeline func(time.Time) time.Time

	mu    sync.Mutex
	lines []line
	first uint64 // seq of lines[0]
	bytes int
	grown chan struct{} // closed and replaced whenever a line is appended
}

type line struct {
	at   time.Time
	text []byte
}

// NewRing returns an empty ring that keeps at most maxBytes of lines no older than maxAge. Moments are
// written as timeline maps them: onto one that no time service steps or slews.
func NewRing(boot string, maxBytes int, maxAge time.Duration, timeline func(time.Time) time.Time) *Ring {
	return &Ring{Boot: boot, maxBytes: maxBytes, maxAge: maxAge, timeline: timeline, first: 1, grown: make(chan struct{})}
}

// OnTimeline is a moment as the ring's lines tell it.
func (r *Ring) OnTimeline(t time.Time) time.Time { return r.timeline(t) }

// append adds an event as the next line.
func (r *Ring) append(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e.Boot, e.Seq = r.Boot, r.first+uint64(len(r.lines))
	e.onTimeline(r.timeline)
	text, err := json.Marshal(e)
	if err != nil {
		panic(err) // an event is strings, numbers and times
	}
	whole := make([]byte, len(text)+1) // append would leave room for up to as much again, in each of thousands of lines
	whole[copy(whole, text)] = '\n'
	r.lines = append(r.lines, line{at: e.At, text: whole})
	r.bytes += len(whole)
	r.trim(e.At)
	close(r.grown)
	r.grown = make(chan struct{})
}

// trim drops the oldest lines until the bounds hold; the newest line always stays.
func (r *Ring) trim(now time.Time) {
	n := 0
	for n < len(r.lines)-1 && (r.bytes > r.maxBytes || now.Sub(r.lines[n].at) > r.maxAge) {
		r.bytes -= len(r.lines[n].text)
		r.lines[n].text = nil
		n++
	}
	r.lines = r.lines[n:]
	r.first += uint64(n)
}

// Since returns the lines from seq on, the seq after the last of them, and how many lines from seq
// on are gone already.
func (r *Ring) Since(seq uint64) (lines [][]byte, next, lost uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if seq < r.first {
		lost = r.first - seq
		seq = r.first
	}
	end := r.first + uint64(len(r.lines))
	if seq > end {
		seq = end // a reader from another boot
	}
	for _, l := range r.lines[seq-r.first:] {
		lines = append(lines, l.text)
	}
	return lines, end, lost
}

// Wait returns when there is a line with a seq of at least next, or when ctx ends.
func (r *Ring) Wait(ctx context.Context, next uint64) error {
	for {
		r.mu.Lock()
		ready := r.first+uint64(len(r.lines)) > next
		grown := r.grown
		r.mu.Unlock()
		if ready {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-grown:
		}
	}
}
