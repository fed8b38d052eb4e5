package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
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
