package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/ledger"
)

// places are bars of the slowest places over the time since T0, and a histogram if there are many.
func (v view) places(w io.Writer, d report.Departure) {
	if d.T0.IsZero() || len(d.Slowest) == 0 {
		return
	}
	shown := d.Slowest
	if most := 8; !v.wide && len(shown) > most {
		shown = shown[:most]
	}
	labels := v.placeLabels(shown, max(leastName, min(40, v.width/3)))
	const toldLabel, allLabel = "told to stop", "all places"
	label := len(allLabel)
	if d.Told != nil {
		label = len(toldLabel)
	}
	for _, l := range labels {
		label = max(label, utf8.RuneCountInString(l))
	}
	const value, note = 10, 6
	c := chart{glyphs: v.glyphs(), columns: v.width - 2 - label - 2 - 2 - value - note, end: axisEnd(d), told: d.Told}
	bars := c.columns >= 10 && c.end > leastEnd
	row := func(name string, bar []mark, value, note string) {
		line := fmt.Sprintf("  %s%s", name, strings.Repeat(" ", label-utf8.RuneCountInString(name)))
		if bars {
			line += "  " + v.draw(bar)
		}
		fmt.Fprintln(w, strings.TrimRight(fmt.Sprintf("%s  %10s%s", line, value, note), " "))
	}
	fmt.Fprintln(w)
	if bars {
		fmt.Fprintln(w, strings.Repeat(" ", 2+label+2)+c.axis())
	} else {
		c.columns = 1
	}
	if d.Told != nil {
		row(toldLabel, c.toldToStop(), told(*d.Told), "")
	}
	for i, l := range shown {
		value, note := landingValue(l, d.Age), ""
		if d.Straggler != nil && l.Node == d.Straggler.Node && l.Kind == d.Straggler.Kind && l.Replica == d.Straggler.Replica && l.Family == d.Straggler.Family {
			note = "  last"
		}
		row(labels[i], c.landing(l, d.Age), value, note)
	}
	if len(shown) < len(d.Slowest) {
		next := d.Slowest[len(shown)]
		fmt.Fprintf(w, "  and %s, the slowest of them %s (-o wide shows them)\n",
			report.Plural(len(d.Slowest)-len(shown), "more place"), landingValue(next, d.Age))
	}
	if d.Strip != nil && len(d.Strip.Counts) > 0 && bars {
		row(allLabel, c.strip(*d.Strip), report.Count(d.Answered), "")
	}
	if bars {
		v.legend(w, c, shown, d)
	}
}

// placeLabels name the places: by node, without the domain that all share, and by what tells two places of one node
// apart. They are visible.
func (v view) placeLabels(ls []report.Landing, width int) (labels []string) {
	kinds, families := map[string]bool{}, map[ledger.Family]bool{}
	var nodes []string
	for _, l := range ls {
		kinds[l.Kind+" "+l.Backend] = true
		families[l.Family] = true
		if l.Replica == "" {
			nodes = append(nodes, l.Node)
		}
	}
	domain := commonDomain(nodes)
	for _, l := range ls {
		tail := ""
		switch {
		case l.Replica != "":
			tail += " " + l.Kind
		case len(kinds) > 1:
			tail += " " + either(l.Backend, l.Kind)
		}
		if len(families) > 1 {
			tail += " " + string(l.Family)
		}
		tail = v.shorten(tail, width/2)
		labels = append(labels, v.shorten(strings.TrimSuffix(l.Name(), domain), width-utf8.RuneCountInString(tail))+tail)
	}
	return labels
}

// commonDomain is the longest ".rest" in which all names end, "" if there is none or only one name.
func commonDomain(names []string) string {
	if len(names) < 2 {
		return ""
	}
	for i, r := range names[0] {
		if domain := names[0][i:]; r == '.' && i > 0 && !slices.ContainsFunc(names, func(n string) bool {
			return !strings.HasSuffix(n, domain) || len(n) == len(domain)
		}) {
			return domain
		}
	}
	return ""
}

func either(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// leastEnd, in seconds, is where an axis ends on which nothing is.
const leastEnd = 1e-6

// axisEnd is how far the chart reaches: all that is drawn, and never nothing.
func axisEnd(d report.Departure) float64 {
	end := leastEnd
	for _, l := range d.Slowest {
		if l.Landed != nil {
			end = max(end, l.Landed.Hi)
		}
		if l.Pending > 0 {
			end = max(end, d.Age)
		}
	}
	if d.Told != nil {
		end = max(end, d.Told.Hi)
	}
	if d.Strip != nil {
		end = max(end, d.Strip.Width*float64(len(d.Strip.Counts)))
	}
	return min(end, 1e9)
}

func landingValue(l report.Landing, age float64) string {
	switch {
	case l.Pending > 0:
		return "> " + report.Seconds(age)
	case l.Landed != nil:
		return report.Seconds(l.Landed.Hi)
	}
	return either(report.OutcomesWords(l.Outcomes), "unknown")
}

// told is short for the interval in which a pod was told to stop.
func told(s report.Span) string {
	if s.Lo <= 0 {
		return fromZero(s)
	}
	return report.Seconds(s.Lo) + " on"
}

// legend explains the glyphs that were used.
func (v view) legend(w io.Writer, c chart, ls []report.Landing, d report.Departure) {
	used := map[rune]bool{}
	staged, letGo := false, "until its kernel let go"
	for _, l := range ls {
		if l.Replica != "" {
			letGo = "until it let go"
		}
		staged = staged || l.Stages != nil
		for _, m := range c.landing(l, d.Age) {
			used[m.glyph] = true
		}
	}
	var parts []string
	for _, g := range []struct {
		glyph rune
		what  string
		told  bool
	}{{c.api, "until any node saw it", staged}, {c.watch, "until this one did", staged}, {c.program, letGo, staged},
		{c.unsure, "somewhere here", true}, {c.open, "still routed", true}} {
		if g.told && used[g.glyph] {
			parts = append(parts, string(g.glyph)+" "+g.what)
		}
	}
	if v.colour && c.told != nil && axisEnd(d) > c.told.Hi {
		parts = append(parts, "yellow: perhaps told to stop by then, red: surely")
	}
	if len(parts) > 0 {
		fmt.Fprintln(w, v.paint(strings.Repeat(" ", 2)+fill(strings.Join(parts, ", "), v.width, 2, 2), dim))
	}
}
