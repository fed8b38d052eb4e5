package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/lastcall-k8s/lastcall/hub/report"
)

func (s survey) hubFinding() finding {
	f := finding{Check: "hub", Result: ok}
	if s.hubErr != nil {
		f.Result = fail
		f.What, f.Do, _ = strings.Cut(s.hubErr.Error(), "\n")
		return f
	}
	f.What = fmt.Sprintf("%s answers, version %s", s.hub, either(s.status.Version, "unknown"))
	if s.status.Lag > 60 {
		f.Result = warn
		f.What += fmt.Sprintf("; it is %s behind its agents", report.Seconds(s.status.Lag))
		f.Do = "It catches up by itself; if this does not shrink, look at its CPU limit."
	}
	return f
}

func (s survey) storeFinding() finding {
	f := finding{Check: "store", Result: ok, What: fmt.Sprintf("%s, %.1f MiB", report.Plural(s.status.Departures, "departure"), float64(s.status.StoreBytes)/(1<<20))}
	if !s.status.Oldest.IsZero() {
		f.What += ", the oldest of " + s.status.Oldest.UTC().Format("2006-01-02 15:04 MST")
	}
	switch {
	case s.status.StoreError != "":
		f.Result, f.What, f.Do = fail, s.status.StoreError, "Measuring goes on, but what happens now is not kept."
	case s.status.Departures == 0:
		f.What = "no departure yet"
		f.Do = "The first pod that leaves will show up, for example by:\nkubectl rollout restart deployment/NAME"
	}
	return f
}

// dataplaneFindings says per kind of dataplane how many nodes have it; what is not measured is named.
func (s survey) dataplaneFindings() (fs []finding) {
	measured, not := map[string]int{}, map[string][]string{}
	for _, a := range s.status.Agents {
		switch {
		case a.Measured && answers(a):
			measured[either(a.Backend, "unknown")]++
		case answers(a):
			not[either(a.Backend, "unknown")] = append(not[either(a.Backend, "unknown")], a.Node)
		}
	}
	if len(measured) > 0 {
		var parts []string
		for _, b := range slices.Sorted(maps.Keys(measured)) {
			parts = append(parts, fmt.Sprintf("%s on %s", b, report.Plural(measured[b], "node")))
		}
		fs = append(fs, finding{Check: "dataplane", Result: ok, What: strings.Join(parts, ", ")})
	}
	for _, b := range slices.Sorted(maps.Keys(not)) {
		fs = append(fs, finding{Check: "dataplane", Result: fail, What: fmt.Sprintf("NOT MEASURED: %s on %s", b, some(not[b], 5)),
			Do: "kube-proxy in nftables mode and in iptables mode can be measured. Departures are told without these nodes, and say so."})
	}
	return fs
}

// readyFindings groups agents by what they say is wrong.
func (s survey) readyFindings() (fs []finding) {
	by := map[string][]string{}
	for _, a := range s.status.Agents {
		switch {
		case a.State == report.AgentUnreachable || a.State == report.AgentRefused:
			why := fmt.Sprintf("the hub cannot use the agent (%s): %s", a.State, either(a.Why, "it does not say why"))
			by[why] = append(by[why], a.Node)
		case a.State != report.AgentMissing && a.NotReady != "":
			by["not ready: "+a.NotReady] = append(by["not ready: "+a.NotReady], a.Node)
		}
	}
	for _, why := range slices.Sorted(maps.Keys(by)) {
		f := finding{Check: "agents", Result: fail, What: fmt.Sprintf("%s: %s", some(by[why], 5), why)}
		if strings.Contains(why, "are not listed yet") { // the watcher's word before its first list is there
			f.Result, f.Do = warn, "An agent that has just started lists first, and tells the hub within 2 s after that: ask again in a moment."
		}
		fs = append(fs, f)
	}
	return fs
}

func (s survey) clockFinding() finding {
	worst, unusable, known := report.Agent{}, []string(nil), 0
	for _, a := range s.status.Agents {
		if a.ClockError == nil {
			continue
		}
		known++
		if worst.ClockError == nil || *a.ClockError > *worst.ClockError {
			worst = a
		}
		if *a.ClockError > unusableClock {
			unusable = append(unusable, a.Node)
		}
	}
	f := finding{Check: "clocks", Result: ok}
	switch {
	case known == 0:
		f.Result, f.What = unknown, "no agent's clock has been compared yet"
	case len(unusable) > 0:
		f.Result = warn
		f.What = fmt.Sprintf("%s: known only to %s or worse, so never named as last", some(unusable, 5), report.Seconds(unusableClock))
		f.Do = "The hub compares clocks by small requests: is the way to these nodes slow or lossy, or are their CPUs used up?"
	default:
		f.What = fmt.Sprintf("known to %s on %s, worst on %s", report.Seconds(*worst.ClockError), report.Plural(known, "node"), worst.Node)
	}
	return f
}

func (s survey) lostFinding() finding {
	var nodes []string
	total := uint64(0)
	lossy := slices.SortedFunc(slices.Values(s.status.Agents), func(a, b report.Agent) int { return cmp.Compare(b.Lost, a.Lost) })
	for _, a := range lossy {
		if a.Lost > 0 {
			nodes = append(nodes, a.Node)
			total += a.Lost
		}
	}
	if total == 0 {
		return finding{Check: "events", Result: ok, What: "none lost"}
	}
	return finding{Check: "events", Result: warn, What: fmt.Sprintf("%d lines of %s were lost before the hub had read them", total, some(nodes, 5)),
		Do: "Departures of that time say what they miss. If it goes on, the agents' --events-mib and --events-age are too small for how long the hub is away."}
}

// versionFinding compares agents, hub and this program.
func (s survey) versionFinding() finding {
	by := map[string][]string{}
	for _, a := range s.status.Agents {
		if a.Version != "" && a.Version != s.status.Version {
			by[a.Version] = append(by[a.Version], a.Node)
		}
	}
	var parts []string
	for _, v := range slices.Sorted(maps.Keys(by)) {
		parts = append(parts, fmt.Sprintf("agents of %s are %s", some(by[v], 3), v))
	}
	if s.cli != s.status.Version {
		parts = append(parts, "kubectl lastcall is "+s.cli)
	}
	if len(parts) == 0 {
		return finding{Check: "versions", Result: ok, What: "hub, agents and kubectl lastcall are " + s.status.Version}
	}
	return finding{Check: "versions", Result: warn, What: fmt.Sprintf("the hub is %s, but %s", either(s.status.Version, "unknown"), strings.Join(parts, ", ")),
		Do: "Different versions may not understand each other. An upgrade that is under way explains this."}
}
