package ledger

import (
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Sleep is a command that first sleeps: `sleep N`, or a shell that is given `sleep N [&& rest]`.
type Sleep struct {
	Seconds int64
	Rest    bool // something runs after it

	command  []string
	word     int // which has the number
	from, to int // where in it, the unit included
}

// sleepLine is `sleep N`, with N in whole seconds, minutes or hours as coreutils and busybox take it, alone or
// before something that runs after it. Anything cleverer is not recognised: a wrong number is worse than none. A
// shell separates words by blanks only: of a script with \r\n, sleep refuses the "5\r" and does not wait.
var sleepLine = regexp.MustCompile(`^[ \t\n]*(?:(?:/usr)?/bin/)?sleep[ \t]+` + sleepTime + `[ \t]*(?:$|(&&|;|\n)[ \t\n]*([^ \t\n]?))`)

var sleepArg = regexp.MustCompile(`^` + sleepTime + `$`)

const sleepTime = `(\d{1,6})([smh]?)`

// SleepOf recognises such a command.
func SleepOf(command []string) (s Sleep, ok bool) {
	var m []int
	s.command = command
	switch {
	case len(command) == 2 && path.Base(command[0]) == "sleep":
		s.word = 1
		m = sleepArg.FindStringSubmatchIndex(command[1])
	case len(command) == 3 && (command[1] == "-c" || command[1] == "-ec") && isShell(command[0]):
		s.word = 2
		m = sleepLine.FindStringSubmatchIndex(command[2])
	}
	if m == nil {
		return Sleep{}, false
	}
	line := command[s.word]
	if len(m) > 6 && m[6] >= 0 {
		separator, next := line[m[6]:m[7]], line[m[8]:m[9]]
		if next != "" && strings.Contains(";&|)", next) || next == "" && separator == "&&" {
			return Sleep{}, false // the shell finds no command there and runs nothing at all
		}
		s.Rest = next != ""
	}
	n, err := strconv.ParseInt(line[m[2]:m[3]], 10, 64)
	if err != nil {
		return Sleep{}, false
	}
	s.Seconds = n * map[string]int64{"": 1, "s": 1, "m": 60, "h": 3600}[line[m[4]:m[5]]]
	s.from, s.to = m[2], m[5]
	return s, true
}

// For is the command with another number of seconds, and nothing else changed.
func (s Sleep) For(seconds int64) []string {
	changed := slices.Clone(s.command)
	changed[s.word] = changed[s.word][:s.from] + strconv.FormatInt(seconds, 10) + changed[s.word][s.to:]
	return changed
}

func isShell(program string) bool {
	switch path.Base(program) {
	case "sh", "bash", "ash", "dash":
		return true
	}
	return false
}
