//go:build linux

package restarts

import (
	"errors"
	"testing"
	"time"

	"github.com/lastcall-k8s/lastcall/ledger"
	"github.com/lastcall-k8s/lastcall/probes/consumer"
)

var begun = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

func ms(n int) time.Time { return begun.Add(time.Duration(n) * time.Millisecond) }

// asked makes a request of each pod's letter, 10 ms apart; "-" failed.
func asked(pods string) (all []request) {
	for i, p := range pods {
		r := request{start: ms(10 * i), end: ms(10*i + 2)}
		if p != '-' {
			r.served = []string{string(p)}
		}
		all = append(all, r)
	}
	return all
}

func TestObserve(t *testing.T) {
	for _, tt := range []struct {
		requests string
		want     truth
		unclear  unclear
	}{
		{requests: "abcabcbcbcbc", want: truth{ms(30), ms(62)}},
		{requests: "abcabbca", unclear: tooFew},
		{requests: "bcbcbcbcbc", unclear: neverReached},
		{requests: "abcabb-bcbc", unclear: someFailed},
		{requests: "a-cabcbcbc", want: truth{ms(30), ms(62)}},
		{requests: "", unclear: neverReached},
	} {
		got, unclear := observe(asked(tt.requests), "a", 3)
		if got != tt.want || unclear != tt.unclear {
			t.Errorf("%s: %v, %q; want %v, %q", tt.requests, got, unclear, tt.want, tt.unclear)
		}
	}
	both := []request{{ms(0), ms(1), []string{"a", "b"}}, {ms(5), ms(6), []string{"b"}}, {ms(10), ms(11), []string{}}}
	if got, unclear := observe(both, "a", 1); got != (truth{ms(0), ms(6)}) || unclear != "" {
		t.Errorf("DNS: %v, %q", got, unclear)
	}
}

func TestInside(t *testing.T) {
	for _, tt := range []struct {
		lo, hi, last, gone int
		want               bool
	}{
		{lo: 10, hi: 60, last: 30, gone: 40, want: true},
		{lo: 10, hi: 60, last: 60, gone: 70, want: true},
		{lo: 10, hi: 60, last: 61, gone: 70},            // a request started after the landing reached the pod
		{lo: 10, hi: 60, last: 1, gone: 11, want: true}, // it was let go of between 1 and 11
		{lo: 10, hi: 60, last: 1, gone: 10},             // it had been let go of when the probe last saw it, it says
		{lo: 10, hi: 1060, last: 5, gone: 20, want: true},
	} {
		s := Sample{Landed: ledger.Interval{Lo: ms(tt.lo), Hi: ms(tt.hi)}, truth: truth{ms(tt.last), ms(tt.gone)}}
		if s.Inside() != tt.want {
			t.Errorf("landed (%d, %d], truth [%d, %d): inside %t", tt.lo, tt.hi, tt.last, tt.gone, !tt.want)
		}
		if want := s.Error() >= 0 && s.Error() < s.Slop()+s.Resolution(); want != tt.want {
			t.Errorf("landed (%d, %d], truth [%d, %d): error %v", tt.lo, tt.hi, tt.last, tt.gone, s.Error())
		}
	}
}

// TestLooks: when a place was looked at is never said too late.
func TestLooks(t *testing.T) {
	var l looks
	status := func(look, pending uint64, read int) consumer.Status {
		return consumer.Status{Asked: map[consumer.Why]uint64{consumer.Look: look, consumer.Pending: pending}, Read: ms(read)}
	}
	for i, step := range []struct {
		s    consumer.Status
		err  error
		want time.Time
	}{
		{s: status(0, 0, 0)},
		{s: status(1, 0, 5000), want: ms(4000)},
		{s: status(1, 3, 9000), want: ms(4000)},
		{err: errors.New("away"), want: ms(4000)},
		{s: status(2, 3, 9000), want: ms(40)},
	} {
		if l.take(step.s, ms(10*i), step.err); l.at != step.want {
			t.Errorf("step %d: looked at %v, want %v", i, l.at, step.want)
		}
	}
	l = looks{}
	if l.take(status(1, 3, 5000), ms(0), nil); !l.at.IsZero() {
		t.Errorf("looked at %v, but the last reading may have been another", l.at)
	}
}
