package sizing

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/lastcall-k8s/lastcall/hub/report"
)

// TestWalk: each episode is held against what the ones before it had recommended.
func TestWalk(t *testing.T) {
	result := func(b Backtest) string {
		return fmt.Sprintf("%d of %d exceeded, %d without, %d outside, %d unknown", b.Exceeded, b.Tested, b.Without, b.Outside, b.Unknown)
	}
	unknown := shop(times(25, 4)...)
	unknown.Episodes[24].Departures[0].Complete = false
	longer := shop(append(times(24, 4), 3)...)
	last := &longer.Episodes[24].Departures[0]
	last.Complete, last.Pending, last.Age = false, 1, 20
	changed := shop(times(40, 4)...)
	changed.Episodes = with(changed.Episodes, func(i int, e *Episode) {
		if i >= 30 {
			e.Regime.MinSync = ptr(10.0)
		}
	})
	burst := shop(times(25, 4)...)
	burst.Episodes[24].Episode.Most = 20
	overlap := shop(times(25, 4)...)
	for i := range overlap.Episodes { // all at once: nothing had ended before anything else
		overlap.Episodes[i].Episode.Begun = epoch
	}
	for name, c := range map[string]struct {
		in   Input
		want string
	}{
		"nothing":                        {shop(), "0 of 0 exceeded, 0 without, 0 outside, 0 unknown"},
		"the same":                       {shop(times(30, 4)...), "0 of 11 exceeded, 19 without, 0 outside, 0 unknown"},
		"growing":                        {shop(ascending(30, 30)...), "11 of 11 exceeded, 19 without, 0 outside, 0 unknown"},
		"one longer":                     {shop(append(times(25, 4), 9, 4, 4)...), "1 of 9 exceeded, 19 without, 0 outside, 0 unknown"},
		"not known":                      {unknown, "0 of 5 exceeded, 19 without, 0 outside, 1 unknown"},
		"pending for longer":             {longer, "1 of 6 exceeded, 19 without, 0 outside, 0 unknown"},
		"another regime":                 {changed, "0 of 11 exceeded, 29 without, 0 outside, 0 unknown"},
		"a larger burst than any before": {burst, "0 of 5 exceeded, 19 without, 1 outside, 0 unknown"},
		"all at once":                    {overlap, "0 of 0 exceeded, 25 without, 0 outside, 0 unknown"},
	} {
		if got := result(Walk(c.in, Pool{}, Options{})); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
	b := Walk(shop(append(times(25, 4), 9, 4, 12)...), Pool{}, Options{})
	if len(b.Worst) != 2 || b.Worst[0].Episode != 28 || b.Worst[0].Recommended != 9 || b.Worst[1].Seconds != 9 || b.Worst[1].Recommended != 4 {
		t.Errorf("%+v", b.Worst)
	}
	// With a pool, only what of it had ended by then.
	pool := PoolOf(shop(times(30, 4)...).Episodes, Options{})
	if got := result(Walk(shop(times(30, 4)...), pool, Options{})); got != "0 of 11 exceeded, 19 without, 0 outside, 0 unknown" {
		t.Errorf("with a pool of the same: %s", got)
	}
}

// TestWholeWay takes rows of pods that share a straggler all the way to the recommendation, with a kube-proxy that was set
// to sync ten times as seldom within the window: numbers are from one regime, and hold as often as promised. Whoever
// takes no notice of the change does not hold.
func TestWholeWay(t *testing.T) {
	const runs = 400
	r := rand.New(rand.NewPCG(5, 6))
	draw := func(i int, scale float64) Episode {
		shared := r.NormFloat64()
		var rows []report.Departure
		for range 3 {
			z := math.Sqrt(0.5) * (shared + r.NormFloat64())
			rows = append(rows, row(scale*math.Exp(0.5+z)))
		}
		e := episode(i, rows...)
		e.Regime.MinSync = &scale
		return e
	}
	var none, held, asked, naive int
	for range runs {
		var in, blind Input
		before := 20 + r.IntN(40)
		for i := range before + r.IntN(40) {
			scale := 1.0
			if i >= before {
				scale = 10
			}
			e := draw(i, scale)
			in.Episodes = append(in.Episodes, e)
			e.Regime.MinSync = nil
			blind.Episodes = append(blind.Episodes, e)
		}
		in.Now = ptr(in.Episodes[0].Regime)
		in.Now.MinSync = ptr(10.0)
		next := draw(1000, 10)
		worst := measure(next, Options{}.filled()).Seconds
		if n := len(in.Episodes) - before; n < 19 {
			none++
			if rec := Recommend(in, Pool{}, Options{}); rec.Seconds != nil {
				t.Fatalf("a number from %d episodes: %s", n, said(rec))
			}
			if rec := Recommend(blind, Pool{}, Options{}); worst > float64(*rec.Seconds) {
				naive++
			}
			continue
		}
		asked++
		if rec := Recommend(in, Pool{}, Options{}); worst <= float64(*rec.Seconds) {
			held++
		}
	}
	share := float64(held) / float64(asked)
	se := math.Sqrt(0.05 * 0.95 / float64(asked))
	t.Logf("held in %d of %d (%.1f +- %.1f %%); without the regime exceeded in %d of %d", held, asked, 100*share, 100*se, naive, none)
	if share < 0.94 {
		t.Errorf("held in %.1f +- %.1f %%", 100*share, 100*se)
	}
	if 10*naive < none {
		t.Errorf("without the regime exceeded in only %d of %d, so this test could not fail", naive, none)
	}
}
