package sizing

import (
	"slices"
	"strings"
	"testing"

	"github.com/lastcall-k8s/lastcall/hub/report"
)

// TestAccount: the newest samples in time, those of another regime named and in no place's count, and what would do without a place
// is what the driver says.
func TestAccount(t *testing.T) {
	values := ascending(130, 3)
	values[60], values[90], values[129] = 18, 17, 16
	in := shop(values...)
	for i := range 20 {
		in.Episodes[i].Regime.Dataplane = "iptables-nft"
	}
	for _, i := range []int{60, 90, 129} { // these the others do not share
		d := &in.Episodes[i].Departures[0]
		d.Slowest = []report.Landing{landing("slow", 15.9, d.LastCall.Hi), landing("node-1", 1, 2)}
	}
	slices.Reverse(in.Episodes)
	r := Recommend(in, Pool{}, Options{})
	a := AccountOf(in, Pool{}, Options{}, r, 100)
	if a.Of != 130 || len(a.Points) != 100 || a.Points[0].Episode != 31 || a.Points[99].Episode != 130 || a.Points[99].Seconds != 16 || a.Points[99].Place.Node != "slow" {
		t.Errorf("%d of %d points, from %+v to %+v", len(a.Points), a.Of, a.Points[0], a.Points[99])
	}
	if len(a.Places) != 2 || a.Places[0].Node != "node-3" || a.Places[0].Episodes != 107 || a.Places[1].Node != "slow" || a.Places[1].Episodes != 3 || a.Places[1].Worst != 18 {
		t.Fatalf("places %+v", a.Places)
	}
	if d := r.Driver; d == nil || d.Node != "slow" || *a.Places[1].Without != d.Seconds || *a.Places[0].Without != *r.Seconds {
		t.Errorf("places %+v, driver %+v of %d", a.Places, d, *r.Seconds)
	}
	few := shop(1, 2, 3)
	few.Episodes[0].Regime.Version = "v1.35.4"
	f := AccountOf(few, Pool{}, Options{}, Recommend(few, Pool{}, Options{}), 100)
	if len(f.Points) != 3 || f.Points[0].Other != "version" || f.Points[1].Other != "" || f.Places[0].Episodes != 2 || f.Places[0].Without != nil {
		t.Errorf("%+v", f)
	}
}

// TestStoppingLines: of how many pods each thing is known, and why some were killed, as far as anybody knows.
func TestStoppingLines(t *testing.T) {
	killed := func(d *report.Departure) {
		d.Containers[0].ExitCode, d.Containers[0].Finished = ptr(int32(137)), ptr(30.4)
	}
	in := Input{Episodes: []Episode{episode(0, row(1), row(1), row(1, killed)), episode(1, row(1, killed))}}
	in.Episodes[1].Witnessed = map[string]Witness{"1-0": {Open: ptr(0), Cut: ptr(0)}}
	r := Recommend(in, Pool{}, Options{})
	var said []string
	for _, l := range r.Stopping.Lines(r.Drain) {
		said = append(said, l.Label+": "+l.Text)
	}
	want := []string{
		"Exit codes: 0 in 2, 137 in 2 of 4 pods",
		"Killed at the end of grace: 2 of 4 pods; 1: nothing was connected: SIGTERM was ignored; 1: why is not known",
		"Drain: longest 2 s of 2; 2 killed before theirs was over",
		"Connections reset when told to stop: in 0 of 1 pod",
	}
	if !slices.Equal(said, want) {
		t.Errorf("\n%s\nwant\n%s", strings.Join(said, "\n"), strings.Join(want, "\n"))
	}
	if ls := (Stopping{}).Lines(Drain{}); len(ls) != 0 {
		t.Errorf("of nothing: %+v", ls)
	}
}
