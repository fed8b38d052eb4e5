package ledger

import (
	"fmt"
	"path"
	"strconv"
	"strings"
	"testing"
)

// FuzzSleep holds that a preStop command is taken for a sleep only if a shell would read it as one, by splitting it in
// the plainest way; and that a number, once recognised, can be written back (that is what a patch does).
func FuzzSleep(f *testing.F) {
	for _, line := range []string{"sleep 5", " /bin/sleep 10s && nginx -s quit", "sleep 2m; kill 1", "sleep 1\nexit", "sleep 5\r\nexit", "sleep\n5",
		"/usrsleep 5", "sleep 5 ;; x", "sleep 5 &&", "sleep 5 & wait", "sleep 5 || true", "sleep $N", "sleep 5 5", "sleep 0x10", "sleep 1e3"} {
		f.Add("/bin/sh", "-c", line)
	}
	f.Add("sleep", "5", "")
	f.Add("/bin/sleep", "5; x", "")
	f.Fuzz(func(t *testing.T, program, first, second string) {
		command := []string{program, first, second}
		if second == "" {
			command = command[:2]
		}
		s, ok := SleepOf(command)
		if !ok {
			return
		}
		want, wantRest, err := readSleep(command)
		if err != nil || s.Seconds != want || s.Rest != wantRest {
			t.Fatalf("%q is said to sleep %d s (rest: %v), want %d s (%v), %v", command, s.Seconds, s.Rest, want, wantRest, err)
		}
		if s.Seconds < 0 || s.Seconds > 999_999*3600 {
			t.Errorf("%q sleeps %d s", command, s.Seconds)
		}
		if back, ok := SleepOf(s.For(17)); !ok || back.Seconds != 17 || back.Rest != s.Rest {
			t.Errorf("%q: 17 s cannot be written back: %q", command, s.For(17))
		}
	})
}

func readSleep(command []string) (seconds int64, rest bool, err error) {
	words := command
	if len(command) == 3 {
		// The first command of the script ends at the first newline, ; or &&.
		line := strings.TrimLeft(command[2], " \t\n")
		end, after := len(line), ""
		for i := range len(line) {
			if line[i] == '\n' || line[i] == ';' || strings.HasPrefix(line[i:], "&&") {
				end, after = i, strings.TrimLeft(line[i:], "\n;&")
				break
			}
		}
		rest = strings.Trim(after, " \t\n") != ""
		words = strings.FieldsFunc(line[:end], func(r rune) bool { return r == ' ' || r == '\t' })
	}
	if len(words) != 2 || path.Base(words[0]) != "sleep" {
		return 0, false, fmt.Errorf("the first command is %q", words)
	}
	digits := strings.TrimRight(words[1], "smh")
	seconds, err = strconv.ParseInt(digits, 10, 64)
	if err != nil || strings.Trim(digits, "0123456789") != "" || len(words[1]) > len(digits)+1 {
		return 0, false, fmt.Errorf("%q is no time", words[1])
	}
	unit := map[string]int64{"": 1, "s": 1, "m": 60, "h": 3600}[words[1][len(digits):]]
	return seconds * unit, rest, nil
}
