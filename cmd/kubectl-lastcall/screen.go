package main

import (
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/lastcall-k8s/lastcall/hub/report"
)

// screen is what the output can show.
type screen struct {
	width    int  // columns
	terminal bool // someone looks at it
	colour   bool
	unicode  bool // block characters
}

// view is a screen and whatever else the pure middle may not ask the machine for.
type view struct {
	screen
	now  func() time.Time
	zone *time.Location
	wide bool // -o wide
}

const fallbackWidth = 80

// screenOf finds out about the file that output goes to. An exported COLUMNS wins, as for ls and man.
func screenOf(f *os.File, env func(string) (string, bool)) screen {
	s := screen{width: fallbackWidth, terminal: term.IsTerminal(int(f.Fd()))}
	if s.terminal {
		if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
			s.width = w
		}
	}
	if v, ok := env("COLUMNS"); ok {
		if n, err := strconv.Atoi(v); err == nil && n > 0 {
			s.width = n
		}
	}
	s.colour, s.unicode = abilities(s.terminal, env)
	return s
}

// abilities: colour on a terminal that is not dumb, unless NO_COLOR is set to something (no-color.org); block
// characters on a terminal unless the locale says otherwise, and in a pipe if the locale is UTF-8.
func abilities(terminal bool, env func(string) (string, bool)) (colour, unicode bool) {
	noColour, _ := env("NO_COLOR")
	kind, _ := env("TERM")
	locale := ""
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} { // in the order of setlocale(3)
		if locale, _ = env(name); locale != "" {
			break
		}
	}
	l := strings.ToLower(locale)
	utf8 := strings.Contains(l, "utf-8") || strings.Contains(l, "utf8")
	dumb := kind == "dumb"
	return terminal && noColour == "" && !dumb, utf8 || terminal && locale == "" && !dumb
}

// style is how a piece of text stands out.
type style string

const (
	plain  style = ""
	bold   style = "1"
	dim    style = "2"
	red    style = "31"
	green  style = "32"
	yellow style = "33"
)

func (s screen) paint(text string, st style) string {
	if !s.colour || st == plain || text == "" {
		return text
	}
	return "\x1b[" + string(st) + "m" + text + "\x1b[0m"
}

// shorten is report.Shorten for any screen.
func (s screen) shorten(name string, n int) string {
	short := report.Shorten(name, n)
	if !s.unicode {
		short = strings.ReplaceAll(short, "…", "~")
	}
	return short
}

// clock writes a moment: the time of day, with the date if that was not today.
func (v view) clock(t time.Time, layout string) string {
	if t.IsZero() {
		return "unknown"
	}
	t, now := t.In(v.zone), v.now().In(v.zone)
	if t.Format(time.DateOnly) != now.Format(time.DateOnly) {
		layout = time.DateOnly + " " + layout
	}
	return t.Format(layout)
}

const (
	toSeconds = "15:04:05"
	toMillis  = "15:04:05.000"
)
