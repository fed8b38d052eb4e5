package consumer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/lastcall-k8s/lastcall/ledger"
)

// PollerConfig says which replica is read, and who is told.
type PollerConfig struct {
	Kind    Kind
	Replica Replica
	// Land takes what was found, from the poller's own goroutine, once the interval is over.
	Land func([]ledger.Landing)
	// Blind is told when a replica could not be read for so long that what is pending ends as gap.
	Blind func(at time.Time)
	// Asked is told of each reading: why it was made, and what came of it.
	Asked func(Why, error)
	// Timeout bounds one reading. Default 2 s.
	Timeout time.Duration
	Log     *slog.Logger
}

// Why a replica is read: a label value.
type Why string

const (
	Pending Why = "pending" // a removal is open there
	Look    Why = "look"    // endpoints were added: who is active before anybody leaves?
)

const (
	// settle is how long a consumer is given to take up an endpoint before it is looked for there. Traefik's
	// throttle is 2 s, Kong's and Skipper's period 3 s, ingress-nginx's token bucket 3.3 s.
	settle = 4 * time.Second
	// settleLate is when it is looked for again.
	settleLate = 30 * time.Second
	// idleShare caps the time that a replica spends on us: after a reading of d, none for idleShare x d.
	idleShare = 3
	// confirm is how long the API gets to tell that a replica's container was restarted, before a reading
	// from after a broken connection is believed to be of the same one.
	confirm = 10 * time.Second
	// failSlowest is the longest pause after readings that failed.
	failSlowest = 5 * time.Second
	// blindAfter is how long readings may fail before nothing can be said of what is pending.
	blindAfter = 5 * time.Minute
	// maxActive bounds what is remembered of who was active.
	maxActive = 50_000
)

// pace is how long to wait between two readings while a removal of that age is open: 50 ms, and later a
// fortieth of its age, at most a second.
func pace(age time.Duration) time.Duration {
	return min(max(age/40, 50*time.Millisecond), time.Second)
}

// Poller reads one replica while removals are open there, and not otherwise, except for a look some seconds after
// endpoints were added: whether an address was active must be known before it leaves, or it cannot be told that it
// landed. Its methods may be called from any goroutine.
type Poller struct {
	cfg    PollerConfig
	reader *Reader
	wake   chan struct{}

	mu       sync.Mutex
	watched  map[ledger.Key]*watched
	held     []ledger.Landing // told when their upper end has passed
	lastArm  time.Time        // of the youngest
	looks    looks
	roll     roll
	holdTill time.Time // asking earlier teaches nothing
	brokenAt time.Time // the last time that the connection was refused or broke
	started  time.Time // of the last reading
	ended    time.Time
	failures int       // in a row
	failing  time.Time // since when
	status   Status
}

// NewPoller prepares to read a replica; it sends nothing.
func NewPoller(cfg PollerConfig) (*Poller, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Asked == nil {
		cfg.Asked = func(Why, error) {}
	}
	if cfg.Blind == nil {
		cfg.Blind = func(time.Time) {}
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 2 * time.Second
	}
	reader, err := cfg.Kind.Open(cfg.Replica.Source)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", cfg.Kind.Name, cfg.Replica.Name, err)
	}
	return &Poller{cfg: cfg, reader: reader, wake: make(chan struct{}, 1), watched: map[ledger.Key]*watched{},
		roll:   roll{named: cfg.Kind.Named, calls: map[ledger.ServicePort]*call{}},
		status: Status{Place: cfg.Kind.Name, Replica: cfg.Replica.Name, Source: cfg.Replica.Source.String(), Fidelity: cfg.Kind.Fidelity, Lag: cfg.Kind.Lag}}, nil
}

// Watch starts to observe removals, until each has been reported to Land or is forgotten.
func (p *Poller) Watch(rs []ledger.Removal) {
	if len(rs) == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lastArm, p.holdTill = time.Now(), time.Time{}
	for _, r := range rs {
		p.watched[r.Key] = newWatched(r, p.roll.before(r))
	}
	p.kick()
}

// Forget stops observing.
func (p *Poller) Forget(keys []ledger.Key) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, k := range keys {
		delete(p.watched, k)
		p.held = slices.DeleteFunc(p.held, func(ld ledger.Landing) bool { return ld.Key == k })
	}
	p.kick()
}

// Look asks for a look at who is active, because these Services got endpoints; soon, and once more.
func (p *Poller) Look(at []Want) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.looks.add(at, p.cfg.Kind.Named, time.Now())
	p.kick()
}

