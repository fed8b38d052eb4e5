package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/lastcall-k8s/lastcall/hub/report"
)

// asker asks the hub, and looks for it again if it goes away: its pod, its address and the token may all be others then.
type asker struct {
	*cli
	hub  *client
	say  func(format string, args ...any)
	lost error
	wait time.Duration
	next time.Time // before that it is not asked again
}

const (
	hubAgain   = time.Second
	hubSeldom  = 10 * time.Second
	mostRows   = 1000
	rowsBefore = 10 * time.Second
)

// ready says why trials would be for nothing, and what they will not say.
func (a *asker) ready(ctx context.Context) error {
	s, err := get[report.Status](ctx, a.hub, "/v1/status", nil)
	if err != nil {
		return err
	}
	fit := 0
	for _, g := range s.Agents {
		if g.State == report.AgentFollowing && g.Measured {
			fit++
		}
	}
	switch {
	case len(s.Agents) == 0:
		return errors.New("the hub knows of no node yet\nTry again in some seconds, or see: kubectl lastcall check")
	case fit == 0:
		return fmt.Errorf("none of %s is measured: nothing would be learnt\nSee: kubectl lastcall check", report.Plural(len(s.Agents), "node"))
	case fit < len(s.Agents):
		a.note("%d of %s are measured; the others will be named as missing. See: kubectl lastcall check", fit, report.Plural(len(s.Agents), "node"))
	}
	return nil
}

// whole makes rows of a list whole: those lack their places. What the hub does not give stays as it is.
func (a *asker) whole(ctx context.Context, rows map[string]report.Departure) {
	for uid := range rows {
		d, err := get[report.Departure](ctx, a.hub, "/v1/departures/"+url.PathEscape(uid), nil)
		if err != nil {
			return
		}
		rows[uid] = d
	}
}

// departures are those of a namespace that began since so long ago; ok is false if the hub does not answer.
func (a *asker) departures(ctx context.Context, ns string, since time.Duration) (ds []report.Departure, ok bool) {
	now := time.Now()
	if now.Before(a.next) {
		return nil, false
	}
	var err error
	if a.lost != nil || !a.hub.renew.IsZero() && now.After(a.hub.renew) {
		var again *client
		if again, err = a.connect(ctx); err == nil {
			a.hub.close()
			a.hub = again
		}
	}
	if err == nil {
		// A duration, since the hub's clock may show anything.
		ds, err = get[[]report.Departure](ctx, a.hub, "/v1/departures", url.Values{"namespace": {ns}, "limit": {strconv.Itoa(mostRows)},
			"since": {(since + rowsBefore).Round(time.Millisecond).String()}})
	}
	switch {
	case ctx.Err() != nil:
		return nil, false
	case err != nil:
		if a.lost == nil {
			a.say("%s\nTrying again.", err)
		}
		a.lost, a.next, a.wait = err, now.Add(a.wait), min(2*a.wait, hubSeldom)
		return nil, false
	case a.lost != nil:
		a.say("The hub (%s) answers again.", a.hub.name)
		a.lost, a.wait = nil, hubAgain
	}
	return ds, true
}
