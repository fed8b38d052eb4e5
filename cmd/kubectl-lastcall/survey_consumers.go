package main

import (
	"fmt"
	"strings"

	"github.com/lastcall-k8s/lastcall/hub/report"
)

// consumerFindings says of each kind of consumers whether its replicas are read, and why not; and what serves workloads and nobody reads.
func (s survey) consumerFindings() (fs []finding) {
	add := func(r result, do, what string, args ...any) {
		fs = append(fs, finding{Check: "consumers", Result: r, What: fmt.Sprintf(what, args...), Do: do})
	}
	for _, k := range s.status.Consumers {
		if k.Read > 0 {
			words := report.Kind{Fidelity: k.Fidelity, LagBound: k.LagBound}.FidelityWords()
			if words != "" {
				words = ": " + words
			}
			add(ok, "", "%s: %s of %s read%s", k.Kind, report.Count(k.Read), report.Plural(k.Replicas, "replica"), words)
		}
		for _, u := range k.Unread {
			who := u.Replica + " on " + u.Node
			if u.Replicas > 1 {
				who += fmt.Sprintf(" and %s more", report.Count(u.Replicas-1))
			}
			add(warn, "Departures are told without it, and nothing is called in time that it may send to. docs/consumers.md says how each kind is read.",
				"%s: NOT MEASURED: %s: %s", k.Kind, who, u.Why)
		}
		if k.UnreadMore > 0 {
			add(warn, "", "%s: NOT MEASURED: %s more, for other reasons", k.Kind, report.Plural(k.UnreadMore, "replica"))
		}
	}
	for _, m := range s.status.Unserved {
		do := "Turn on agent.consumers.enabled, and see docs/consumers.md for those that listen on localhost only."
		if strings.Contains(m.Why, "how to read it") {
			do = "Can it be declared as a scrape? See docs/consumers.md."
		}
		add(warn, do, "%s: NOT MEASURED: %s", m.Place, m.Why)
	}
	if s.status.Routes != "" {
		add(warn, "Every answer says that it is not known which consumers serve the workload, and nothing is called in time.",
			"what serves workloads is not known, or may be old: %s", s.status.Routes)
	}
	if len(s.status.Unlisted) > 0 {
		add(warn, "May it? The chart's value sidecars grants it.", "the hub has not listed the pods of %s, where agents run beside consumers", some(s.status.Unlisted, 5))
	}
	return fs
}
