package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/lastcall-k8s/lastcall/hub/sizing"
)

// recommend is the command's configuration.
type recommend struct {
	*cli
	output     format
	all        bool
	noHeaders  bool
	quantile   float64
	since      time.Duration
	unmeasured time.Duration
	failOn     []string
}

func recommendCommand(c *cli) *cobra.Command {
	x := &recommend{cli: c}
	cmd := &cobra.Command{
		Use:   "recommend [TYPE/NAME | TYPE NAME | TYPE] [flags]",
		Short: "Say how long preStop must sleep, what that rests on, and what to change",
		Long: `Say how long preStop must sleep, what that rests on, and what to change.

The number is such that the next rollout, drain or other episode stays within it
with a probability of 95 % (--quantile), and no less than the worst one so far.
It takes 19 episodes of the workload, or of others like it. Without a name, a
table of all workloads of the namespace; for one workload the whole argument:

  WHY      how many of its pods were late, what was lost, the worst last call
  BASIS    what the number rests on: how many episodes, of whom, in which regime
  BACKTEST how earlier numbers did in the episodes that followed them
  DRIVER   the place without which a much smaller number would do
  MISSING  what is not measured; the number is a lower bound then (">= 12 s")
  GRACE    the grace period that goes with it
  COST     what it costs in rollouts and drains
  APPLY    what to type

The configuration is that of the workload as it is now if you may read it, else
that of when its pods last left. A table always has the latter.

-o patch prints a patch for kubectl, after the API server has tried it (dry run),
or says why there is none. Nothing is changed.`,
		Example: `  # Who sleeps too short?
  kubectl lastcall recommend -A

  # Why, and what to do
  kubectl lastcall recommend deploy/shop

  # Do it
  kubectl lastcall recommend deploy/shop -o patch > patch.json
  kubectl patch deployment shop --patch-file patch.json

  # An ingress controller that nobody measures may take another minute
  kubectl lastcall recommend deploy/shop --unmeasured 60s

  # In CI: fail if preStop is too short
  kubectl lastcall recommend deploy/shop --fail-on=too-short`,
		RunE: func(cmd *cobra.Command, args []string) error { return x.run(cmd.Context(), args) },
	}
	fl := cmd.Flags()
	fl.StringVarP((*string)(&x.output), "output", "o", "", "json, yaml, wide, name, or for one workload patch")
	fl.BoolVarP(&x.all, "all-namespaces", "A", false, "with no name: the workloads of all namespaces")
	fl.BoolVar(&x.noHeaders, "no-headers", false, "print the table without headings")
	fl.Float64Var(&x.quantile, "quantile", 0.95, "for one workload: the probability that the next episode stays within the number, from 0.5 to 0.9999")
	fl.DurationVar(&x.since, "since", 0, "for one workload: only episodes that began since this long ago, such as 72h")
	fl.DurationVar(&x.unmeasured, "unmeasured", 0, "for one workload: add this for places that nobody measures, such as 60s")
	fl.StringSliceVar(&x.failOn, "fail-on", nil, "exit with 1 if one of these verdicts is given, such as too-short; of a table, for any workload")
	return cmd
}

// verdicts are what --fail-on takes.
var verdicts = []sizing.Code{sizing.TooShort, sizing.LongerThanNeeded, sizing.TooFew, sizing.Unreadable, sizing.NotAllMeasured, sizing.NothingLeft, sizing.TooLate,
	sizing.Kept, sizing.StuckPlace, sizing.HookFails, sizing.LeavesFirst, sizing.NoTimeToStop, sizing.CutsAtStop, sizing.DrainsTooLong, sizing.IgnoresSIGTERM, sizing.Killed}

// validate checks all flags at once.
func (x *recommend) validate() error {
	errs := []error{x.output.check("json", "yaml", "wide", "name", "patch")}
	if !(x.quantile >= 0.5 && x.quantile <= 0.9999) {
		errs = append(errs, fmt.Errorf("--quantile %v: must be from 0.5 to 0.9999", x.quantile))
	}
	if x.since < 0 {
		errs = append(errs, fmt.Errorf("--since %v: must be a time that lies back, such as 72h", x.since))
	}
	if x.unmeasured < 0 || x.unmeasured > 24*time.Hour {
		errs = append(errs, fmt.Errorf("--unmeasured %v: must be from 0s to 24h", x.unmeasured))
	}
	for _, v := range x.failOn {
		if !slices.Contains(verdicts, sizing.Code(v)) {
			var names []string
			for _, c := range verdicts {
				names = append(names, string(c))
			}
			errs = append(errs, fmt.Errorf("--fail-on %s: there is no such verdict; there are %s", v, strings.Join(names, ", ")))
		}
	}
	return errors.Join(errs...)
}

