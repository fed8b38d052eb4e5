package doccommands

import (
	"errors"
	"regexp"
	"slices"
	"strings"
)

// split takes lines of shell apart into simple commands, each with the number of its line, from 0. It knows what our documents use:
// quotes, comments, \ at the end of a line, | && || ; redirections, $( ) and here-documents.
func split(lines []string) (commands []Command, err error) {
	for i := 0; i < len(lines); i++ {
		begun, line := i, lines[i]
		for strings.HasSuffix(line, `\`) && i+1 < len(lines) {
			i++
			line = strings.TrimSuffix(line, `\`) + " " + lines[i]
		}
		found, heredoc, err := simple(line)
		if err != nil {
			return nil, err
		}
		for _, c := range found {
			c.Line = begun
			commands = append(commands, c)
		}
		if heredoc != "" {
			for i++; i < len(lines) && strings.TrimSpace(lines[i]) != heredoc; i++ {
			}
			if i == len(lines) {
				return nil, errors.New("a here-document without its end, " + heredoc)
			}
		}
	}
	return commands, nil
}

var assignment = regexp.MustCompile(`^[A-Z_]+=`)

// simple takes one line apart. heredoc is the word that ends the document that follows.
func simple(line string) (commands []Command, heredoc string, err error) {
	var c Command
	var word strings.Builder
	inWord, redirects := false, false
	endWord := func() {
		w := word.String()
		switch {
		case !inWord:
			return
		case redirects && strings.HasPrefix(w, "<"):
			heredoc = strings.TrimPrefix(w, "<")
		case redirects: // a file's name
		case len(c.Words) == 0 && assignment.MatchString(w):
			c.Env = append(c.Env, w)
		default:
			c.Words = append(c.Words, w)
		}
		word.Reset()
		inWord, redirects = false, false
	}
	endCommand := func() {
		endWord()
		if len(c.Words) > 0 {
			commands = append(commands, c)
		}
		c = Command{}
	}
	runes := []rune(line)
	for i := 0; i < len(runes); i++ {
		switch r := runes[i]; {
		case r == '$' && i+1 < len(runes) && runes[i+1] == '(':
			n := closing(runes[i+1:])
			if n < 0 {
				return nil, "", errors.New("$( without )")
			}
			inner, _, err := simple(string(runes[i+2 : i+1+n]))
			if err != nil {
				return nil, "", err
			}
			commands = append(commands, inner...)
			word.WriteString("$()")
			inWord = true
			i += 1 + n
		case r == '\'' || r == '"':
			n := slices.Index(runes[i+1:], r)
			if n < 0 {
				return nil, "", errors.New("a quote that is not closed: " + line)
			}
			quoted := string(runes[i+1 : i+1+n])
			if r == '"' && strings.Contains(quoted, "$(") {
				inner, _, err := simple(quoted)
				if err != nil {
					return nil, "", err
				}
				commands = append(commands, inner[:len(inner)-1]...) // the last is the word around it
			}
			word.WriteString(quoted)
			inWord = true
			i += 1 + n
		case r == '#' && !inWord:
			i = len(runes)
		case r == ' ' || r == '\t':
			if !redirects || inWord {
				endWord()
			}
		case r == '|' || r == ';' || r == '&':
			endCommand()
		case r == '>' || r == '<':
			if inWord && word.String() != "1" && word.String() != "2" && !(redirects && r == '<') {
				endWord()
			}
			if redirects && r == '<' {
				word.WriteRune('<')
				inWord = true
				continue
			}
			word.Reset()
			inWord, redirects = false, true
		default:
			word.WriteRune(r)
			inWord = true
		}
	}
	endCommand()
	return commands, heredoc, nil
}

// closing is where the bracket that begins a text is closed, -1 if it is not.
func closing(text []rune) int {
	depth := 0
	for i, r := range text {
		switch r {
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}
