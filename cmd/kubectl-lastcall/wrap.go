package main

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// fill breaks text at its spaces so that no line is wider than width, if its words allow. It begins at column
// first; further lines begin at column indent.
func fill(text string, width, first, indent int) string {
	var b strings.Builder
	column, start := first, true
	for _, word := range words(text) {
		n := utf8.RuneCountInString(word)
		switch {
		case start:
		case column+1+n > width:
			b.WriteString("\n" + strings.Repeat(" ", indent))
			column = indent
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += n
		start = false
	}
	return b.String()
}

// words splits text at its spaces, but not between a number and its unit.
func words(text string) (ws []string) {
	for f := range strings.FieldsSeq(text) {
		if n := len(ws); n > 0 && isUnit(strings.TrimRight(f, ".,:;)")) && isDigit(ws[n-1][len(ws[n-1])-1]) {
			ws[n-1] += " " + f
			continue
		}
		ws = append(ws, f)
	}
	return ws
}

func isUnit(s string) bool {
	return slices.Contains([]string{"ms", "s", "min", "h", "d", "%"}, s)
}

func isDigit(b byte) bool { return '0' <= b && b <= '9' }

// paragraph is text on its own; what does not fit on the first line is indented.
func paragraph(text string, width int) string { return fill(text, width, 0, 2) }

// hang sets text behind a head, further lines under its beginning.
func hang(head, text string, width int) string {
	n := utf8.RuneCountInString(head)
	if n > width/2 {
		return head + fill(text, width, n, 4)
	}
	return head + fill(text, width, n, n)
}
