//go:build linux

package proof

import (
	"context"
	"fmt"
	"time"

	"github.com/lastcall-k8s/lastcall/hub/sizing"
)

// Loop is one workload's way from no preStop to the one recommended, restart by restart, under load.
type Loop struct {
	Via     []string `json:"via"`    // how clients reach it
	Before  []Tally  `json:"before"` // restarts without preStop
	Advice  Advice   `json:"recommended"`
	Patch   string   `json:"patch"`
	Patched []Tally  `json:"patched"` // restarts with the one recommended
}

// Number is the recommendation in words.
func (a Advice) Number() string {
	switch {
	case a.Seconds == nil:
		return "nothing"
	case a.AtLeast:
		return fmt.Sprintf(">= %d s", *a.Seconds)
	}
	return fmt.Sprintf("%d s", *a.Seconds)
}

// Problems are what is not as it has to be.
func (l Loop) Problems() (ps []string) {
	if Failing(l.Before) == 0 {
		ps = append(ps, "no request failed without preStop")
	}
	if l.Advice.Basis != sizing.BasisOwn || l.Advice.Seconds == nil {
		ps = append(ps, fmt.Sprintf("recommended %+v", l.Advice))
	}
	for i, t := range l.Patched {
		if t.Failed > 0 || t.Made == 0 {
			ps = append(ps, fmt.Sprintf("restart %d with the preStop recommended: %d of %d requests failed (%v)", i+1, t.Failed, t.Made, t.How))
		}
	}
	return ps
}

// seen is for how long pods serve before a restart, beside the gap between episodes: a consumer's replica is read some seconds after an
// endpoint was added, and one that had not been seen to send to it by then cannot be said to have let go.
const seen = 5 * time.Second

// Loop restarts the shop, which is ready, until there is a recommendation of its own episodes, applies it, and restarts it as often as is asked for.
func (s *Shop) Loop(ctx context.Context, restarts int, log func(string, ...any), ways ...Target) (l Loop, err error) {
	var clients []*Clients
	for _, n := range s.bed.Nodes {
		for _, t := range ways {
			clients = append(clients, s.bed.Clients(n.Name, 3, 100*time.Millisecond, t))
		}
	}
	defer func() {
		for _, c := range clients {
			c.Stop() //nolint:errcheck // asked for below
		}
	}()
	for _, t := range ways {
		l.Via = append(l.Via, t.Name)
	}
	var begun [2][]time.Time
	// Rollouts in which pods were not terminating together are of another burst class.
	needed := sizing.Needed(0.95)
	for n := 1; l.Advice.Seconds == nil; n++ {
		if n > 2*needed {
			return l, fmt.Errorf("after %d restarts there is no recommendation: %+v", n-1, l.Advice)
		}
		if err := pause(ctx, seen); err != nil {
			return l, err
		}
		at, err := s.Restart(ctx)
		if err != nil {
			return l, err
		}
		begun[0] = append(begun[0], at)
		log("restart %d without preStop (%.1f s)", n, time.Since(at).Seconds())
		if n < needed {
			continue
		}
		a, err := s.Recommend(ctx)
		if err == nil && a.Seconds != nil {
			a, err = s.firm(ctx)
		}
		if err != nil {
			return l, err
		}
		l.Advice = adviceOf(a)
	}
	learnt := time.Now()
	log("recommended: %d s, on %d episodes", *l.Advice.Seconds, l.Advice.N)
	if l.Patch, err = s.Apply(ctx); err != nil {
		return l, err
	}
	for n := range restarts {
		if err := pause(ctx, seen); err != nil {
			return l, err
		}
		at, err := s.Restart(ctx)
		if err != nil {
			return l, err
		}
		begun[1] = append(begun[1], at)
		log("restart %d with the preStop recommended (%.1f s)", n+1, time.Since(at).Seconds())
	}
	ended := time.Now()
	for _, c := range clients {
		if err := c.Stop(); err != nil {
			return l, err
		}
	}
	l.Before = tallies(begun[0], learnt, clients...)
	l.Patched = tallies(begun[1], ended, clients...)
	return l, nil
}
