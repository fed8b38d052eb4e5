package report

import "testing"

func TestConnectionsWords(t *testing.T) {
	s := func(x float64) *float64 { return &x }
	for want, c := range map[string]Connections{
		"0 new connections after it began to leave; none proved lost.": {Own: true},
		"1 new connection after it began to leave, the last at 300 ms; 0 of them after it was told to stop; none proved lost.": {
			Own: true, New: 1, Last: s(.3), AfterTold: &Bounds{}},
		"30 new connections after it began to leave, the last at 2 s; 4 to 6 of them after it was told to stop; 5 proved lost (3 refused, 2 never answered), the last at 2 s. 2 connections ended by a reset.": {
			Own: true, New: 30, Last: s(2), AfterTold: &Bounds{4, 6}, Reset: 3, Silent: 2, LastRefused: s(2), Drain: &Draining{Cut: 2}},
		"2 new connections after it began to leave; 2 proved lost (0 refused, 2 never answered). At least, since some were missed (overrun, rate); 3 nodes did not witness; its own node did not tell.": {
			New: 2, Silent: 2, Incomplete: []string{"overrun", "rate"}, Unwitnessed: 3},
		"1 new connection after it began to leave; none proved lost. 1 connection reached it after every node had let go: that should not be.": {
			Own: true, New: 1, AfterLanding: 1},
	} {
		if got := c.Words(); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}
