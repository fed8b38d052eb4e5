package ledger

import (
	"strings"
	"testing"
)

// TestLocalIsTold: a line says whether paths of traffic policy Local are among those that were opened.
func TestLocalIsTold(t *testing.T) {
	l, _ := newTest(t, Config{})
	local := key("a", 1)
	local.Path.Policy = Local
	l.Apply([]Change{left(local, 0)})
	l.Tell()
	l.Apply([]Change{left(key("b", 2), 10)})
	l.Tell()
	texts, _, _ := l.cfg.Events.Since(1)
	var told []string
	for _, text := range texts {
		if strings.Contains(string(text), `"type":"removals"`) {
			told = append(told, map[bool]string{true: "local", false: "cluster"}[strings.Contains(string(text), `"local":true`)])
		}
	}
	if got := strings.Join(told, " "); got != "local cluster" {
		t.Errorf("told %q", got)
	}
}
