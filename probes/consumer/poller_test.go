package consumer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lastcall-k8s/lastcall/ledger"
)

// fake is a replica in a bubble of synctest: who is active, how long an answer takes, and what goes wrong.
type fake struct {
	mu     sync.Mutex
	active map[netip.AddrPort]bool
	takes  time.Duration
	err    error
	answer Answer
	lag    time.Duration

	began   []time.Duration // starts of readings, since the first moment
	t0      time.Time
	lands   []ledger.Landing
	toldAt  []time.Time
	blinded int
}

func (f *fake) set(change func(*fake)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

func (f *fake) read(ctx context.Context, _ []Want, active Active) (Answer, error) {
	f.mu.Lock()
	f.began = append(f.began, time.Since(f.t0))
	takes := f.takes
	f.mu.Unlock()
	select {
	case <-time.After(takes):
	case <-ctx.Done():
		return Answer{}, ctx.Err()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for at, is := range f.active {
		if is {
			active(ledger.ServicePort{}, at)
		}
	}
	return f.answer, f.err
}

var endpoint = netip.MustParseAddrPort("10.0.0.1:8080")

func removal(at time.Time) ledger.Removal {
	return ledger.Removal{Seen: at, Key: ledger.Key{UID: "uid-a", Path: ledger.Path{Policy: ledger.Cluster, Endpoint: endpoint,
		Service: ledger.ServicePort{Namespace: "shop", Name: "web", Port: "http", Protocol: "tcp"}}}}
}

// inBubble runs a poller over a fake in a bubble, and ends it.
func inBubble(t *testing.T, f *fake, do func(p *Poller)) {
	synctest.Test(t, func(t *testing.T) {
		f.t0, f.active = time.Now(), map[netip.AddrPort]bool{endpoint: true}
		kind := Kind{Name: "fake", Fidelity: ShowsDataplane, Lag: f.lag, LagGone: 100 * time.Millisecond,
			Open: func(Source) (*Reader, error) { return &Reader{Read: f.read, Close: func() {}}, nil }}
		p, err := NewPoller(PollerConfig{Kind: kind, Replica: Replica{Name: "ns/pod"}, Blind: func(time.Time) { f.set(func(f *fake) { f.blinded++ }) }, Land: func(ls []ledger.Landing) {
			f.set(func(f *fake) { f.lands, f.toldAt = append(f.lands, ls...), append(f.toldAt, time.Now()) })
		}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- p.Run(ctx) }()
		synctest.Wait()
		do(p)
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// asked, landings, told and blind are what there is so far.
func (f *fake) asked() []time.Duration {
	return locked(f, func() []time.Duration { return slices.Clone(f.began) })
}
func (f *fake) landings() []ledger.Landing {
	return locked(f, func() []ledger.Landing { return slices.Clone(f.lands) })
}
func (f *fake) told() []time.Time {
	return locked(f, func() []time.Time { return slices.Clone(f.toldAt) })
}
func (f *fake) blind() int { return locked(f, func() int { return f.blinded }) }

func locked[T any](f *fake, get func() T) T {
	f.mu.Lock()
	defer f.mu.Unlock()
	return get()
}

// interval is a landing's, in milliseconds since the first moment.
func (f *fake) interval(ld ledger.Landing) string {
	return fmt.Sprintf("(%d,%d]", ld.Lo.Sub(f.t0).Milliseconds(), ld.Hi.Sub(f.t0).Milliseconds())
}

func (f *fake) one(t *testing.T, want string) {
	t.Helper()
	if len(f.landings()) != 1 {
		t.Fatalf("%d landings, want one", len(f.landings()))
	}
	ld := f.landings()[0]
	got := f.interval(ld)
	switch {
	case ld.Absent:
		got = "absent"
	case ld.Unknown:
		got = "unknown"
	}
	if got != want {
		t.Errorf("landed %s, want %s", got, want)
	}
}

func TestNothingIsAskedWhileNothingLeaves(t *testing.T) {
	f := &fake{}
	inBubble(t, f, func(p *Poller) {
		time.Sleep(24 * time.Hour)
		if len(f.asked()) != 0 {
			t.Errorf("asked %d times in a day without a departure", len(f.asked()))
		}
		// Endpoints that are added, however many, cost two looks.
		for range 1000 {
			p.Look(nil)
		}
		time.Sleep(24 * time.Hour)
		if len(f.asked()) != 2 || p.Status().Asked[Look] != 2 {
			t.Errorf("asked at %v, want two looks", f.asked())
		}
		p.Watch([]ledger.Removal{removal(time.Now())})
		time.Sleep(time.Second)
		f.set(func(f *fake) { clear(f.active) })
		time.Sleep(time.Second)
		n := len(f.asked())
		time.Sleep(24 * time.Hour)
		if len(f.asked()) != n || n < 15 {
			t.Errorf("asked %d times until it landed and %d times in the day after", n, len(f.asked())-n)
		}
		if asked := p.Status().Asked[Pending]; int(asked) != n-2 {
			t.Errorf("the counter says %d of %d", asked, n-2)
		}
	})
}

func TestPace(t *testing.T) {
	for age, want := range map[time.Duration]time.Duration{
		-time.Hour: 50 * time.Millisecond, 0: 50 * time.Millisecond, 2 * time.Second: 50 * time.Millisecond,
		4 * time.Second: 100 * time.Millisecond, 40 * time.Second: time.Second, time.Hour: time.Second,
	} {
		if got := pace(age); got != want {
			t.Errorf("after %v: each %v, want %v", age, got, want)
		}
	}
	f := &fake{}
	inBubble(t, f, func(p *Poller) {
		p.Watch([]ledger.Removal{removal(time.Now())})
		time.Sleep(10 * time.Minute)
		for i := range f.asked()[1:] {
			if gap := f.asked()[i+1] - f.asked()[i]; gap < pace(f.asked()[i]) || gap > pace(f.asked()[i+1])+time.Millisecond {
				t.Fatalf("%v after the reading at %v", gap, f.asked()[i])
			}
		}
		if len(f.asked()) < 600 || len(f.asked()) > 1000 {
			t.Errorf("%d readings in ten minutes", len(f.asked()))
		}
		if len(f.landings()) != 0 {
			t.Errorf("it is still active, and landed %v", f.landings())
		}
	})
}

func TestInterval(t *testing.T) {
	for _, tt := range []struct {
		name string
		f    *fake
		want string
	}{
		// Asked at 0, 50, ..., 100, 150; gone at 120.
		{"between two readings", &fake{}, "(100,150]"},
		{"the lag bound widens it", &fake{lag: time.Second}, "(100,1150]"},
		{"it drains, says the answer", &fake{lag: time.Second, answer: Answer{Drains: map[netip.AddrPort]struct{}{endpoint: {}}}}, "(100,1150]"},
		{"it is gone, says the answer, and not draining", &fake{lag: time.Second, answer: Answer{Drains: map[netip.AddrPort]struct{}{}}}, "(100,250]"},
		// A reading takes 30 and is followed by a pause of 90: asked at 0, 120, 240; what it shows is from its end.
		{"a slow answer widens it, from start to end", &fake{takes: 30 * time.Millisecond}, "(0,150]"},
		{"an answer may be old and others older", &fake{answer: Answer{Age: 20 * time.Millisecond, Lag: 5 * time.Second}}, "(80,5150]"},
		{"asking is put off while nothing can change", &fake{answer: Answer{Hold: time.Second}}, "(0,1000]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, tt.f, func(p *Poller) {
				p.Watch([]ledger.Removal{removal(time.Now())})
				time.Sleep(120 * time.Millisecond)
				tt.f.set(func(f *fake) { clear(f.active) })
				time.Sleep(10 * time.Second)
				tt.f.one(t, tt.want)
				if ld := tt.f.landings()[0]; tt.f.told()[0].Before(ld.Hi) {
					t.Errorf("told at %v of a landing until %v", tt.f.told()[0], ld.Hi)
				}
			})
		})
	}
}

// TestErrorsWiden: a reading that fails is no landing, and no proof of presence either.
func TestErrorsWiden(t *testing.T) {
	f := &fake{}
	inBubble(t, f, func(p *Poller) {
		p.Watch([]ledger.Removal{removal(time.Now())})
		time.Sleep(120 * time.Millisecond)
		f.set(func(f *fake) { f.err = errors.New("status 500"); clear(f.active) })
		time.Sleep(10 * time.Second)
		s := p.Status()
		if len(f.landings()) != 0 || s.Trouble != "status 500" || s.Failed < 4 || s.Failed > 12 {
			t.Fatalf("%d landings, %+v", len(f.landings()), s)
		}
		f.set(func(f *fake) { f.err = nil })
		time.Sleep(10 * time.Second)
		if len(f.landings()) != 1 || f.landings()[0].Lo.Sub(f.t0) != 100*time.Millisecond || f.landings()[0].Hi.Sub(f.t0) < 10*time.Second {
			t.Errorf("%v", f.landings())
		}
		if s := p.Status(); s.Trouble != "" {
			t.Errorf("still %q", s.Trouble)
		}
	})
}

// TestSlowIsBounded: a replica that never answers is given up after 2 s, and left alone for longer than it took.
func TestSlowIsBounded(t *testing.T) {
	f := &fake{takes: time.Hour}
	inBubble(t, f, func(p *Poller) {
		p.Watch([]ledger.Removal{removal(time.Now())})
		time.Sleep(69 * time.Second)
		if n := len(f.asked()); n != 9 || len(f.landings()) != 0 {
			t.Errorf("asked %d times at %v, %d landings", n, f.asked(), len(f.landings()))
		}
		if s := p.Status(); s.Trouble != "no complete answer within 2s" {
			t.Errorf("%q", s.Trouble)
		}
	})
}

func TestSeenBefore(t *testing.T) {
	past := func(d time.Duration) func(*ledger.Removal) {
		return func(r *ledger.Removal) { r.ExpectedSince = r.Seen.Add(-d) }
	}
	for _, tt := range []struct {
		name   string
		active bool // at the look, four seconds after the first moment
		look   bool
		since  func(*ledger.Removal) // of the removal, at 10 s
		now    bool                  // active when the removal opens
		want   string
	}{
		{"seen by the look, gone at the first reading", true, true, past(time.Hour), false, "(4000,10000]"},
		{"looked for and not there", false, true, past(time.Hour), false, "absent"},
		{"not there when looked for, but now", false, true, past(time.Hour), true, "(11000,11050]"},
		{"nobody looked", true, false, past(time.Hour), false, "unknown"},
		{"looked before it was expected: that was another pod", true, true, past(3 * time.Second), false, "unknown"},
		{"looked for too soon after it was expected", false, true, past(8 * time.Second), false, "unknown"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := &fake{}
			inBubble(t, f, func(p *Poller) {
				f.set(func(f *fake) { f.active[endpoint] = tt.active })
				if tt.look {
					p.Look(nil)
				}
				time.Sleep(10 * time.Second)
				f.set(func(f *fake) { f.active[endpoint] = tt.now })
				r := removal(time.Now())
				tt.since(&r)
				p.Watch([]ledger.Removal{r})
				time.Sleep(1010 * time.Millisecond)
				f.set(func(f *fake) { clear(f.active) })
				time.Sleep(5 * time.Second)
				f.one(t, tt.want)
			})
		})
	}
}

// TestRestart: after a broken connection another process may answer, which never had the address. The landing
// waits until the API would have told.
func TestRestart(t *testing.T) {
	f := &fake{}
	inBubble(t, f, func(p *Poller) {
		r := removal(time.Now())
		p.Watch([]ledger.Removal{r})
		time.Sleep(120 * time.Millisecond)
		f.set(func(f *fake) { f.err = fmt.Errorf("%w: %w", errBroken, io.EOF); clear(f.active) })
		time.Sleep(200 * time.Millisecond)
		f.set(func(f *fake) { f.err = nil })
		time.Sleep(9 * time.Second)
		if len(f.landings()) != 0 {
			t.Fatalf("told %s before the API could say that it is another", f.interval(f.landings()[0]))
		}
		time.Sleep(5 * time.Second)
		if len(f.landings()) != 1 || f.landings()[0].Lo.Sub(f.t0) != 100*time.Millisecond || f.landings()[0].Hi.Sub(f.t0) > 2*time.Second {
			t.Errorf("%v", f.landings())
		}
	})
	f = &fake{}
	inBubble(t, f, func(p *Poller) {
		r := removal(time.Now())
		p.Watch([]ledger.Removal{r})
		time.Sleep(120 * time.Millisecond)
		f.set(func(f *fake) { f.err = errBroken; clear(f.active) })
		time.Sleep(200 * time.Millisecond)
		f.set(func(f *fake) { f.err, f.active[endpoint] = nil, true }) // it was the same after all
		time.Sleep(time.Second)
		f.set(func(f *fake) { clear(f.active) })
		time.Sleep(time.Second)
		if len(f.landings()) != 1 || f.landings()[0].Hi.Sub(f.landings()[0].Lo) != 50*time.Millisecond {
			t.Errorf("seen active since, but %v", f.landings())
		}
	})
}

// TestForgotten: what was forgotten while it was read is not told, and what was armed anew is another removal.
func TestForgotten(t *testing.T) {
	f := &fake{takes: 30 * time.Millisecond}
	inBubble(t, f, func(p *Poller) {
		r := removal(time.Now())
		p.Watch([]ledger.Removal{r})
		time.Sleep(130 * time.Millisecond) // in the second reading
		f.set(func(f *fake) { clear(f.active) })
		p.Forget([]ledger.Key{r.Key})
		time.Sleep(time.Second)
		if len(f.landings()) != 0 || p.Status().Pending != 0 {
			t.Errorf("%v", f.landings())
		}
		f.set(func(f *fake) { f.active[endpoint] = true })
		r.Seen = time.Now()
		p.Watch([]ledger.Removal{r})
		time.Sleep(time.Second)
		f.set(func(f *fake) { clear(f.active) })
		time.Sleep(time.Second)
		if len(f.landings()) != 1 || !f.landings()[0].Seen.Equal(r.Seen) {
			t.Errorf("%v", f.landings())
		}
	})
}

// TestLooksOfADeadReplica: looking is tried again ever more rarely.
func TestLooksOfADeadReplica(t *testing.T) {
	f := &fake{err: errBroken}
	inBubble(t, f, func(p *Poller) {
		p.Look(nil)
		time.Sleep(time.Hour)
		if n := len(f.asked()); n < 10 || n > 60 {
			t.Errorf("asked %d times in an hour", n)
		}
		f.set(func(f *fake) { f.err = nil })
		time.Sleep(time.Hour)
		n := len(f.asked())
		time.Sleep(time.Hour)
		if s := p.Status(); len(f.asked()) != n || s.Active != 1 {
			t.Errorf("%d more, %+v", len(f.asked())-n, s)
		}
	})
}

// TestBlind: what a replica does that cannot be read for minutes is not known; the removals do not wait for ever.
func TestBlind(t *testing.T) {
	f := &fake{}
	inBubble(t, f, func(p *Poller) {
		p.Watch([]ledger.Removal{removal(time.Now())})
		time.Sleep(time.Second)
		f.set(func(f *fake) { f.err = errors.New("status 500") })
		time.Sleep(4 * time.Minute)
		if f.blind() != 0 {
			t.Error("given up after four minutes")
		}
		time.Sleep(2 * time.Minute)
		n := len(f.asked())
		time.Sleep(time.Hour)
		if f.blind() != 1 || p.Status().Pending != 0 || len(f.landings()) != 0 || len(f.asked()) != n {
			t.Errorf("blind %d times, %+v, asked %d times more", f.blind(), p.Status(), len(f.asked())-n)
		}
	})
}

// TestNowhere: in a rollout one pod follows another, and some of their ports are not this replica's: that is seen of the last of them
// too before the next rollout, and not unknown.
func TestNowhere(t *testing.T) {
	f := &fake{}
	inBubble(t, f, func(p *Poller) {
		p.Look(nil)
		time.Sleep(1500 * time.Millisecond)
		r := removal(time.Time{})
		r.Path.Endpoint, r.ExpectedSince = netip.MustParseAddrPort("10.0.0.2:9090"), time.Now()
		p.Look(nil)
		time.Sleep(8 * time.Second)
		if len(f.asked()) != 2 {
			t.Errorf("asked at %v, want 4 s after the first and 4 s after the last", f.asked())
		}
		r.Seen = time.Now()
		p.Watch([]ledger.Removal{r})
		time.Sleep(time.Second)
		f.one(t, "absent")
	})
}
