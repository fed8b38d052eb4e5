package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/lastcall-k8s/lastcall/hub/sizing"
)

// advice draws the whole argument for one workload. now is the workload as it is, nil if it could not be read, for the reason unread;
// options are the flags that make the same number again.
func (v view) advice(w io.Writer, a sizing.Advice, now *workload, unread error, options string) {
	head := visible(a.Workload) + " "
	rest := fmt.Sprintf("in namespace %s: ", visible(a.Namespace)) + a.Headline()
	fmt.Fprintln(w, v.paint(head, bold)+fill(rest, v.width, len(head), 2))
	fmt.Fprintln(w)
	for _, d := range a.Verdicts {
		owner := ""
		if d.Owner != sizing.Nobody {
			owner = fmt.Sprintf(" (%s)", d.Owner)
		}
		title := d.Code.Words() + owner + ": "
		fmt.Fprintln(w, v.paint(title, mood(d.Code))+fill(visible(d.Says()), v.width, len(title), 2))
		if do := d.ToDo(); do != "" && d.Code != sizing.Fits {
			fmt.Fprintln(w, hang("  -> ", visible(do), v.width))
		}
	}
	fmt.Fprintln(w)
	lines := a.Argument(v.clock(a.AsOf, toSeconds))
	if unread != nil && !a.Live {
		first, _, _ := strings.Cut(unread.Error(), "\n")
		lines[len(lines)-1].Text += ". The workload as it is now could not be read: " + first
	}
	commands, words := apply(a, now, options)
	if words != "" {
		lines = append(lines, sizing.Line{Label: "APPLY", Text: words})
	}
	label := func(s string) string { return v.paint(fmt.Sprintf("%-10s", s), dim) }
	for _, l := range lines {
		fmt.Fprintln(w, label(l.Label)+fill(visible(l.Text), v.width, 10, 10))
	}
	for i, c := range commands { // whole: people copy them
		fmt.Fprintln(w, label([]string{"APPLY", ""}[min(i, 1)])+visible(c))
	}
}

// apply says what to type, or in words what to do by hand.
func apply(a sizing.Advice, now *workload, options string) (commands []string, words string) {
	if a.Seconds == nil {
		return nil, ""
	}
	if now != nil && a.Live {
		const newest = 1 << 10 // the versions are asked for when the patch is
		if p := a.Patch(now.patched(a.Containers, newest)); p.Merge == nil {
			return nil, strings.Join(p.Why, "; ")
		}
	} else if !a.Acts() {
		return nil, ""
	}
	return a.Commands(options), ""
}
