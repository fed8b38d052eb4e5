package main

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/lastcall-k8s/lastcall/hub/report"
)

const (
	pollEvery = time.Second
	// pollSince bounds what is asked for each time. No removal is open longer than the agents' horizon of 30 minutes.
	pollSince = "2h"
	// tellSlow is when a pod that is still routed is worth a word before the end.
	tellSlow = 10.
)

// news is something that -w tells once, when it is done.
type news struct {
	key  string
	done bool
	tell func() error
}

// poll asks for everything recent, told or not.
type poll func(context.Context, *client) ([]news, error)

// follower tells news once each.
type follower struct {
	told   map[string]bool
	warned map[string]bool
	widths []int
}

// baseline notes what is done already, before the first answer: what gets done between the two is told twice
// rather than never.
func (f *follower) baseline(ns []news) {
	for _, n := range ns {
		f.told[n.key] = n.done
	}
}

func (f *follower) tell(ns []news) error {
	for _, n := range ns {
		if n.done && !f.told[n.key] {
			f.told[n.key] = true
			if err := n.tell(); err != nil {
				return err
			}
		}
	}
	return nil
}

// stay polls until ctx ends, which is how people end it. A hub that goes away is looked for again.
func (x *explain) stay(ctx context.Context, hub *client, f *follower, ask poll) (*client, error) {
	var lost error
	wait := pollEvery
	for {
		select {
		case <-ctx.Done():
			return hub, nil
		case <-time.After(wait):
		}
		var err error
		if lost != nil || !hub.renew.IsZero() && x.view.now().After(hub.renew) {
			// The pod, its address and the token may all be others by now.
			var again *client
			if again, err = x.connect(ctx); err == nil {
				hub.close()
				hub = again
			}
		}
		var ns []news
		if err == nil {
			ns, err = ask(ctx, hub)
		}
		switch {
		case ctx.Err() != nil:
			return hub, nil
		case err != nil && lost == nil:
			x.note("%s\nTrying again until it answers, or Ctrl-C.", err)
			lost = err
		case err == nil && lost != nil:
			x.note("The hub (%s) answers again.", hub.name)
			lost, wait = nil, pollEvery
		}
		if err != nil {
			wait = min(2*wait, 10*time.Second)
			continue
		}
		if err := f.tell(ns); err != nil {
			return hub, err
		}
	}
}

// departures are the news of a workload or a pod: each pod that everybody has let go of, and each episode that ended.
func (x *explain) departures(f *follower, t target, ns string) poll {
	q := url.Values{"namespace": {ns}, "since": {pollSince}, "limit": {strconv.Itoa(mostEpisodes)}}
	if t.kind == "pod" {
		q.Set("pod", t.name)
	} else {
		q.Set("workload", t.String())
	}
	return func(ctx context.Context, hub *client) ([]news, error) {
		ds, err := get[[]report.Departure](ctx, hub, "/v1/departures", q)
		if err != nil {
			return nil, err
		}
		slices.Reverse(ds) // newest first
		var all []news
		for _, d := range ds {
			all = append(all, news{d.UID, d.Complete, func() error { return x.tellDeparture(f, d) }})
			if d.Pending > 0 && d.Age > tellSlow && !f.warned[d.UID] {
				f.warned[d.UID] = true
				x.note("%s: not let go yet, %s after T0.", visible(d.Pod), report.Seconds(d.Age))
			}
		}
		if t.kind == "pod" {
			return all, nil
		}
		es, err := get[[]report.Episode](ctx, hub, "/v1/episodes", url.Values{"namespace": {ns}, "workload": {t.String()}, "since": {pollSince}, "limit": {"10"}})
		slices.Reverse(es)
		for _, e := range es {
			all = append(all, news{fmt.Sprint("episode ", e.ID), !e.Open && e.Pending == 0, func() error { return x.tellEnd(ctx, hub, e) }})
		}
		return all, err
	}
}

func (x *explain) tellDeparture(f *follower, d report.Departure) error {
	if x.output.machine() {
		return x.output.print(x.out, d)
	}
	t := table{columns: append([]column{{name: "T0"}}, departureColumns...), noHeaders: x.noHeaders}
	t.add(append(text(x.view.clock(d.T0, toSeconds)), departureRow(d)...)...)
	return x.live(f, t)
}

// liveLeast are widths that later rows will probably need.
var liveLeast = map[string]int{"LAST CALL": 14, "TOLD TO STOP": 16, "LATE": 17, "WHAT": 10}

// live prints a table of one row as soon as the row is known: under the headings of the first, and columns only get
// wider.
func (x *explain) live(f *follower, t table) error {
	widths := t.widths(x.view.screen)
	for i, c := range t.columns {
		widths[i] = max(widths[i], liveLeast[c.name])
	}
	if f.widths == nil {
		f.widths = widths
		if !x.noHeaders {
			fmt.Fprintln(x.out)
		}
		t.line(x.out, x.view.screen, widths, nil)
	}
	for i := range widths {
		f.widths[i] = max(f.widths[i], widths[i])
	}
	t.line(x.out, x.view.screen, f.widths, t.rows[0])
	return nil
}

// tellEnd draws an episode when no other pod can join it.
func (x *explain) tellEnd(ctx context.Context, hub *client, e report.Episode) error {
	if x.output.machine() {
		return nil // its departures were printed
	}
	got, err := get[report.Explanation](ctx, hub, "/v1/episodes/"+strconv.FormatInt(e.ID, 10), nil)
	if err != nil {
		x.note("%s", err)
		return nil
	}
	fmt.Fprintf(x.out, "\n%s\n\n", rule(x.view))
	x.view.explanation(x.out, got, "", hub.pages)
	return nil
}

// ends are the news of a list: the episodes that ended.
func (x *explain) ends(f *follower, t target, ns string) poll {
	return func(ctx context.Context, hub *client) ([]news, error) {
		es, err := x.episodes(ctx, hub, t, ns)
		slices.Reverse(es)
		var all []news
		for _, e := range es {
			all = append(all, news{strconv.FormatInt(e.ID, 10), !e.Open && e.Pending == 0, func() error {
				if x.output.machine() {
					return x.output.print(x.out, e)
				}
				return x.live(f, x.view.episodeTable([]report.Episode{e}, x.noHeaders))
			}})
		}
		return all, err
	}
}

// lasts are the news of a node: the departures in which it was last.
func (x *explain) lasts(f *follower, t target) poll {
	return func(ctx context.Context, hub *client) ([]news, error) {
		h, err := get[report.NodeHistory](ctx, hub, "/v1/nodes/"+url.PathEscape(t.name), nil)
		slices.Reverse(h.Departures)
		var all []news
		for _, d := range h.Departures {
			all = append(all, news{d.UID, d.Complete, func() error {
				if x.output.machine() {
					return x.output.print(x.out, d)
				}
				t := table{columns: historyColumns, noHeaders: x.noHeaders}
				t.add(x.view.historyRow(d)...)
				return x.live(f, t)
			}})
		}
		return all, err
	}
}
