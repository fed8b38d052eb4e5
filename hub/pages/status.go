package pages

import (
	"cmp"
	"slices"
	"strings"

	"github.com/lastcall-k8s/lastcall/hub/report"
)

// statusView is how the hub does: one sentence when all is well, and what is wrong otherwise.
type statusView struct {
	Class    string // "good" or "bad"
	Sentence string
	Store    string // what is wrong with the store
	Troubles []trouble
	More     string
	Kept     string
}

// trouble is an agent that does not do what it should.
type trouble struct{ Node, State, Why string }

// troubleRoom is how many agents in trouble are listed.
const troubleRoom = 20

func newStatusView(s report.Status) statusView {
	following := 0
	var bad []report.Agent
	for _, a := range s.Agents {
		if a.State == report.AgentFollowing {
			following++
		}
		if a.State != report.AgentFollowing || a.NotReady != "" || !a.Measured || a.Lost > 0 {
			bad = append(bad, a)
		}
	}
	v := statusView{Class: "good", Store: report.Visible(s.StoreError), Kept: kept(s)}
	switch {
	case len(s.Agents) == 0:
		v.Class, v.Sentence = "bad", "The hub knows of no node: it is starting, or it may not list Nodes."
	case following == len(s.Agents):
		v.Sentence = "The hub follows the agents of all " + report.Plural(len(s.Agents), "node") + "."
		if len(s.Agents) == 1 {
			v.Sentence = "The hub follows the agent of the only node."
		}
	default:
		v.Class = "bad"
		v.Sentence = "The hub follows the agents of " + report.Count(following) + " of " + report.Plural(len(s.Agents), "node") +
			": what the others do is not in these figures."
	}
	if s.Lag > 10 {
		v.Class = "bad"
		v.Sentence += " It is " + report.Seconds(s.Lag) + " behind the agent furthest behind."
	}
	if v.Store != "" {
		v.Class = "bad"
	}
	slices.SortStableFunc(bad, func(a, b report.Agent) int {
		return cmp.Or(cmp.Compare(gravity(b), gravity(a)), cmp.Compare(a.Node, b.Node))
	})
	if len(bad) > 0 {
		v.Class = "bad"
	}
	for i, a := range bad {
		if i == troubleRoom {
			v.More = report.Count(len(bad) - troubleRoom)
			break
		}
		v.Troubles = append(v.Troubles, newTrouble(a))
	}
	return v
}

func gravity(a report.Agent) int {
	return slices.Index([]report.AgentState{report.AgentFollowing, report.AgentCatchingUp, report.AgentMissing,
		report.AgentUnreachable, report.AgentRefused}, a.State)
}

func newTrouble(a report.Agent) trouble {
	t := trouble{Node: report.Shorten(a.Node, nameRoom), State: report.Shorten(string(a.State), nameRoom)}
	var why []string
	add := func(s string) {
		if s != "" {
			why = append(why, report.Visible(s))
		}
	}
	add(a.Why)
	if !a.NodeReady {
		add("the node is not ready")
	}
	add(a.NotReady)
	if !a.Measured && a.State == report.AgentFollowing {
		add(strings.TrimSpace("its dataplane is not measured " + a.Backend))
	}
	if len(a.Taints) > 0 {
		add("the DaemonSet does not tolerate " + strings.Join(a.Taints, ", "))
	}
	if a.Lost > 0 {
		add(report.Count(int(min(a.Lost, 1<<50))) + " event lines lost")
	}
	t.Why = strings.Join(why, "; ")
	return t
}

func kept(s report.Status) string {
	k := report.Plural(s.Departures, "departure") + " in the store"
	if !s.Oldest.IsZero() {
		k += ", the oldest of " + s.Oldest.UTC().Format("2006-01-02")
	}
	if s.Version != "" {
		k += "; hub " + report.Visible(s.Version)
	}
	return k
}
