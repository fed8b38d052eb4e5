package sizing

import (
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// What the watcher recognises as a sleep of N (watcher/container.go; a test compares the two), here to find where N stands, and
// for whoever reads a workload without a watcher.
var (
	sleepLine = regexp.MustCompile(`^[ \t\n]*(?:(?:/usr)?/bin/)?sleep[ \t]+` + sleepTime + `[ \t]*(?:$|(&&|;|\n)[ \t\n]*([^ \t\n]?))`)
	sleepArg  = regexp.MustCompile(`^` + sleepTime + `$`)
)

const sleepTime = `(\d{1,6})([smh]?)`

// SleepOf recognises a command that first sleeps: `sleep N`, and a shell that is given `sleep N [&& rest]`. rest: more runs after it.
func SleepOf(command []string) (seconds *int64, rest bool) {
	s, ok := findSleep(command)
	if !ok {
		return nil, false
	}
	return &s.seconds, s.rest
}

// sleepFor returns the command with another N and nothing else changed. ok is false if it is not a sleep of `was` seconds,
// alone or before something else: then it is not the command that was measured.
func sleepFor(command []string, was, n int64) (changed []string, ok bool) {
	s, ok := findSleep(command)
	if !ok || s.seconds != was {
		return nil, false
	}
	changed = slices.Clone(command)
	word := changed[s.word]
	changed[s.word] = word[:s.from] + strconv.FormatInt(n, 10) + word[s.to:]
	return changed, true
}

// sleepAt is where a command's sleep stands: its N and unit are word[from:to].
type sleepAt struct {
	seconds  int64
	rest     bool
	word     int
	from, to int
}

func findSleep(command []string) (s sleepAt, ok bool) {
	var m []int
	switch {
	case len(command) == 2 && path.Base(command[0]) == "sleep":
		s.word = 1
		m = sleepArg.FindStringSubmatchIndex(command[1])
	case len(command) == 3 && (command[1] == "-c" || command[1] == "-ec") && isShell(command[0]):
		s.word = 2
		m = sleepLine.FindStringSubmatchIndex(command[2])
	}
	if m == nil {
		return s, false
	}
	line := command[s.word]
	group := func(i int) string {
		if 2*i >= len(m) || m[2*i] < 0 {
			return ""
		}
		return line[m[2*i]:m[2*i+1]]
	}
	after := group(4)
	if after != "" && strings.Contains(";&|)", after) || after == "" && group(3) == "&&" {
		return s, false // the shell finds no command there and runs nothing at all
	}
	n, err := strconv.ParseInt(group(1), 10, 64)
	if err != nil {
		return s, false
	}
	s.seconds = n * map[string]int64{"": 1, "s": 1, "m": 60, "h": 3600}[group(2)]
	s.rest, s.from, s.to = after != "", m[2], m[5]
	return s, true
}

func isShell(program string) bool {
	switch path.Base(program) {
	case "sh", "bash", "ash", "dash":
		return true
	}
	return false
}
