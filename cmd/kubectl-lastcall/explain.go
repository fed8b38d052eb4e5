package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/metadata"

	"github.com/lastcall-k8s/lastcall/hub/report"
)

// explain is the command's configuration.
type explain struct {
	*cli
	output    format
	watch     bool
	since     time.Duration
	all       bool
	selector  string
	noHeaders bool
}

func explainCommand(c *cli) *cobra.Command {
	x := &explain{cli: c}
	cmd := &cobra.Command{
		Use:   "explain [TYPE/NAME | TYPE NAME | TYPE] [flags]",
		Short: "Show what happened when pods left: who let go of them when, and who was last",
		Long: `Show what happened when pods left: who let go of them when, and who was last.

For a workload, its last episode (a rollout, a drain, ...): how many pods left
and how many of them were told to stop before everybody had let go, then the
worst of them drawn over time. For a pod, its episode with that pod drawn. For a
node, how often its places were last, and in which stage their time went.
Without a name, a list of episodes.

  T0         the first sign that the pod leaves; all times are counted from there
  told       its container was told to stop: preStop was over
  seen       the first node learnt from the API that it should let go of the pod
  last call  the last place had let go: no new connection can be sent to the pod
             from then on
  late       last call came after the pod was told to stop; what is unknown is
             never counted as in time

Times are intervals, since no one can be told the moment of a commit; where one
number is shown, it is the upper end. All words:
https://github.com/lastcall-k8s/lastcall/blob/main/docs/reading.md`,
		Example: `  # The last rollout (or drain, or ...) of a deployment
  kubectl lastcall explain deploy/shop

  # Every episode of the last hour, oldest first
  kubectl lastcall explain deploy/shop --since 1h

  # Stay, and tell each pod when everybody has let go of it, until Ctrl-C
  kubectl lastcall explain deploy/shop -w

  # One pod, which may be gone already; every place of it
  kubectl lastcall explain pod/shop-d696c88f8-7dgrq -o wide

  # Is this node the one that everybody waits for?
  kubectl lastcall explain node/node-1

  # The newest episodes of a namespace, of all, and of the deployments with a label
  kubectl lastcall explain
  kubectl lastcall explain -A --since 24h
  kubectl lastcall explain deploy -l app=shop`,
		RunE: func(cmd *cobra.Command, args []string) error { return x.run(cmd.Context(), args) },
	}
	fl := cmd.Flags()
	fl.BoolVarP(&x.watch, "watch", "w", false, "after the answer, tell what is new, until Ctrl-C")
	fl.DurationVar(&x.since, "since", 0, "everything since this long ago, such as 24h, not the last episode alone")
	fl.StringVarP((*string)(&x.output), "output", "o", "", "json, yaml or wide")
	fl.BoolVarP(&x.all, "all-namespaces", "A", false, "with no name: list the episodes of all namespaces")
	fl.StringVarP(&x.selector, "selector", "l", "", "with a TYPE and no name: only the workloads with these labels")
	fl.BoolVar(&x.noHeaders, "no-headers", false, "print tables without headings")
	return cmd
}

// limits of how much is asked for at once.
const (
	mostEpisodes  = 500 // in a list
	mostExplained = 20  // drawn in full
)

func (x *explain) run(ctx context.Context, args []string) error {
	if err := x.output.check("json", "yaml", "wide"); err != nil {
		return err
	}
	x.view.wide = x.output == "wide"
	if x.since < 0 {
		return fmt.Errorf("--since %v: must be a time that lies back, such as 1h", x.since)
	}
	var t target
	if len(args) > 0 {
		var err error
		if t, err = parseTarget(args, func() (meta.RESTMapper, error) { return x.config.ToRESTMapper() }); err != nil {
			return err
		}
	}
	if x.selector != "" && (t.kind == "" || t.name != "" || t.kind == "pod" || t.kind == "node") {
		return errors.New("-l chooses among the workloads of a type: give it one, and no name, as in: kubectl lastcall explain deploy -l app=shop")
	}
	switch {
	case t.name != "" && x.all:
		return errors.New("one object cannot be looked for in all namespaces: use -n")
	case t.kind == "node" && x.since > 0:
		return errors.New("--since does not go with a node: its history is all that the hub has")
	case t.name == "" && t.kind == "node":
		return errors.New("which node? explain node/NAME; for all of them: kubectl lastcall places")
	case t.name == "" && t.kind == "pod":
		return errors.New("which pod? explain pod/NAME; without one, explain lists the episodes of a namespace")
	}
	ns, err := x.namespace()
	if err != nil {
		return err
	}
	hub, err := x.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { hub.close() }()
	f := &follower{told: map[string]bool{}, warned: map[string]bool{}}
	var answer func() error
	var ask poll
	switch {
	case t.kind == "node":
		answer, ask = func() error { return x.node(ctx, hub, t) }, x.lasts(f, t)
	case t.name == "":
		answer, ask = func() error { return x.list(ctx, hub, t, ns) }, x.ends(f, t, ns)
	case t.kind != "pod" && x.since > 0:
		answer, ask = func() error { return x.every(ctx, hub, t, ns) }, x.departures(f, t, ns)
	default:
		answer, ask = func() error { return x.one(ctx, hub, t, ns) }, x.departures(f, t, ns)
	}
	if !x.watch {
		return answer()
	}
	before, err := ask(ctx, hub)
	if err != nil && !isNotFound(err) { // the answer says that better
		return err
	}
	f.baseline(before)
	if err := answer(); err != nil {
		return err
	}
	hub, err = x.stay(ctx, hub, f, ask)
	return err
}

