package pages

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/lastcall-k8s/lastcall/hub/report"
	"github.com/lastcall-k8s/lastcall/hub/sizing"
)

// graceChart draws what has to fit in the grace period: preStop, then the drain.
type graceChart struct {
	chart
	Caption string
	Rows    []graceRow
	Margin  bool
	Guessed bool // the drain was not observed
}

type graceRow struct {
	Name, Short string
	Bars        []bar
	Sum, Desc   string
}

func newGraceChart(a *sizing.Advice) *graceChart {
	pre, grace, g := a.Present.PreStop, a.Present.Grace, a.Grace
	if pre == nil || grace == nil {
		return nil
	}
	drain, seen := a.Drain.Longest, a.Drain.N > 0 && a.Drain.Cut == 0
	if !seen {
		drain = float64(max(*grace-*pre, 0))
	}
	end := max(float64(*pre)+drain, float64(*grace))
	if g.Seconds != nil {
		end = max(end, float64(*g.Seconds), float64(g.PreStop+g.Drain+g.Margin))
	}
	s := newScale([]point{{at: end}})
	flags := []flag{{Class: "grace", From: s.at(float64(*grace)), To: s.at(float64(*grace)), Label: "grace " + report.Seconds(float64(*grace)), Title: "end of the grace period today: what still runs is killed"}}
	if g.Seconds != nil && *g.Seconds != *grace {
		at := s.at(float64(*g.Seconds))
		flags = append(flags, flag{Class: "want", From: at, To: at, Label: "must be " + report.Seconds(float64(*g.Seconds)), Title: "the grace period that goes with the number"})
	}
	c := &graceChart{chart: newChart(flags, s.ticks(), nil), Guessed: !seen}
	c.ID = "grace"
	c.Caption = "What has to fit in the grace period, in seconds after T0: preStop, then the longest drain that was observed."
	if !seen {
		c.Caption = "What has to fit in the grace period, in seconds after T0: preStop, then what is left for the drain, of which nobody has seen the whole."
	}
	row := func(name string, pre, drain, margin float64) {
		r := graceRow{Name: name, Short: name, Sum: together(report.Seconds(pre + drain + margin)),
			Desc: fmt.Sprintf("%s: preStop %s, drain %s, margin %s", name, report.Seconds(pre), report.Seconds(drain), report.Seconds(margin))}
		from := 0.0
		for _, part := range []struct {
			class, what string
			length      float64
		}{{"serving", "preStop", pre}, {"program", "drain", drain}, {"whole", "margin", margin}} {
			if part.length > 0 {
				x := s.at(from)
				r.Bars = append(r.Bars, bar{Class: part.class, X: x, W: s.at(from+part.length) - x, Y: 7, H: 14, Pieces: part.what + " " + report.Seconds(part.length)})
				from += part.length
			}
		}
		c.Margin = c.Margin || margin > 0
		c.Rows = append(c.Rows, r)
	}
	row("today", float64(*pre), drain, 0)
	if g.Seconds != nil && (g.PreStop != *pre || *g.Seconds != *grace) {
		row("with the number", float64(g.PreStop), float64(g.Drain), float64(g.Margin))
	}
	return c
}

// sortBars puts what is drawn from left to right, so that it is read out in that order.
func sortBars(bars []bar) {
	slices.SortFunc(bars, func(a, b bar) int { return cmp.Compare(a.X, b.X) })
}
