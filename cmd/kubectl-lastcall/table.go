package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// cell is a field of a table. Its text comes from anywhere; the table makes it visible.
type cell struct {
	text  string
	style style
}

// column is a heading and how its fields are set.
type column struct {
	name  string
	right bool
	// shrink: names in it may be shortened in the middle so that a row fits the terminal.
	shrink bool
}

// table prints as kubectl does: headings in capitals, three spaces between columns.
type table struct {
	columns   []column
	rows      [][]cell
	noHeaders bool
}

const leastName = 14 // a shortened name is no shorter

func (t *table) add(cells ...cell) { t.rows = append(t.rows, cells) }

// text makes plain cells.
func text(fields ...string) (cells []cell) {
	for _, f := range fields {
		cells = append(cells, cell{text: f})
	}
	return cells
}

// without is the table without a column.
func (t table) without(name string) table {
	i := slices.IndexFunc(t.columns, func(c column) bool { return c.name == name })
	less := table{columns: slices.Delete(slices.Clone(t.columns), i, i+1), noHeaders: t.noHeaders}
	for _, r := range t.rows {
		less.add(slices.Delete(slices.Clone(r), i, i+1)...)
	}
	return less
}

func (t table) write(w io.Writer, s screen) {
	widths := t.widths(s)
	t.line(w, s, widths, nil)
	for _, r := range t.rows {
		t.line(w, s, widths, r)
	}
}

// gap is between columns: three spaces, two on a terminal that three do not fit.
func (t table) gap(s screen, widths []int) string {
	total := 3 * (len(widths) - 1)
	for _, w := range widths {
		total += w
	}
	if s.terminal && total > s.width {
		return "  "
	}
	return "   "
}

// line writes one row, or with nil the headings.
func (t table) line(w io.Writer, s screen, widths []int, row []cell) {
	if row == nil && t.noHeaders {
		return
	}
	var b strings.Builder
	gap := t.gap(s, widths)
	for i, c := range t.columns {
		f := cell{text: c.name}
		if row != nil {
			f = row[i]
			f.text = dash(visible(f.text))
			if c.shrink {
				f.text = s.shorten(f.text, widths[i])
			}
		}
		pad := strings.Repeat(" ", max(0, widths[i]-utf8.RuneCountInString(f.text)))
		if i > 0 {
			b.WriteString(gap)
		}
		if c.right {
			b.WriteString(pad)
		}
		b.WriteString(s.paint(f.text, f.style))
		if !c.right {
			b.WriteString(pad)
		}
	}
	fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
}

// widths are those of the widest fields; on a terminal that is too narrow, names give way.
func (t table) widths(s screen) []int {
	widths := make([]int, len(t.columns))
	total := 0
	for i, c := range t.columns {
		if !t.noHeaders {
			widths[i] = len(c.name)
		}
		for _, r := range t.rows {
			widths[i] = max(widths[i], utf8.RuneCountInString(dash(visible(r[i].text))))
		}
		total += widths[i] + 2
	}
	total -= 2
	for s.terminal && total > s.width {
		widest := -1
		for i, c := range t.columns {
			if c.shrink && widths[i] > leastName && (widest < 0 || widths[i] > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			break
		}
		widths[widest]--
		total--
	}
	return widths
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