func (p *Poller) kick() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Run reads until ctx ends, and then returns nil. What goes wrong is in Status.
func (p *Poller) Run(ctx context.Context) error {
	defer p.reader.Close()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		timer.Stop()
		told := p.tell(time.Now())
		due, why := p.due()
		if why != "" && time.Until(due) <= 0 {
			p.read(ctx, why)
			continue
		}
		if why == "" || !told.IsZero() && told.Before(due) {
			due = told
		}
		if !due.IsZero() {
			timer.Reset(time.Until(due))
		}
		select {
		case <-ctx.Done():
		case <-p.wake:
		case <-timer.C:
		}
	}
	return nil
}

// due is when the next reading is due and why; without a reason there is none.
func (p *Poller) due() (at time.Time, why Why) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if look := p.looks.due(); !look.IsZero() {
		at, why = look, Look
	}
	if len(p.watched) > 0 {
		next := p.holdTill
		if !p.started.IsZero() {
			if by := p.started.Add(pace(p.started.Sub(p.lastArm))); by.After(next) {
				next = by
			}
		}
		if why == "" || next.Before(at) {
			at, why = next, Pending
		}
	}
	pause := idleShare * p.ended.Sub(p.started)
	if p.failures > 0 {
		pause = max(pause, min(50*time.Millisecond<<min(p.failures, 10), failSlowest))
	}
	if by := p.ended.Add(pause); by.After(at) {
		at = by
	}
	return at, why
}

// read makes one reading and takes what it says.
func (p *Poller) read(ctx context.Context, why Why) {
	r := p.begin(why)
	reading, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
	r.answer, r.err = p.reader.Read(reading, r.of, r.active)
	if r.err != nil && reading.Err() != nil && ctx.Err() == nil {
		r.err = fmt.Errorf("no complete answer within %v", p.cfg.Timeout)
	}
	cancel()
	r.ended = time.Now()
	if ctx.Err() != nil {
		return
	}
	p.cfg.Asked(why, r.err)
	if blind := p.take(r); blind {
		p.cfg.Blind(r.ended)
	}
}

// tell passes on the landings whose interval is over, and says when the next one's will be: by a lag bound it may
// end later than now, and nobody is told of what is to come.
func (p *Poller) tell(now time.Time) (next time.Time) {
	p.mu.Lock()
	var over []ledger.Landing
	p.held = slices.DeleteFunc(p.held, func(ld ledger.Landing) bool {
		switch {
		case !ld.Hi.After(now):
			over = append(over, ld)
			return true
		case next.IsZero() || ld.Hi.Before(next):
			next = ld.Hi
		}
		return false
	})
	p.mu.Unlock()
	if len(over) > 0 {
		p.cfg.Land(over)
	}
	return next
}

// take settles what a reading shows. Blind: there is nothing to be said any more of what was pending.
func (p *Poller) take(r *reading) (blind bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.started, p.ended = r.started, r.ended
	p.status.count(r)
	if r.err != nil {
		return p.failed(r)
	}
	if p.failures > 0 {
		p.cfg.Log.Info("reads again", "place", p.cfg.Kind.Name, "replica", p.cfg.Replica.Name)
	}
	p.failures, p.holdTill = 0, r.ended.Add(r.answer.Hold)
	if r.why == Look {
		p.roll.take(r.called, r.answer)
		p.looks.looked(r.started, r.ended, r.answer.Again)
	}
	for _, ws := range r.by {
		for _, w := range ws {
			if p.watched[w.Key] != w {
				continue // forgotten, or armed anew, while it was read
			}
			if ld, ok := w.observe(r, p.cfg.Kind, p.brokenAt); ok {
				p.held = append(p.held, ld)
				delete(p.watched, w.Key)
			}
		}
	}
	return false
}

// failed notes a reading that says nothing. What is pending stays so, and its interval grows, but not for ever.
func (p *Poller) failed(r *reading) (blind bool) {
	if p.failures++; p.failures == 1 {
		p.failing = r.started
	}
	if errors.Is(r.err, errBroken) {
		p.brokenAt = r.ended
	}
	if r.why == Look {
		p.looks.put(r.ended.Add(settle << min(p.failures-1, 5))) // a failure is no look
	}
	if p.failures == 1 {
		p.cfg.Log.Warn("cannot read", "place", p.cfg.Kind.Name, "replica", p.cfg.Replica.Name, "reason", r.err)
	}
	if r.ended.Sub(p.failing) < blindAfter || len(p.watched) == 0 {
		return false
	}
	clear(p.watched)
	return true
}
