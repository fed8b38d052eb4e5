package sizing

import (
	"path"
	"regexp"
	"slices"
	"strconv"
)

// sleepLine is what the watcher recognises as a sleep of N (watcher/container.go; a test compares the two), here to find where
// N stands.
var sleepLine = regexp.MustCompile(`^\s*(?:/usr)?(?:/bin/)?sleep\s+(\d{1,6})([smh]?)\s*(?:$|(&&|;|\n)\s*(\S?))`)

// sleepFor returns the command with another N and nothing else changed. ok is false if it is not a sleep of `was` seconds,
// alone or before something else: then it is not the command that was measured.
func sleepFor(command []string, was, n int64) (changed []string, ok bool) {
	line, word, before := "", 0, 0
	switch {
	case len(command) == 2 && path.Base(command[0]) == "sleep":
		line, word, before = "sleep "+command[1], 1, len("sleep ")
	case len(command) == 3 && (command[1] == "-c" || command[1] == "-ec") && isShell(command[0]):
		line, word = command[2], 2
	}
	m := sleepLine.FindStringSubmatchIndex(line)
	if m == nil {
		return nil, false
	}
	has, err := strconv.ParseInt(line[m[2]:m[3]], 10, 64)
	unit := map[string]int64{"": 1, "s": 1, "m": 60, "h": 3600}[line[m[4]:m[5]]]
	if err != nil || has*unit != was {
		return nil, false
	}
	changed = slices.Clone(command)
	changed[word] = line[before:m[2]] + strconv.FormatInt(n, 10) + line[m[5]:]
	return changed, true
}

func isShell(program string) bool {
	switch path.Base(program) {
	case "sh", "bash", "ash", "dash":
		return true
	}
	return false
}
