package main

import (
	"context"
	"fmt"
	"net/url"
	"slices"

	"github.com/lastcall-k8s/lastcall/hub/sizing"
)

// table lists all workloads, those to act on first.
func (x *recommend) table(ctx context.Context, hub *client, t target, ns string) error {
	q := url.Values{}
	if !x.all {
		q.Set("namespace", ns)
	}
	all, err := get[sizing.Advices](ctx, hub, "/v1/recommendations", q)
	if err != nil {
		return err
	}
	as := slices.DeleteFunc(all.Items, func(a sizing.Advice) bool { return t.kind != "" && !ofKind(a.Workload, t.kind) || !a.Sound() })
	slices.SortStableFunc(as, func(a, b sizing.Advice) int { return a.Urgency() - b.Urgency() })
	switch {
	case x.output.machine():
		all.Items = as
		if as == nil {
			all.Items = []sizing.Advice{}
		}
		if err := x.output.print(x.out, all); err != nil {
			return err
		}
	case x.output == "name":
		for _, a := range as {
			fmt.Fprintln(x.out, visible(a.Workload))
		}
	case len(as) == 0:
		where := "in namespace " + ns
		if x.all {
			where = "in any namespace"
		}
		x.note("No pods of a workload have left %s, as far as the hub knows.", where)
	default:
		x.view.adviceTable(as, x.all, x.noHeaders).write(x.out, x.view.screen)
		x.note("page: %s", hub.pages.at("/workloads"))
		x.note("As of when pods of each last left. `kubectl lastcall recommend TYPE/NAME` has the argument, and the workload as it is now.")
	}
	for _, n := range all.Notes() {
		x.note("%s", n)
	}
	return x.fail(as)
}

// adviceTable is the table; on a terminal that is too narrow for it what matters least is left out, unless -o wide wants all.
func (v view) adviceTable(as []sizing.Advice, namespaces, noHeaders bool) table {
	t := allAdvice(as, noHeaders, sizing.Code.Words)
	var less []string
	if !namespaces {
		less = append(less, "NAMESPACE")
	}
	cut := func() table {
		of := t
		for _, name := range less {
			of = of.without(name)
		}
		return of
	}
	for _, name := range []string{"CONTAINER", "MISSING", "REFUSED"} {
		if v.wide || !v.terminal || cut().width(v.screen) <= v.width {
			return cut()
		}
		less = append(less, name)
	}
	if cut().width(v.screen) > v.width { // as --fail-on takes them
		t = allAdvice(as, noHeaders, func(c sizing.Code) string { return string(c) })
	}
	return cut()
}

// width is that of a row with names as short as they may be.
func (t table) width(s screen) int {
	n := 2 * (len(t.columns) - 1)
	for _, w := range t.widths(s) {
		n += w
	}
	return n
}

func allAdvice(as []sizing.Advice, noHeaders bool, words func(sizing.Code) string) table {
	t := table{noHeaders: noHeaders, columns: []column{{name: "NAMESPACE", shrink: true}, {name: "WORKLOAD", shrink: true}, {name: "CONTAINER", shrink: true},
		{name: "PRESTOP", right: true}, {name: "RECOMMENDED", right: true}, {name: "LATE", right: true}, {name: "REFUSED", right: true},
		{name: "BASIS"}, {name: "MISSING", right: true}, {name: "VERDICT"}}}
	for _, a := range as {
		c := a.Cells()
		late := cell{text: c.Late}
		if a.Departures.Late > 0 {
			late.style = red
		}
		row := append(text(a.Namespace, subject(a.Workload), a.Present.Container, c.PreStop, a.Number()), late)
		row = append(row, text(c.Refused, c.Basis, c.Missing)...)
		t.add(append(row, cell{text: words(a.Verdicts[0].Code), style: mood(a.Verdicts[0].Code)})...)
	}
	return t
}

func mood(c sizing.Code) style {
	switch c {
	case sizing.Fits:
		return green
	case sizing.LongerThanNeeded, sizing.TooFew, sizing.NothingLeft, sizing.NotAllMeasured, sizing.Unreadable:
		return yellow
	}
	return red
}
