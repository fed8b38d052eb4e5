package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"

	"sigs.k8s.io/yaml"

	"github.com/lastcall-k8s/lastcall/hub/report"
)

func visible(s string) string { return report.Visible(s) }

// format is the value of -o.
type format string

// formats checks -o against what a command has.
func (f format) check(has ...format) error {
	if f == "" || slices.Contains(has, f) {
		return nil
	}
	var names []string
	for _, h := range has {
		names = append(names, string(h))
	}
	return fmt.Errorf("-o %s: must be one of %s", f, strings.Join(names, ", "))
}

// machine reports whether the output is for programs.
func (f format) machine() bool { return f == "json" || f == "yaml" }

// print writes a value for programs.
func (f format) print(w io.Writer, v any) error {
	text, err := json.MarshalIndent(v, "", "    ")
	if err != nil {
		return err
	}
	text = append(escaped(text), '\n')
	if f == "yaml" {
		y, err := yaml.JSONToYAML(text)
		if err != nil {
			return err
		}
		// YAML has escapes only in one of its styles of strings. With anything in it that needs one, JSON is the YAML.
		if bytes.Equal(escaped(y), y) {
			text = y
		}
		text = append([]byte("---\n"), text...) // several documents may follow each other
	}
	_, err = w.Write(text)
	return err
}

// list is how several values are printed, as kubectl prints a List.
type list[T any] struct {
	Items []T `json:"items"`
}

func items[T any](v []T) list[T] {
	if v == nil {
		v = []T{}
	}
	return list[T]{v}
}

// escaped writes everything that a terminal might obey, or that would turn the text around it, as \u escapes.
// Everything in JSON outside of strings is ASCII, so what is escaped is inside of one.
func escaped(json []byte) []byte {
	var b bytes.Buffer
	for _, r := range string(json) {
		if r == '\n' || r < 0x80 && r >= ' ' && r != 0x7f || r >= 0x80 && unicode.IsPrint(r) && report.Visible(string(r)) == string(r) {
			b.WriteRune(r)
			continue
		}
		if r > 0xffff {
			hi, lo := surrogates(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, hi, lo)
			continue
		}
		fmt.Fprintf(&b, `\u%04x`, r)
	}
	return b.Bytes()
}

func surrogates(r rune) (hi, lo rune) {
	r -= 0x10000
	return 0xd800 + r>>10, 0xdc00 + r&0x3ff
}
