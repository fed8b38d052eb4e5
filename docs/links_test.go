package docs

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/lastcall-k8s/lastcall/internal/doccommands"
)

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)|(?:src|href|srcset)="([^"]+)"`)
	heading = regexp.MustCompile(`^#{1,6} +(.+?) *#*$`)
	anchor  = regexp.MustCompile(`<a (?:id|name)="([^"]+)"`)
	code    = regexp.MustCompile("`[^`]*`")
	linked  = regexp.MustCompile(`!?\[([^\]]*)\]\([^)]*\)`)
)

// TestLinks: what a document links to is there, with the heading that is named.
func TestLinks(t *testing.T) {
	files, err := doccommands.Documents("..")
	if err != nil {
		t.Fatal(err)
	}
	prose := map[string][]doccommands.Line{}
	anchors := map[string]map[string]bool{}
	for _, f := range files {
		text, err := os.ReadFile(filepath.Join("..", f))
		if err != nil {
			t.Fatal(err)
		}
		prose[f] = doccommands.Prose(string(text))
		anchors[f] = anchorsOf(prose[f])
	}
	n := 0
	for _, f := range files {
		for _, l := range prose[f] {
			for _, m := range link.FindAllStringSubmatch(code.ReplaceAllString(l.Text, ""), -1) {
				to := m[1] + m[2]
				if strings.Contains(to, "://") || strings.HasPrefix(to, "mailto:") {
					continue
				}
				n++
				file, fragment, _ := strings.Cut(to, "#")
				target := f
				if file != "" {
					target = path.Join(path.Dir(f), file)
				}
				if _, err := os.Stat(filepath.Join("..", target)); err != nil {
					t.Errorf("%s:%d: %s: %v", f, l.Line, to, err)
				} else if fragment != "" && !anchors[target][fragment] {
					t.Errorf("%s:%d: %s: %s has no such heading", f, l.Line, to, target)
				}
			}
		}
	}
	if n < 50 {
		t.Errorf("only %d links were found", n)
	}
}

// anchorsOf are the names that GitHub gives to the headings of a document: lower case, no punctuation, a hyphen for each space.
func anchorsOf(prose []doccommands.Line) map[string]bool {
	found, times := map[string]bool{}, map[string]int{}
	for _, l := range prose {
		for _, m := range anchor.FindAllStringSubmatch(l.Text, -1) {
			found[m[1]] = true
		}
		m := heading.FindStringSubmatch(l.Text)
		if m == nil {
			continue
		}
		slug := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-', r == '_', unicode.IsLetter(r), unicode.IsNumber(r):
				return unicode.ToLower(r)
			}
			return -1
		}, linked.ReplaceAllString(m[1], "$1"))
		name := slug
		if n := times[slug]; n > 0 {
			name = fmt.Sprintf("%s-%d", slug, n)
		}
		times[slug]++
		found[name] = true
	}
	return found
}

func TestAnchors(t *testing.T) {
	found := anchorsOf([]doccommands.Line{{Text: "# What it may do, and why"}, {Text: "## `a_b` & [c](d.md)"}, {Text: "## Twice"}, {Text: "## Twice"}, {Text: "no heading"}})
	for _, want := range []string{"what-it-may-do-and-why", "a_b--c", "twice", "twice-1"} {
		if !found[want] {
			t.Errorf("no %s in %v", want, found)
		}
	}
	if len(found) != 4 {
		t.Errorf("found %v", found)
	}
}
