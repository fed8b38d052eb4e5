//go:build linux

package proof

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lastcall-k8s/lastcall/hub/sizing"
)

// Delays says what to make of delays that are known.
type Delays struct {
	Node     string // whose kube-proxy is late
	Delays   []time.Duration
	Quantile float64 // decides how many episodes it takes
	Restarts int     // afterwards
	// Beside are shops of which pods leave too, in the first three rounds: of two, one in which a connection happened to be open at the end
	// would leave no verdict.
	Beside []*Shop
	Log    func(format string, args ...any)
}

// Delayed is what came of one delay.
type Delayed struct {
	Seconds  float64 `json:"delay_seconds"`
	Advice   Advice  `json:"recommended"`
	Patch    string  `json:"patch"`
	Learning []Tally `json:"learning"` // without preStop, restart by restart
	Patched  []Tally `json:"patched"`  // with the one recommended
	Short    []Tally `json:"short"`    // with one of ShortBy less than the delay
	// Lags are how long after kube-proxy went on all nodes had let go, at most, in seconds: while learning, and after.
	Lags [2][]float64 `json:"lag_seconds"`
}

// Advice is what of a recommendation is held against the delay.
type Advice struct {
	Seconds *int64          `json:"seconds"`
	AtLeast bool            `json:"at_least,omitempty"`
	Basis   sizing.Basis    `json:"basis"`
	N       int             `json:"n"`
	Bound   float64         `json:"bound_seconds"`
	Largest float64         `json:"largest_seconds"`
	Driver  string          `json:"driver,omitempty"` // the place without which a much smaller number would do
	Without int64           `json:"without_seconds,omitempty"`
	Regime  sizing.Regime   `json:"regime"`
	Missing []sizing.Absent `json:"missing,omitempty"`
}

func adviceOf(a sizing.Advice) Advice {
	s := Advice{Seconds: a.Seconds, AtLeast: a.AtLeast, Basis: a.Basis, N: a.Class.N, Bound: a.Class.Seconds, Regime: a.Regime, Missing: a.Missing}
	if a.Largest != nil {
		s.Largest = a.Largest.Seconds
	}
	if a.Driver != nil {
		s.Driver, s.Without = a.Driver.Node, a.Driver.Seconds
	}
	return s
}

// ShortBy is how much shorter than the delay the preStop of the shop is that must fail.
const ShortBy = 2 * time.Second

// Problems are what is not as it has to be: the recommendation is the delay to 2 s more, with it nothing fails, and with ShortBy less
// than the delay something does in nine of ten. Where kube-proxy had no processor and took longer to go on, the delay was longer: as seen
// from outside.
func (d Delayed) Problems() (ps []string) {
	problem := func(format string, args ...any) {
		ps = append(ps, fmt.Sprintf("delay %g s: ", d.Seconds)+fmt.Sprintf(format, args...))
	}
	most := max(d.Seconds+2, math.Ceil(d.Seconds+slices.Max(d.Lags[0])))
	switch s := d.Advice.Seconds; {
	case s == nil:
		problem("nothing is recommended")
	case float64(*s) < d.Seconds || float64(*s) > most || d.Advice.AtLeast:
		problem("%d s recommended (at least: %t), want %g to %g", *s, d.Advice.AtLeast, d.Seconds, most)
	}
	for i, t := range d.Patched {
		if t.Made == 0 || t.Failed > 0 && !d.Exceeded(i) {
			problem("restart %d with what is recommended: %d of %d requests failed (%v)", i+1, t.Failed, t.Made, t.How)
		}
	}
	if k := Failing(d.Short); k < int(math.Ceil(.9*float64(len(d.Short)))) {
		problem("with a preStop that is %v too short requests failed in %d of %d only", ShortBy, k, len(d.Short))
	}
	if k := Failing(d.Learning); k == 0 {
		problem("without preStop no request failed")
	}
	return ps
}

// Exceeded: the delay of a restart was longer than what was recommended, as one in n + 1 may be.
func (d Delayed) Exceeded(i int) bool {
	return d.Advice.Seconds != nil && d.Seconds+d.Lags[1][i] > float64(*d.Advice.Seconds)
}

// Failing is in how many of them a request failed.
func Failing(ts []Tally) (k int) {
	for _, t := range ts {
		if t.Failed > 0 {
			k++
		}
	}
	return k
}

