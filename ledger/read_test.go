package ledger

import "testing"

// TestLandedSince: what T0 says of a landing that was learnt late.
func TestLandedSince(t *testing.T) {
	span := func(lo, hi int) Interval { return Interval{Lo: ms(lo), Hi: ms(hi)} }
	for _, tt := range []struct {
		name string
		e    Event
		t0   int
		want Interval
	}{
		{"one commit after T0", Event{Interval: span(20, 21)}, 10, span(20, 21)},
		{"T0 within it", Event{Interval: span(5, 21)}, 10, span(10, 21)},
		{"the first candidate is too early", Event{Interval: span(1, 31), Candidates: []Interval{span(1, 2), span(20, 21), span(30, 31)}}, 10, span(20, 31)},
		{"no lower bound but a candidate", Event{Interval: Interval{Hi: ms(21)}, Candidates: []Interval{span(20, 21)}}, 10, span(20, 21)},
		{"no lower bound at all", Event{Interval: Interval{Hi: ms(21)}}, 10, span(10, 21)},
	} {
		if got := tt.e.LandedSince(ms(tt.t0)); got != tt.want {
			t.Errorf("%s: (%v, %v], want (%v, %v]", tt.name, got.Lo, got.Hi, tt.want.Lo, tt.want.Hi)
		}
	}
}
