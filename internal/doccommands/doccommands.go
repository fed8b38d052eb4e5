// Package doccommands reads, off the Markdown files of the module, the commands that people are told to type.
//
// A shell command stands in an indented block, in a fence of sh, or behind "$ " in a fence of any other language. Beside
// them, inline code that begins with one of our own programs is a command, too. A block may be marked as one that no test
// runs, on a line of its own before it:
//
//	<!-- not run: why -->
package doccommands

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Command is one simple command: no pipe, no list.
type Command struct {
	File   string // from the module's root, with slashes
	Line   int
	Env    []string // what is assigned before it: "IMAGE=..."
	Words  []string
	NotRun string // why no test runs its block; "" if nothing is said
	Inline bool
}

// String is the command as it is looked up: its words, without quotes.
func (c Command) String() string { return strings.Join(c.Words, " ") }

// At says where it is, for a message.
func (c Command) At() string { return fmt.Sprintf("%s:%d", c.File, c.Line) }

// Documents lists the Markdown files below the module's root, from there.
func Documents(root string) (files []string, err error) {
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" || d.Name() == "dist" || strings.HasPrefix(d.Name(), ".") && path != root):
			return filepath.SkipDir
		case strings.HasSuffix(d.Name(), ".md"):
			rel, err := filepath.Rel(root, path)
			files = append(files, filepath.ToSlash(rel))
			return err
		}
		return nil
	})
	return files, err
}

// Read reads all commands of all documents, but for bench/RESULTS.md: the flags there are those of the commits that it names.
func Read(root string) (all []Command, err error) {
	files, err := Documents(root)
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		if f == "bench/RESULTS.md" {
			continue
		}
		text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(f)))
		if err != nil {
			return nil, err
		}
		commands, err := Parse(f, string(text))
		if err != nil {
			return nil, err
		}
		all = append(all, commands...)
	}
	return all, nil
}

var (
	mark   = regexp.MustCompile(`^<!-- not run: (.+) -->$`)
	inline = regexp.MustCompile("`([^`]+)`")
	ours   = regexp.MustCompile(`^(kubectl lastcall|lastcall (agent|hub|canary)|make|go run \./\S+|go test \./\S+)( |$)`)
)

// Parse reads the commands of one document.
func Parse(file, text string) (commands []Command, err error) {
	for _, b := range Blocks(text) {
		if b.Lang == "" && !b.Indented && !strings.Contains("\n"+b.Text, "\n$ ") {
			return nil, fmt.Errorf("%s:%d: say after ``` what this block is: sh if people are to type it, text if not", file, b.Line)
		}
		lines := b.shell()
		if lines == nil {
			continue
		}
		found, err := split(lines)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, b.Line, err)
		}
		for _, c := range found {
			if c.Words[0] == "bin/kubectl-lastcall" { // before it is in the PATH
				c.Words = append([]string{"kubectl", "lastcall"}, c.Words[1:]...)
			}
			c.File, c.NotRun, c.Line = file, b.NotRun, b.Line+c.Line
			commands = append(commands, c)
		}
	}
	for _, l := range Prose(text) {
		for _, m := range inline.FindAllStringSubmatch(l.Text, -1) {
			if !ours.MatchString(m[1]) {
				continue
			}
			found, err := split([]string{m[1]})
			if err != nil {
				return nil, fmt.Errorf("%s:%d: %w", file, l.Line, err)
			}
			for _, c := range found {
				c.File, c.Line, c.Inline = file, l.Line, true
				commands = append(commands, c)
			}
		}
	}
	return commands, nil
}
