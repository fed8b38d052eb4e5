package doccommands

import "strings"

// Block is a block of code.
type Block struct {
	Line     int    // of its first line of text
	Lang     string // what stands behind the fence
	Indented bool   // not fenced
	Text     string
	NotRun   string
}

// Line is one line of a document that is in no block of code.
type Line struct {
	Line int
	Text string
}

// Blocks are a document's blocks of code, fenced or indented by four.
func Blocks(text string) []Block { b, _ := scan(text); return b }

// Prose is everything else.
func Prose(text string) []Line { _, p := scan(text); return p }

func scan(text string) (blocks []Block, prose []Line) {
	lines := strings.Split(text, "\n")
	notRun := ""
	blank := true
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		trimmed := strings.TrimSpace(line)
		indent := len(line) - len(strings.TrimLeft(line, " "))
		switch {
		case strings.HasPrefix(trimmed, "```"):
			b := Block{Line: i + 2, Lang: strings.TrimSpace(strings.TrimPrefix(trimmed, "```")), NotRun: notRun}
			var body []string
			for i++; i < len(lines) && strings.TrimSpace(lines[i]) != "```"; i++ {
				body = append(body, lines[i][min(indent, len(lines[i])-len(strings.TrimLeft(lines[i], " "))):])
			}
			b.Text = strings.Join(body, "\n")
			blocks, notRun = append(blocks, b), ""
		case blank && indent >= 4 && trimmed != "":
			b := Block{Line: i + 1, Indented: true, NotRun: notRun}
			var body []string
			for ; i < len(lines) && (strings.HasPrefix(lines[i], "    ") || strings.TrimSpace(lines[i]) == ""); i++ {
				body = append(body, strings.TrimPrefix(lines[i], "    "))
			}
			i--
			b.Text = strings.TrimRight(strings.Join(body, "\n"), "\n")
			blocks, notRun = append(blocks, b), ""
			blank = true
			continue
		case mark.MatchString(trimmed):
			notRun = mark.FindStringSubmatch(trimmed)[1]
		case trimmed != "":
			notRun = ""
			prose = append(prose, Line{i + 1, line})
		}
		blank = trimmed == "" || mark.MatchString(trimmed)
	}
	return blocks, prose
}

// shell is what of a block is typed into a shell, nil if nothing is: all of it, or the lines behind "$ ". What is not typed is
// an empty line, so that lines keep their numbers.
func (b Block) shell() []string {
	lines := strings.Split(b.Text, "\n")
	if strings.Contains("\n"+b.Text, "\n$ ") {
		goesOn := false
		for i, l := range lines {
			typed, has := strings.CutPrefix(l, "$ ")
			if !has && !goesOn {
				typed = ""
			}
			lines[i] = typed
			goesOn = typed != "" && strings.HasSuffix(typed, `\`)
		}
		return lines
	}
	if b.Indented || b.Lang == "sh" {
		return lines
	}
	return nil
}
