package sizing

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/lastcall-k8s/lastcall/hub/report"
)

// Lines say how the pods stop, each with of how many it is known. What nobody saw is left out.
func (s Stopping) Lines(d Drain) (ls []Line) {
	add := func(label, format string, args ...any) { ls = append(ls, Line{label, fmt.Sprintf(format, args...)}) }
	of := func(k, n int) string { return report.Count(k) + " of " + report.Plural(n, "pod") }
	if s.Ended > 0 {
		add("Exit codes", "%s", s.exits())
		add("Killed at the end of grace", "%s%s", of(s.Killed, s.Ended), s.killed())
	}
	switch {
	case d.N > 0 && d.Cut > 0:
		add("Drain", "longest %s of %s; %s killed before theirs was over", report.Seconds(d.Longest), report.Count(d.N), report.Count(d.Cut))
	case d.N > 0:
		add("Drain", "longest %s of %s, from being told to stop", report.Seconds(d.Longest), report.Count(d.N))
	case d.Cut > 0:
		add("Drain", "not known: %s killed before theirs was over", report.Count(d.Cut))
	}
	if s.Witnessed > 0 {
		add("Connections reset when told to stop", "in %s", of(s.Cut, s.Witnessed))
	}
	if s.Hooks > 0 {
		add("preStop over too soon", "in %s", of(s.HookFailed, s.Hooks))
	}
	if s.Beside > 0 {
		line := "in " + of(s.LeftFirst, s.Beside)
		if s.LeftFirst > 0 {
			line += ", " + name(s.LeftContainer)
		}
		add("Another container left first", "%s", line)
	}
	return ls
}

// exits is "0 in 18, 137 in 2 of 20 pods".
func (s Stopping) exits() string {
	codes := slices.SortedFunc(maps.Keys(s.Exits), func(a, b int32) int {
		if s.Exits[a] != s.Exits[b] {
			return s.Exits[b] - s.Exits[a]
		}
		return int(a) - int(b)
	})
	var parts []string
	for _, c := range codes[:min(len(codes), 4)] {
		parts = append(parts, fmt.Sprintf("%d in %s", c, report.Count(s.Exits[c])))
	}
	if more := len(codes) - len(parts); more > 0 {
		parts = append(parts, report.Plural(more, "other code"))
	}
	return strings.Join(parts, ", ") + " of " + report.Plural(s.Ended, "pod")
}

// killed says what is known of why.
func (s Stopping) killed() string {
	var parts []string
	for _, p := range []struct {
		n     int
		words string
	}{{s.NoTime, "preStop had taken all of it"}, {s.Ignored, "nothing was connected: SIGTERM was ignored"}, {s.Draining, "connections were open"},
		{s.Killed - s.NoTime - s.Ignored - s.Draining, "why is not known"}} {
		if p.n > 0 {
			parts = append(parts, report.Count(p.n)+": "+p.words)
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return "; " + strings.Join(parts, "; ")
}
