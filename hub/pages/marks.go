package pages

import (
	"strings"

	"github.com/lastcall-k8s/lastcall/hub/report"
)

// axisPoints are the values that the axis of a departure must show. The end of the grace period and of the
// container are shown where they fit and only named where they do not: a grace of 30 s must not press
// landings of 100 ms into a corner.
func axisPoints(d report.Departure) []point {
	var points []point
	mark := func(at float64) { points = append(points, point{at: at}) }
	last := 0.0
	each := 1
	if d.Strip != nil {
		each = 0
		for i, n := range d.Strip.Counts {
			if n > 0 {
				at := float64(i+1) * d.Strip.Width
				points = append(points, point{at, n})
				last = max(last, at)
			}
		}
	}
	for _, l := range d.Slowest {
		switch {
		case l.Landed != nil:
			points = append(points, point{l.Landed.Hi, each})
			last = max(last, l.Landed.Hi)
		case l.Pending > 0:
			points = append(points, point{d.Age, each})
		}
		if l.Seen != nil {
			mark(*l.Seen)
		}
	}
	if d.LastCall != nil {
		mark(d.LastCall.Hi)
		last = max(last, d.LastCall.Hi)
	}
	if d.Told != nil {
		mark(d.Told.Lo)
		if d.Told.Lo > last || d.Told.Hi < 3*last || last == 0 {
			mark(d.Told.Hi)
		}
	}
	end := 0.0
	for _, p := range points {
		end = max(end, p.at)
	}
	for _, at := range []float64{finished(d), grace(d)} {
		if at > end && at < 1.3*end { // a mark among the others is on the axis anyway
			mark(at)
		}
	}
	return points
}

// finished and grace are the marks of a departure that are 0 if they are not known.
func finished(d report.Departure) float64 {
	if c, ok := served(d); ok && c.Finished != nil {
		return *c.Finished
	}
	return 0
}

func grace(d report.Departure) float64 {
	if d.Grace == nil {
		return 0
	}
	return float64(*d.Grace)
}

func departureFlags(d report.Departure, s scale) []flag {
	var flags []flag
	add := func(class string, sp report.Span, label, title string) {
		f := flag{Class: class, From: s.at(sp.Lo), To: s.at(sp.Hi), Band: sp.Hi > sp.Lo, Label: label, Title: title}
		if sp.Lo > s.end() || sp.Lo == sp.Hi && sp.Hi > s.end() {
			f.Beyond, f.Band, f.From, f.To, f.Label = true, false, 100, 100, label+" →"
		}
		flags = append(flags, f)
	}
	if d.Told != nil {
		add("told", *d.Told, "told to stop "+toldLabel(*d.Told), "told to stop "+d.ToldWords())
	}
	if d.LastCall != nil && d.Pending == 0 {
		add("last", *d.LastCall, "last call "+report.Seconds(d.LastCall.Hi), "last call "+d.LastCall.String())
	}
	if d.Pending > 0 {
		now := report.Span{Lo: d.Age, Hi: d.Age}
		add("now", now, "now "+report.Seconds(d.Age), "when this page was drawn")
	}
	if d.Strip != nil && d.Within99 != nil {
		at := report.Span{Lo: *d.Within99, Hi: *d.Within99}
		add("most", at, "99 % by "+report.Seconds(at.Hi), "99 % of the places had let go")
	}
	if c, ok := served(d); ok && c.Finished != nil {
		at := report.Span{Lo: *c.Finished, Hi: *c.Finished}
		add("end", at, "container ended "+report.Seconds(at.Hi), "container "+report.Visible(c.Name)+" had ended")
	}
	if d.Grace != nil {
		at := report.Span{Lo: grace(d), Hi: grace(d)}
		add("grace", at, "end of grace "+report.Seconds(at.Hi), "end of the grace period: what still runs is killed")
	}
	return flags
}

// toldLabel is an interval in the little room of a flag.
func toldLabel(s report.Span) string {
	switch {
	case s.Lo <= 0 && s.Hi <= 1:
		return "at once"
	case s.Lo <= 0:
		return "by " + report.Seconds(s.Hi)
	}
	if both := strings.Replace(s.String(), " to ", "–", 1); len(both) < 16 {
		return both
	}
	return report.Seconds(s.Lo) // the band says the rest
}

// served is the container whose end matters: the one that serves, else the last to end.
func served(d report.Departure) (report.Container, bool) {
	var last report.Container
	ok := false
	for _, c := range d.Containers {
		if c.Serves {
			return c, true
		}
		if !c.Sidecar && c.Finished != nil && (!ok || *c.Finished > *last.Finished) {
			last, ok = c, true
		}
	}
	return last, ok
}
