package main

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strconv"

	"github.com/lastcall-k8s/lastcall/hub/report"
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
	actFirst(as)
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
		x.note("As of the last pod of each that left. `kubectl lastcall recommend TYPE/NAME` has the argument, and the workload as it is now.")
	}
	if all.Read < all.Of {
		x.note("The hub was started a short while ago: it has read %s of %s workloads.", report.Count(all.Read), report.Count(all.Of))
	}
	if all.Dropped > 0 {
		x.note("There are too many workloads: the %s that no pod has left for longest are not sized.", report.Count(all.Dropped))
	}
	return x.fail(as)
}

// actFirst sorts those with something to change first, then by name.
func actFirst(as []sizing.Advice) {
	slices.SortStableFunc(as, func(a, b sizing.Advice) int { return urgency(a) - urgency(b) })
}

func urgency(a sizing.Advice) int {
	switch v := a.Verdicts[0]; v.Code {
	case sizing.Fits:
		return 3
	case sizing.LongerThanNeeded:
		return 1
	case sizing.TooFew, sizing.NothingLeft, sizing.NotAllMeasured, sizing.Unreadable:
		return 2
	}
	return 0
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
		prestop := "?"
		if n := a.Present.PreStop; n != nil {
			prestop = fmt.Sprintf("%d s", *n)
		}
		d := a.Departures
		late := cell{text: fmt.Sprintf("%s/%s", report.Count(d.Late), report.Count(d.Late+d.InTime+d.Unknown))}
		if d.Late > 0 {
			late.style = red
		}
		refused := ""
		if d.Refused != nil {
			refused = report.Count(*d.Refused)
		}
		missing := ""
		if n := len(a.Missing) + a.MissingMore; n > 0 {
			missing = report.Count(n)
		}
		row := append(text(a.Namespace, subject(a.Workload), a.Present.Container, prestop, a.Number()), late)
		row = append(row, text(refused, string(a.Basis)+" "+strconv.Itoa(a.Class.N), missing)...)
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
