package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lastcall-k8s/lastcall/hub/report"
)

func placesCommand(c *cli) *cobra.Command {
	var (
		output    format
		selector  string
		noHeaders bool
	)
	cmd := &cobra.Command{
		Use:   "places [NODE...] [flags]",
		Short: "List what routes new connections to pods, and whether it lets go of them",
		Long: `List what routes new connections to pods, and whether it lets go of them, those
with trouble first.

A place is a node's kube-proxy, one for each IP family, or a replica of an ingress
controller, a DNS server or a mesh that the agent on its node reads (--consumers).
Without a node: a kind of which no agent knows a replica, though Ingresses, routes
or headless Services lead to it.

  STATE      ok; STUCK: it still routes to a pod that left over 5 minutes ago;
             NOT MEASURED: nobody can say
  PENDING    how many paths it has to pods that leave, and OLDEST since when
  P50, P99   from T0 to letting go, over the departures that the hub has; those of
             all replicas of a kind that a node has had
  LAST       how often it was the last of all places, and so decided how long
             preStop must sleep
  CLOCK-ERR  how well its node's clock is known; over 100 ms it is never named
             as last`,
		Example: `  # All places, trouble first
  kubectl lastcall places

  # Those of two nodes; those of nodes with a label
  kubectl lastcall places node-1 node-2
  kubectl lastcall places -l topology.kubernetes.io/zone=eu-1a

  # The nodes that are stuck
  kubectl lastcall places -o json | jq -r '.items[] | select(.state == "STUCK").node'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := output.check("json", "yaml", "wide", "name"); err != nil {
				return err
			}
			ps, err := c.listPlaces(cmd.Context(), args, selector)
			if err != nil {
				return err
			}
			c.view.wide = output == "wide"
			switch {
			case output.machine():
				if err := output.print(c.out, items(ps)); err != nil {
					return err
				}
			case output == "name":
				for _, n := range nodesOf(ps) {
					fmt.Fprintln(c.out, "node/"+visible(n))
				}
			case len(ps) > 0:
				c.view.placeTable(c.out, ps, noHeaders)
			}
			c.note("%s", summary(ps))
			return nil
		},
	}
	fl := cmd.Flags()
	fl.StringVarP((*string)(&output), "output", "o", "", "json, yaml, wide or name")
	fl.StringVarP(&selector, "selector", "l", "", "only places on nodes with these labels, as the API server knows them")
	fl.BoolVar(&noHeaders, "no-headers", false, "print the table without headings")
	return cmd
}

// listPlaces asks the hub, and keeps the nodes that were named or have the labels.
func (c *cli) listPlaces(ctx context.Context, names []string, selector string) ([]report.Place, error) {
	keep := map[string]bool{}
	for _, n := range names {
		keep[strings.TrimPrefix(strings.TrimPrefix(n, "no/"), "node/")] = true
	}
	if selector != "" {
		if len(names) > 0 {
			return nil, fmt.Errorf("names of nodes and -l cannot be given together")
		}
		k, err := c.kubernetes()
		if err != nil {
			return nil, fmt.Errorf("-l: %w", err)
		}
		nodes, err := k.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: selector})
		if err != nil {
			return nil, fmt.Errorf("-l: list nodes: %w", err)
		}
		for _, n := range nodes.Items {
			keep[n.Name] = true
		}
	}
	hub, err := c.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer hub.close()
	ps, err := get[[]report.Place](ctx, hub, "/v1/places", nil)
	if err != nil {
		return nil, err
	}
	if len(names) > 0 || selector != "" {
		for n := range keep {
			if selector == "" && !slices.ContainsFunc(ps, func(p report.Place) bool { return p.Node == n }) {
				return nil, fmt.Errorf("the hub knows no place on node %s\n`kubectl lastcall places` lists those it knows", n)
			}
		}
		ps = slices.DeleteFunc(ps, func(p report.Place) bool { return !keep[p.Node] })
	}
	troubleFirst(ps)
	return ps, nil
}

// troubleFirst sorts: stuck by age, then what is not measured, then by how often it was last.
func troubleFirst(ps []report.Place) {
	rank := map[report.PlaceState]int{report.PlaceStuck: 0, report.PlaceNotMeasured: 1, report.PlaceOK: 3}
	of := func(p report.Place) int {
		if r, known := rank[p.State]; known {
			return r
		}
		return 2
	}
	slices.SortStableFunc(ps, func(a, b report.Place) int {
		return cmp.Or(cmp.Compare(of(a), of(b)), cmp.Compare(value(b.Oldest), value(a.Oldest)), cmp.Compare(b.Last, a.Last),
			strings.Compare(a.Node, b.Node), strings.Compare(a.Kind, b.Kind), strings.Compare(string(a.Family), string(b.Family)))
	})
}

func value(p *float64) float64 {
	if p == nil {
		return 0
	}
	return *p
}

func (v view) placeTable(w io.Writer, ps []report.Place, noHeaders bool) {
	replicas := slices.ContainsFunc(ps, func(p report.Place) bool { return p.Replica != "" })
	t := table{noHeaders: noHeaders, columns: []column{{name: "NODE", shrink: true}, {name: "KIND"}, {name: "BACKEND"}, {name: "FAMILY"}, {name: "STATE"},
		{name: "PENDING", right: true}, {name: "OLDEST", right: true}, {name: "P50", right: true}, {name: "P99", right: true},
		{name: "LAST", right: true}, {name: "CLOCK-ERR", right: true}}}
	if replicas {
		t.columns = slices.Insert(t.columns, 2, column{name: "REPLICA", shrink: true})
	}
	if v.wide {
		t.columns = append(t.columns, column{name: "SAMPLES", right: true}, column{name: "LAST BY"}, column{name: "WHY"})
	}
	for _, p := range ps {
		state := cell{text: string(p.State)}
		switch p.State {
		case report.PlaceStuck:
			state.style = red
		case report.PlaceNotMeasured:
			state.style = yellow
		}
		row := append(text(p.Node, p.Kind, p.Backend, string(p.Family)), state)
		if replicas {
			row = slices.Insert(row, 2, text(p.Replica)...)
		}
		row = append(row, text(report.Count(p.Pending), seconds(p.Oldest), seconds(p.P50), seconds(p.P99), report.Count(p.Last), clockError(p.ClockError))...)
		if v.wide {
			row = append(row, text(report.Count(p.Samples), lastBy(p.LastBy), p.Why)...)
		}
		t.add(row...)
	}
	t.write(w, v.screen)
}

// placeKind tells the place apart from the others of its node.
func placeKind(p report.Place) string {
	if p.Replica != "" {
		return p.Kind
	}
	return either(p.Backend, p.Kind)
}

func seconds(p *float64) string {
	if p == nil {
		return ""
	}
	return report.Seconds(*p)
}

func clockError(p *float64) string {
	if p == nil {
		return ""
	}
	if *p > unusableClock {
		return report.Seconds(*p) + " (!)"
	}
	return report.Seconds(*p)
}

// unusableClock is the error, in seconds, from which the hub never names a node as the last.
const unusableClock = .1

func lastBy(by map[string]int) string {
	var parts []string
	for _, stage := range []string{"api", "watch", "program"} {
		if by[stage] > 0 {
			parts = append(parts, fmt.Sprintf("%s %s", stage, report.Count(by[stage])))
		}
	}
	return strings.Join(parts, ", ")
}

// nodesOf lists each node once, in the order of the places.
func nodesOf(ps []report.Place) (nodes []string) {
	for _, p := range ps {
		if p.Node != "" && !slices.Contains(nodes, p.Node) {
			nodes = append(nodes, p.Node)
		}
	}
	return nodes
}

// summary is the last line: how many, and what to do about trouble.
func summary(ps []report.Place) string {
	if len(ps) == 0 {
		return "No places: the hub knows of no node yet. Do agents run? kubectl lastcall check"
	}
	n := map[report.PlaceState]int{}
	for _, p := range ps {
		n[p.State]++
	}
	line := fmt.Sprintf("%s on %s", report.Plural(len(ps), "place"), report.Plural(len(nodesOf(ps)), "node"))
	if n[report.PlaceOK] == len(ps) {
		return line + ", all ok."
	}
	line += fmt.Sprintf(": %s ok", report.Count(n[report.PlaceOK]))
	for _, s := range []report.PlaceState{report.PlaceStuck, report.PlaceNotMeasured} {
		if n[s] > 0 {
			line += fmt.Sprintf(", %s %s", report.Count(n[s]), s)
		}
	}
	line += "."
	const most = 5
	told := 0
	for _, p := range ps {
		if p.State != report.PlaceOK && p.Why != "" {
			if told++; told > most {
				return line + "\n-o wide says why of all."
			}
			line += fmt.Sprintf("\n%s %s: %s: %s", visible(either(either(p.Replica, p.Node), "no node's")), visible(placeKind(p)), p.State, visible(p.Why))
		}
	}
	return line
}