func (x *recommend) run(ctx context.Context, args []string) error {
	if err := x.validate(); err != nil {
		return err
	}
	x.view.wide = x.output == "wide"
	var t target
	if len(args) > 0 {
		var err error
		if t, err = parseTarget(args, func() (meta.RESTMapper, error) { return x.config.ToRESTMapper() }); err != nil {
			return err
		}
	}
	switch {
	case t.kind == "pod" || t.kind == "node":
		return fmt.Errorf("a %s is not sized: ask about the workload that owns the pods, such as deployment/shop", t.kind)
	case t.name != "" && x.all:
		return errors.New("one object cannot be looked for in all namespaces: use -n")
	case t.name == "" && x.output == "patch":
		return errors.New("-o patch goes with one workload: recommend TYPE/NAME -o patch")
	case t.name == "" && (x.quantile != 0.95 || x.since != 0 || x.unmeasured != 0):
		return errors.New("--quantile, --since and --unmeasured go with one workload: recommend TYPE/NAME")
	}
	ns, err := x.namespace()
	if err != nil {
		return err
	}
	hub, err := x.connect(ctx)
	if err != nil {
		return err
	}
	defer hub.close()
	if t.name == "" {
		return x.table(ctx, hub, t, ns)
	}
	return x.one(ctx, hub, t, ns)
}

// one gives the whole argument for a workload.
func (x *recommend) one(ctx context.Context, hub *client, t target, ns string) error {
	now, unread := x.read(ctx, t, ns)
	if unread != nil && x.output == "patch" {
		return unread
	}
	q := url.Values{"namespace": {ns}, "workload": {t.String()}, "quantile": {strconv.FormatFloat(x.quantile, 'g', -1, 64)}}
	if x.since > 0 {
		q.Set("since", x.since.String())
	}
	if x.unmeasured > 0 {
		q.Set("unmeasured", x.unmeasured.String())
	}
	if now != nil {
		text, err := json.Marshal(now.live())
		if err != nil {
			return err
		}
		q.Set("live", string(text))
	}
	a, err := get[sizing.Advice](ctx, hub, "/v1/recommend", q)
	if isNotFound(err) {
		return fmt.Errorf("nothing to recommend for %s in namespace %s: %w\nAny rollout will do to begin with, for example: kubectl -n %s rollout restart %s\nIf its pods did leave: is the namespace right (-n), and does `kubectl lastcall check` say that all is well?",
			t, ns, err, shell(ns), shell(t.String()))
	}
	if err != nil {
		return err
	}
	if !a.Sound() {
		return fmt.Errorf("the answer of the hub (%s) on %s makes no sense\nIs it of this version (%s)?", hub.name, t, buildVersion())
	}
	switch {
	case x.output.machine():
		err = x.output.print(x.out, a)
	case x.output == "name":
		fmt.Fprintln(x.out, visible(a.Workload))
	case x.output == "patch":
		err = x.patch(ctx, now, a)
	default:
		x.view.advice(x.out, a, now, unread, x.options())
		fmt.Fprintf(x.out, "\npage: %s\n", hub.pages.workload(a.Namespace, a.Workload))
	}
	if err != nil {
		return err
	}
	return x.fail([]sizing.Advice{a})
}

// options are the flags that change the number.
func (x *recommend) options() (s string) {
	if x.quantile != 0.95 {
		s += " --quantile " + strconv.FormatFloat(x.quantile, 'g', -1, 64)
	}
	if x.since > 0 {
		s += " --since " + x.since.String()
	}
	if x.unmeasured > 0 {
		s += " --unmeasured " + x.unmeasured.String()
	}
	return s
}

// fail ends with 1 if a verdict is one of --fail-on.
func (x *recommend) fail(all []sizing.Advice) error {
	failed := false
	for _, a := range all {
		for _, v := range a.Verdicts {
			if slices.Contains(x.failOn, string(v.Code)) {
				failed = true
				x.note("--fail-on %s: %s in namespace %s: %s", v.Code, a.Workload, a.Namespace, v.Says())
			}
		}
	}
	if failed {
		return errCheckFailed
	}
	return nil
}