// Delays makes shops of each delay learn how long they must sleep, applies what is recommended, and goes on.
func (b *Bed) Delays(ctx context.Context, o Delays) (ds []Delayed, err error) {
	var late, all []Leaving
	var clients [][]*Clients // by shop, as in all
	defer func() {
		for _, cs := range clients {
			for _, c := range cs {
				c.Stop() //nolint:errcheck // asked for below
			}
		}
	}()
	for _, d := range o.Delays {
		s, err := b.Shop(ctx, ShopSpec{Namespace: fmt.Sprintf("late-%v", d)})
		if err != nil {
			return nil, err
		}
		late = append(late, Leaving{s, d})
	}
	all = append(all, late...)
	for _, d := range o.Delays {
		s, err := b.Shop(ctx, ShopSpec{Namespace: fmt.Sprintf("short-%v", d), PreStop: int64((d - ShortBy).Seconds())})
		if err != nil {
			return nil, err
		}
		all = append(all, Leaving{s, d})
	}
	if err := b.Ready(ctx, shopsOf(all)...); err != nil {
		return nil, err
	}
	for _, l := range all {
		var cs []*Clients
		for _, n := range b.Nodes {
			cs = append(cs, b.Clients(n.Name, 3, 100*time.Millisecond, l.ClusterIP()))
		}
		clients = append(clients, cs)
	}

	var begun [2][]time.Time
	var lags [2][]float64
	flag := "--quantile=" + strconv.FormatFloat(o.Quantile, 'g', -1, 64)
	ds = make([]Delayed, len(late))
	needed := sizing.Needed(o.Quantile)
	for i := 0; !advised(ds); i++ {
		if i == 2*needed {
			return ds, fmt.Errorf("after %d episodes not all have a recommendation: %+v", i, ds)
		}
		// All of them, as after it: what leaves at the same time may have kube-proxy sync again, a minSyncPeriod later.
		leaving := all
		if i < 3 {
			for _, s := range o.Beside {
				leaving = append(leaving[:len(leaving):len(leaving)], Leaving{s, LeastDelay})
			}
		}
		r, err := b.Round(ctx, o.Node, leaving)
		if err != nil {
			return ds, err
		}
		begun[0], lags[0] = append(begun[0], r.Begun), append(lags[0], r.Lag.Seconds())
		o.Log("episode %d, %d are needed, gone within %.2f s", i+1, needed, r.Lag.Seconds())
		if i+1 < needed { // one that is not known to the end does not count
			continue
		}
		err = each(ctx, late, func(ctx context.Context, i int, l Leaving) error {
			a, err := l.firm(ctx, flag)
			ds[i].Seconds, ds[i].Advice = l.Delay.Seconds(), adviceOf(a)
			o.Log("delay %v: %s (n = %d)", l.Delay, ds[i].Advice.Number(), ds[i].Advice.N)
			return err
		})
		if err != nil {
			return ds, err
		}
	}
	learnt := time.Now()
	err = each(ctx, late, func(ctx context.Context, i int, l Leaving) (err error) {
		ds[i].Patch, err = l.Apply(ctx, flag)
		return err
	})
	if err != nil {
		return ds, err
	}
	for i := range o.Restarts {
		r, err := b.Round(ctx, o.Node, all)
		if err != nil {
			return ds, err
		}
		begun[1], lags[1] = append(begun[1], r.Begun), append(lags[1], r.Lag.Seconds())
		o.Log("restart %d of %d, gone within %.2f s", i+1, o.Restarts, r.Lag.Seconds())
	}
	ended := time.Now()
	for _, cs := range clients {
		for _, c := range cs {
			if err := c.Stop(); err != nil {
				return ds, err
			}
		}
	}
	for i := range ds {
		ds[i].Lags = lags
		ds[i].Learning = tallies(begun[0], learnt, clients[i]...)
		ds[i].Patched = tallies(begun[1], ended, clients[i]...)
		ds[i].Short = tallies(begun[1], ended, clients[len(late)+i]...)
	}
	return ds, nil
}

func advised(ds []Delayed) bool {
	return !slices.ContainsFunc(ds, func(d Delayed) bool { return d.Advice.Seconds == nil })
}

// each calls f for all of them at once.
func each(ctx context.Context, ls []Leaving, f func(context.Context, int, Leaving) error) error {
	g, ctx := errgroup.WithContext(ctx)
	for i, l := range ls {
		g.Go(func() error { return f(ctx, i, l) })
	}
	return g.Wait()
}

// tallies are those of spans that follow each other.
func tallies(begun []time.Time, end time.Time, clients ...*Clients) (ts []Tally) {
	for i, from := range begun {
		to := end
		if i+1 < len(begun) {
			to = begun[i+1]
		}
		ts = append(ts, Between(from, to, clients...))
	}
	return ts
}

func shopsOf(ls []Leaving) (ss []*Shop) {
	for _, l := range ls {
		ss = append(ss, l.Shop)
	}
	return ss
}