// node tells how a node's places do.
func (x *explain) node(ctx context.Context, hub *client, t target) error {
	h, err := get[report.NodeHistory](ctx, hub, "/v1/nodes/"+url.PathEscape(t.name), nil)
	if isNotFound(err) {
		return fmt.Errorf("the hub knows no node %s: %w\n`kubectl lastcall places` lists those it knows", t.name, err)
	}
	if err != nil {
		return err
	}
	if x.output.machine() {
		return x.output.print(x.out, h)
	}
	x.view.history(x.out, h)
	return nil
}

// one explains the last episode of a workload, or that of a pod.
func (x *explain) one(ctx context.Context, hub *client, t target, ns string) error {
	q := url.Values{"namespace": {ns}}
	if t.kind == "pod" {
		q.Set("pod", t.name)
	} else {
		q.Set("workload", t.String())
	}
	if x.since > 0 {
		q.Set("since", x.since.String())
	}
	e, err := get[report.Explanation](ctx, hub, "/v1/explain", q)
	if isNotFound(err) {
		if x.watch {
			x.note("%s has not left anything yet; waiting for it.", t)
			return nil
		}
		return x.nothing(ctx, hub, t, ns, err)
	}
	if err != nil {
		return err
	}
	if x.output.machine() {
		return x.output.print(x.out, e)
	}
	pod := ""
	if t.kind == "pod" {
		pod = t.name
	}
	x.view.explanation(x.out, e, pod, hub.pages)
	return nil
}

// every explains all episodes of a workload since a while ago, the oldest first so that the newest stands last.
func (x *explain) every(ctx context.Context, hub *client, t target, ns string) error {
	es, err := get[[]report.Episode](ctx, hub, "/v1/episodes", url.Values{"namespace": {ns}, "workload": {t.String()},
		"since": {x.since.String()}, "limit": {strconv.Itoa(mostExplained + 1)}})
	if err != nil {
		return err
	}
	if len(es) > mostExplained {
		es = es[:mostExplained]
		x.note("There are more than %d episodes: these are the newest. `kubectl lastcall explain %s --since %v` lists them.", mostExplained, t.kind, x.since)
	}
	slices.Reverse(es)
	var all []report.Explanation
	for _, e := range es {
		got, err := get[report.Explanation](ctx, hub, "/v1/episodes/"+strconv.FormatInt(e.ID, 10), nil)
		if isNotFound(err) {
			continue // forgotten meanwhile
		}
		if err != nil {
			return err
		}
		all = append(all, got)
	}
	if x.output.machine() {
		return x.output.print(x.out, items(all))
	}
	if len(all) == 0 {
		x.note("No pod of %s in namespace %s has left in the last %v.", t, ns, x.since)
	}
	for i, e := range all {
		if i > 0 {
			fmt.Fprintf(x.out, "\n%s\n\n", rule(x.view))
		}
		x.view.explanation(x.out, e, "", hub.pages)
	}
	return nil
}

// nothing explains why there is no episode: a name that does not exist, or nothing that has happened.
func (x *explain) nothing(ctx context.Context, hub *client, t target, ns string, said error) error {
	if !t.resource.Empty() && t.kind != "pod" {
		if config, err := x.config.ToRESTConfig(); err == nil {
			if m, err := metadata.NewForConfig(config); err == nil {
				if _, err := m.Resource(t.resource).Namespace(ns).Get(ctx, t.name, metav1.GetOptions{}); apierrors.IsNotFound(err) {
					return fmt.Errorf("there is no %s in namespace %s, and the hub knows of none that left\nIs the namespace right (-n)?", t, ns)
				}
			}
		}
	}
	watching := ""
	if s, err := get[report.Status](ctx, hub, "/v1/status", nil); err == nil {
		switch {
		case s.Departures == 0:
			watching = "\nThe hub has not seen any pod leave yet."
		case !s.Oldest.IsZero():
			watching = fmt.Sprintf("\nThe hub's oldest departure is from %s.", x.view.clock(s.Oldest, toSeconds))
		}
	}
	if t.kind == "pod" {
		return fmt.Errorf("the hub does not know that %s in namespace %s has left: %w%s", t, ns, said, watching)
	}
	return fmt.Errorf("no pod of %s in namespace %s has left: %w%s\nAny rollout will do, for example: kubectl -n %s rollout restart %s",
		t, ns, said, watching, shell(ns), shell(t.String()))
}
