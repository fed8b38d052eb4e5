package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/lastcall-k8s/lastcall/hub/report"
)

// live tells how far it is: on a terminal in a line that is written again, else in a line now and then.
type live struct {
	*cli
	screen screen
	shown  bool      // a line that is to be written again
	next   time.Time // of a plain line
}

const liveEvery = 15 * time.Second

func newLive(c *cli) *live {
	l := &live{cli: c, screen: screen{width: fallbackWidth}}
	if f, ok := c.err.(*os.File); ok {
		l.screen = screenOf(f, os.LookupEnv)
	}
	if kind, ok := os.LookupEnv("TERM"); ok && kind == "dumb" {
		l.screen.terminal = false
	}
	return l
}

// say tells something that stays.
func (l *live) say(format string, args ...any) {
	l.end()
	l.note(format, args...)
	l.next = time.Now().Add(liveEvery)
}

// now tells what is true at the moment.
func (l *live) now(format string, args ...any) {
	text := visible(fmt.Sprintf(format, args...))
	switch {
	case l.screen.terminal:
		if w := l.screen.width - 1; len([]rune(text)) > w {
			text = string([]rune(text)[:max(w, 0)])
		}
		io.WriteString(l.err, "\r"+text+"\x1b[K") //nolint:errcheck // nobody looks
		l.shown = true
	case time.Now().After(l.next):
		fmt.Fprintln(l.err, strings.TrimSpace(text))
		l.next = time.Now().Add(liveEvery)
	}
}

// end takes the line away that is written again.
func (l *live) end() {
	if l.shown {
		io.WriteString(l.err, "\r\x1b[K") //nolint:errcheck // nobody looks
		l.shown = false
	}
}

// tell shows how far it is.
func (r *trialRun) tell(p *plan, current *trial, c crowd, since time.Duration) {
	what := ""
	if n := len(r.done); n > 0 {
		last := r.done[n-1]
		longest := 0.0
		for _, t := range r.done {
			longest = max(longest, t.longest())
		}
		what = fmt.Sprintf(", last %s, longest %s", report.Seconds(last.longest()), report.Seconds(longest))
	}
	switch {
	case current != nil && time.Since(current.begun) > 3*time.Second:
		what += ", waiting for " + pendingAt(current)
	case current == nil && len(c.waiting) == 0 && len(c.starting) > 0:
		what += ", waiting for pods to become ready"
	}
	r.live.now("%d of %d s: %d bursts, %d single%s", int(since.Seconds()), int(r.lasts.Seconds()), p.done[burst], p.done[single], what)
}

// pendingAt is who has not let go, or that nobody says so.
func pendingAt(t *trial) string {
	for _, d := range t.rows {
		for _, l := range d.Slowest {
			if l.Pending > 0 {
				return report.Shorten(either(l.Replica, l.Node), 40)
			}
		}
		if !d.Complete && d.Answered < d.Expected {
			return "all nodes to answer"
		}
	}
	return "the hub"
}
