package hub

import (
	"math/rand/v2"
	"testing"
	"time"
)

// TestEstimate: whatever an agent's clock does, our idea of its moments is off by no more than we say.
func TestEstimate(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	for _, tt := range []struct {
		name string
		off  time.Duration // of the agent's timeline
		ppm  float64       // of its oscillator against ours
		rtt  time.Duration
		want time.Duration // error that must be reached
	}{
		{"right", 0, 0, 500 * time.Microsecond, 8 * time.Millisecond},
		{"ten seconds ahead, and fast", 10 * time.Second, 190, 500 * time.Microsecond, 8 * time.Millisecond},
		{"ten seconds behind, and slow", -10 * time.Second, -190, 5 * time.Millisecond, 12 * time.Millisecond},
		{"far away", time.Hour, 50, 80 * time.Millisecond, 60 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, 2))
			agent := func(elapsed time.Duration) time.Time {
				return start.Add(tt.off + elapsed + time.Duration(float64(elapsed)*tt.ppm/1e6))
			}
			var e *estimate
			for minute := range 120 {
				elapsed := time.Duration(minute) * time.Minute
				there := time.Duration(r.Float64() * float64(tt.rtt))
				e = e.add(Clock{"b", "e", agent(elapsed + there)}, start.Add(elapsed), start.Add(elapsed+tt.rtt))
				for range 20 {
					at := elapsed + time.Duration(r.Int64N(int64(time.Minute)))
					got, bound, ok := e.ours(agent(at))
					if !ok {
						t.Fatal("no estimate")
					}
					if off := got.Sub(start.Add(at)).Abs(); off > bound {
						t.Fatalf("at %v off by %v, said at most %v", at, off, bound)
					}
					if minute > 3 && at-elapsed < time.Second && bound > tt.want {
						t.Errorf("at %v the bound is %v, want at most %v", at, bound, tt.want)
					}
				}
			}
			if e.before != nil {
				t.Error("an interruption was seen where there was none")
			}
		})
	}
}

// TestEstimateInterrupted: a machine that stood still is noticed, told or not, and moments of before become wider.
func TestEstimateInterrupted(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	for _, epoch := range []string{"e", "another"} {
		var e *estimate
		for m := range 10 {
			at := start.Add(time.Duration(m) * time.Minute)
			e = e.add(Clock{"b", "e", at}, at, at.Add(time.Millisecond))
		}
		last := start.Add(9 * time.Minute)
		// It stood still for 30 s: its clock shows 10 minutes when ours shows 10 and a half.
		now := start.Add(10*time.Minute + 30*time.Second)
		e = e.add(Clock{"b", epoch, start.Add(10 * time.Minute)}, now, now.Add(time.Millisecond))
		if e.before == nil {
			t.Fatalf("epoch %q: not noticed", epoch)
		}
		got, bound, _ := e.ours(start.Add(10 * time.Minute))
		if off := got.Sub(now).Abs(); off > bound || bound > 5*time.Millisecond {
			t.Errorf("after it: off by %v, bound %v", off, bound)
		}
		got, bound, _ = e.ours(last)
		if off := got.Sub(last).Abs(); off > bound || bound < 10*time.Second {
			t.Errorf("before it: off by %v, bound %v; it is not known on which side it was", off, bound)
		}
	}
	if e := (&estimate{boot: "b", samples: []sample{{}}}).add(Clock{Boot: "c"}, start, start); e.before != nil || e.boot != "c" {
		t.Error("another boot of the agent is another timeline")
	}
}
