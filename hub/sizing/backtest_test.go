package sizing

import (
	"fmt"
	"testing"
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
			e.Regime.MinSync = "10s"
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
