package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/tools/txtar"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/lastcall-k8s/lastcall/hub/report"
)

// answersOf are the hub's answers in the scripts.
func answersOf(f *testing.F) (all [][]byte) {
	f.Helper()
	files, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(files) == 0 {
		f.Fatal("no scripts: ", err)
	}
	for _, name := range files {
		ar, err := txtar.ParseFile(name)
		if err != nil {
			f.Fatal(err)
		}
		for _, part := range ar.Files {
			if strings.HasSuffix(part.Name, ".json") {
				all = append(all, part.Data)
			}
		}
	}
	return all
}

// FuzzAnswer takes any answer for each of the hub's, and shows it on terminals of all kinds. A terminal that
// obeyed something in it, text that is turned, or more of it than came, is a defect.
func FuzzAnswer(f *testing.F) {
	for _, a := range answersOf(f) {
		f.Add(a, uint8(80), uint8(0xff))
	}
	f.Fuzz(func(t *testing.T, answer []byte, width, can uint8) {
		has := func(bit int) bool { return can&(1<<bit) != 0 }
		v := view{screen: screen{width: int(width), terminal: has(0), colour: has(1), unicode: has(2)}, wide: has(3),
			now: func() time.Time { return time.Unix(1_800_000_000, 0) }, zone: time.UTC}
		var out bytes.Buffer
		show(t, answer, &out, func(e report.Explanation) { v.explanation(&out, e, "", pages{}) })
		show(t, answer, &out, func(ps []report.Place) {
			troubleFirst(ps)
			v.placeTable(&out, ps, has(4))
			out.WriteString(summary(ps) + "\n")
		})
		show(t, answer, &out, func(es []report.Episode) { v.episodeTable(es, has(4)).write(&out, v.screen) })
		show(t, answer, &out, func(h report.NodeHistory) { v.history(&out, h) })
	})
}

// show decodes an answer as one type, shows it, and looks at what was shown. It must also come out as it came in for programs.
func show[T any](t *testing.T, answer []byte, out *bytes.Buffer, draw func(T)) {
	t.Helper()
	var v T
	if json.Unmarshal(answer, &v) != nil {
		return
	}
	for _, f := range []format{"json", "yaml"} {
		out.Reset()
		if err := f.print(out, v); err != nil {
			t.Fatalf("-o %s of %T: %v", f, v, err)
		}
		checkShown(t, out.Bytes())
		if f != "json" {
			continue
		}
		var back T
		if err := json.Unmarshal(out.Bytes(), &back); err != nil {
			t.Fatalf("-o json of %T cannot be read: %v", v, err)
		}
		a, _ := json.Marshal(v)
		if b, _ := json.Marshal(back); !bytes.Equal(a, b) {
			t.Errorf("-o json of %T is another: %s, was %s", v, b, a)
		}
	}
	out.Reset()
	draw(v)
	checkShown(t, out.Bytes())
	// Escapes are six bytes for one, names are padded to the widest, and a bar is as wide as the screen.
	if limit := 64<<10 + (len(answer)+10)*600; out.Len() > limit {
		t.Errorf("%d bytes shown of %d for %T", out.Len(), len(answer), v)
	}
}

// sgr is the only escape sequence that is ours.
var sgr = regexp.MustCompile("\x1b\\[[0-9;]*m")

func checkShown(t *testing.T, out []byte) {
	t.Helper()
	if !utf8.Valid(out) {
		t.Errorf("not UTF-8: %q", out)
	}
	for _, r := range string(sgr.ReplaceAll(out, nil)) {
		if r != '\n' && (unicode.Is(unicode.C, r) || unicode.Is(unicode.M, r) || unicode.Is(unicode.Zl, r) || unicode.Is(unicode.Zp, r)) {
			t.Fatalf("%U is shown in %q", r, out)
		}
	}
}

// FuzzFill: a name that was shortened fits, and text that was broken into lines is the same text, no line wider than asked
// for unless a word is.
func FuzzFill(f *testing.F) {
	for _, s := range []string{"web-5d8f7-x2x4q", "the last of 12 s", "\x1b[2J", "node\u202e", "e\u0301", "\xff\xfe", "a  b 5 ms."} {
		f.Add(s, uint8(10))
	}
	f.Fuzz(func(t *testing.T, s string, n uint8) {
		width := leastName + int(n)
		short := report.Shorten(s, width)
		checkShown(t, []byte(short))
		if utf8.RuneCountInString(short) > width {
			t.Errorf("%q in %d characters is %q", s, width, short)
		}
		text := visible(s)
		filled := fill(text, width, 0, 2)
		checkShown(t, []byte(filled))
		if !slices.Equal(strings.Fields(filled), strings.Fields(text)) {
			t.Errorf("filled, %q is %q", text, filled)
		}
		longest := 0
		for _, w := range words(text) {
			longest = max(longest, utf8.RuneCountInString(w))
		}
		for line := range strings.SplitSeq(filled, "\n") {
			if w := utf8.RuneCountInString(line); w > max(width, 2+longest) {
				t.Errorf("a line of %d characters in %d: %q", w, width, line)
			}
		}
	})
}

// FuzzTarget: what people type for an object is one, or an error that says what to type.
func FuzzTarget(f *testing.F) {
	for _, s := range []string{"deployment/shop", "deploy shop", "node", "pods/x/y", "/", "deployments.apps/shop", "a.b.c/x", "po \x1b[2J"} {
		kind, name, _ := strings.Cut(s, " ")
		f.Add(kind, name)
	}
	f.Fuzz(func(t *testing.T, first, second string) {
		args := []string{first}
		if second != "" {
			args = append(args, second)
		}
		got, err := parseTarget(args, noMapper)
		if err != nil {
			if err.Error() == "" {
				t.Error("an error without words")
			}
			return
		}
		if got.kind == "" || got.kind != strings.ToLower(got.kind) || strings.ContainsAny(got.name, "/ \t\n") {
			t.Errorf("%q is taken for kind %q, name %q", args, got.kind, got.name)
		}
		if got.name == "" {
			return
		}
		again, err := parseTarget([]string{got.String()}, noMapper)
		if err != nil || again != got {
			t.Errorf("%q is %v, and that is %v, %v", args, got, again, err)
		}
	})
}

// noMapper is a cluster that cannot be asked.
func noMapper() (meta.RESTMapper, error) { return nil, errors.New("no cluster") }
