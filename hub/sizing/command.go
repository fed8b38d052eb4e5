package sizing

import "github.com/lastcall-k8s/lastcall/ledger"

// sleepFor returns the command with another N and nothing else changed. ok is false if it is not a sleep of `was` seconds,
// alone or before something else: then it is not the command that was measured.
func sleepFor(command []string, was, n int64) (changed []string, ok bool) {
	s, ok := ledger.SleepOf(command)
	if !ok || s.Seconds != was {
		return nil, false
	}
	return s.For(n), true
}
