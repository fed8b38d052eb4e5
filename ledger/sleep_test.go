package ledger

import (
	"fmt"
	"strings"
	"testing"
)

// TestSleepOf: what is surely a sleep of N is recognised, and nothing that might be longer, shorter or no sleep at all.
func TestSleepOf(t *testing.T) {
	for _, tt := range []struct {
		command string // words separated by |
		want    string
	}{
		{"sleep|5", "5"},
		{"/bin/sleep|15s", "15"},
		{"/usr/bin/sleep|2m", "120"},
		{"sh|-c|sleep 5", "5"},
		{"/bin/sh|-c| sleep 10 && nginx -s quit", "10 and more"},
		{"/bin/bash|-c|/bin/sleep 7; kill -QUIT 1", "7 and more"},
		{"sh|-ec|sleep 1h\nexit 0", "3600 and more"},
		{"sh|-c|sleep 5;", "5"},
		{"sleep|0.5", "unknown"},
		{"sleep|infinity", "unknown"},
		{"sleep|5|5", "unknown"},
		{"sh|-c|nginx -s quit && sleep 5", "unknown"},
		{"sh|-c|sleep 5 || true", "unknown"},
		{"sh|-c|sleep 5 & wait", "unknown"},
		{"sh|-c|sleep $SECONDS", "unknown"},
		{"sh|-c|sleep 5 10", "unknown"},
		{"sh|-c|sleepy 5", "unknown"},
		{"sh|-c|sleep 5\r\nexit", "unknown"}, // FuzzSleep found these
		{"sh|-c|sleep\n5", "unknown"},
		{"sh|-c|/usrsleep 5", "unknown"},
		{"sh|-c|sleep 5 ;; x", "unknown"},
		{"sh|-c|sleep 5 &&", "unknown"},
		{"sleep|5; x", "unknown"},
		{"python|-c|sleep 5", "unknown"},
		{"/drain.sh", "unknown"},
		{"", "unknown"},
	} {
		got := "unknown"
		if s, ok := SleepOf(strings.Split(tt.command, "|")); ok {
			if got = fmt.Sprint(s.Seconds); s.Rest {
				got += " and more"
			}
		}
		if got != tt.want {
			t.Errorf("%q: %s, want %s", tt.command, got, tt.want)
		}
	}
}
