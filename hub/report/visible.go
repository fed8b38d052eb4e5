package report

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Visible makes a string from the cluster safe to show: what a terminal would obey, what would turn the text
// around it (bidi controls, right-to-left letters) or pile up on it (combining marks), what cannot be seen and
// what is not UTF-8 is written as an escape. Names in Kubernetes are ASCII, so an honest one stays as it is.
func Visible(s string) string {
	if isPlain(s) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n <= 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case unicode.IsPrint(r) && !unicode.Is(unicode.M, r) && !rightToLeft(r):
			b.WriteRune(r)
		case r < 0x80:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
		s = s[n:]
	}
	return b.String()
}

func isPlain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// rightToLeft reports whether a rune is of a block whose unassigned code points default to R or AL (UAX 9, and the
// header of DerivedBidiClass.txt of Unicode 15): every strong right-to-left letter is in one of them.
func rightToLeft(r rune) bool {
	return r >= 0x0590 && r <= 0x08ff || r >= 0xfb1d && r <= 0xfdff || r >= 0xfe70 && r <= 0xfeff ||
		r >= 0x10800 && r <= 0x10fff || r >= 0x1e800 && r <= 0x1efff
}

// Shorten is the visible form of a name in at most n characters, with the middle left out: the end of a pod's
// name is what tells it from its siblings.
func Shorten(s string, n int) string {
	r := []rune(Visible(s))
	if len(r) <= n {
		return string(r)
	}
	tail := (n - 1) / 2
	return string(r[:n-1-tail]) + "…" + string(r[len(r)-tail:])
}
