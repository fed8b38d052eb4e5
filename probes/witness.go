package probes

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lastcall-k8s/lastcall/ledger"
)

// WitnessConfig says where a Witness reports to.
type WitnessConfig struct {
	// Off: it is told and does nothing.
	Off bool
	// Families that are measured: of others no landing is ever told. Empty: all.
	Families []ledger.Family
	// Report takes what was summed up of one pod, when its window ends.
	Report func(uid string, w ledger.Witness)
	// AfterLanding is told of each connection that reached an endpoint after it had landed.
	AfterLanding func(ledger.AfterLanding)
	// Lost is told when connections may have been missed.
	Lost func()
	Log  *slog.Logger

	// MostEvents is how many events a second are worth it; above, the witness leaves for Pause. Default 10,000, about
	// 5 % of a core.
	MostEvents int
	// Pause is how long it leaves then. Default 10 s.
	Pause time.Duration
}

// Witness watches what connection tracking of this node shows of connections to pods that leave. Its methods may be called
// from any goroutine.
type Witness struct {
	cfg  WitnessConfig
	mu   sync.Mutex
	told []func(*leavings, time.Time)
	wake int // eventfd

	// Owned by the loop.
	books    *leavings
	sock     *flowSocket // nil while nothing leaves
	resume   time.Time   // it left, until then
	why      ledger.Missed
	said     string    // the last warning
	second   time.Time // in which the events are counted
	events   int
	received uint64
}

// NewWitness returns a witness; it starts nothing.
func NewWitness(cfg WitnessConfig) (*Witness, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.MostEvents == 0 {
		cfg.MostEvents = 10_000
	}
	if cfg.Pause == 0 {
		cfg.Pause = 10 * time.Second
	}
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create eventfd: %w", err)
	}
	return &Witness{cfg: cfg, wake: fd, books: newLeavings(cfg.Report, cfg.AfterLanding)}, nil
}

// Note takes what the watcher learnt.
func (w *Witness) Note(changes []ledger.Change) {
	if w.cfg.Off {
		return
	}
	changes = slices.DeleteFunc(slices.Clone(changes), w.pointless)
	if len(changes) == 0 {
		return
	}
	w.tell(func(ls *leavings, now time.Time) {
		here := map[netip.Addr]bool{}
		if slices.ContainsFunc(changes, func(c ledger.Change) bool { return c.Departed != nil && len(c.Departed.Addrs) > 0 }) {
			here = ownAddresses()
		}
		for _, c := range changes {
			ls.note(c, here, now)
		}
	})
}

// pointless is what changes nothing here.
func (w *Witness) pointless(c ledger.Change) bool {
	unmeasured := func(r *ledger.Removal) bool {
		return r != nil && len(w.cfg.Families) > 0 && !slices.Contains(w.cfg.Families, r.Path.Family())
	}
	return c.Farewell != nil && !c.Farewell.Gone || c.Departed != nil && len(c.Departed.Addrs) == 0 ||
		unmeasured(c.Left) || unmeasured(c.Retained)
}

// Landed takes landings, as the ledger takes them.
func (w *Witness) Landed(lds []ledger.Landing) {
	if w.cfg.Off {
		return
	}
	w.tell(func(ls *leavings, now time.Time) {
		for _, ld := range lds {
			ls.land(ld, now)
		}
	})
}

// Settled takes removals that ended without a landing.
func (w *Witness) Settled(keys []ledger.Key) {
	if w.cfg.Off || len(keys) == 0 {
		return
	}
	w.tell(func(ls *leavings, now time.Time) {
		for _, k := range keys {
			ls.settle(k, now)
		}
	})
}

func (w *Witness) tell(f func(*leavings, time.Time)) {
	w.mu.Lock()
	w.told = append(w.told, f)
	w.mu.Unlock()
	w.kick()
}

func (w *Witness) kick() {
	unix.Write(w.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // EAGAIN: it is awake already
}

// Run watches until ctx ends. What the kernel refuses is tried again.
func (w *Witness) Run(ctx context.Context) error {
	// Stamps are taken on a thread of its own: see netfilterSocket.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	stop := context.AfterFunc(ctx, w.kick) // ends the wait below
	defer stop()
	defer w.leave()
	for ctx.Err() == nil {
		w.takeNew()
		if err := w.turn(); err != nil {
			w.blind(ledger.MissedError, time.Now())
			if said := err.Error(); said != w.said {
				w.said = said
				w.cfg.Log.Warn("connections are not witnessed, will try again", "reason", err)
			}
		}
		w.wait(time.Now())
	}
	w.takeNew()
	if err := w.drain(); err != nil {
		w.books.missed(ledger.MissedError)
	}
	w.books.stop(time.Now())
	return nil
}

func (w *Witness) takeNew() {
	w.mu.Lock()
	told := w.told
	w.told = nil
	w.mu.Unlock()
	now := time.Now()
	for _, f := range told {
		f(w.books, now)
	}
}

// turn joins or leaves as pods come and go, and takes in what was told meanwhile.
func (w *Witness) turn() error {
	if err := w.listen(time.Now()); err != nil {
		return err
	}
	if err := w.drain(); err != nil {
		return err
	}
	w.books.turn(time.Now())
	if len(w.books.byAddr) == 0 {
		w.leave() // at once: nothing may wake us for long
	}
	return nil
}

// listen keeps the socket open as long as somebody leaves, for the addresses of those who do.
func (w *Witness) listen(now time.Time) error {
	switch {
	case now.Before(w.resume):
		for _, l := range w.books.fresh {
			l.missed(w.why)
		}
		return nil
	case len(w.books.byAddr) == 0:
		w.leave()
		return nil
	case w.sock == nil:
		older, err := tracking()
		if err != nil {
			return err
		}
		sock, err := listenFlows(w.books.addresses())
		if err != nil {
			return err
		}
		w.sock, w.books.older = sock, older
	case w.books.moved:
		if err := w.sock.filter(w.books.addresses()); err != nil {
			return err
		}
	case len(w.books.fresh) == 0:
		return nil
	}
	w.books.listening(time.Now())
	return nil
}

// drain takes in every event that is waiting.
func (w *Witness) drain() error {
	for w.sock != nil {
		before := time.Now()
		b, err := w.sock.receive()
		switch {
		case errors.Is(err, errNoEvent):
			w.books.empty(before)
			return nil
		case errors.Is(err, errOverrun):
			w.cfg.Lost()
			w.books.missed(ledger.MissedOverrun)
			continue
		case err != nil:
			return err
		}
		at := time.Now()
		if err := parseFlowEvents(b, func(e flowEvent) { w.books.event(e, at) }); err != nil {
			w.cfg.Lost()
			w.books.missed(ledger.MissedError)
		}
		w.received++
		if at.Sub(w.second) >= time.Second {
			w.second, w.events = at, 0
		}
		if w.events++; w.events > w.cfg.MostEvents {
			w.blind(ledger.MissedRate, at)
		}
	}
	return nil
}

// blind leaves for a while, and says so of every pod that leaves now.
func (w *Witness) blind(why ledger.Missed, now time.Time) {
	w.cfg.Lost()
	w.books.missed(why)
	w.leave()
	w.why, w.resume = why, now.Add(w.cfg.Pause)
}

func (w *Witness) leave() {
	if w.sock != nil {
		w.sock.close()
		w.sock = nil
	}
}

// wait returns when something is told, when an event is waiting, or when time may decide something.
func (w *Witness) wait(now time.Time) {
	d := time.Hour
	switch {
	case w.sock != nil && len(w.books.unsure) > 0:
		d = landedMargin
	case len(w.books.byUID) > 0:
		d = 250 * time.Millisecond
	}
	fds := []unix.PollFd{{Fd: int32(w.wake), Events: unix.POLLIN}, {Fd: -1, Events: unix.POLLIN}}
	if w.sock != nil {
		fds[1].Fd = int32(w.sock.fd)
	}
	ts := unix.NsecToTimespec(int64(d))
	unix.Ppoll(fds, &ts, nil) // EINTR: an early turn does no harm
	if fds[0].Revents != 0 {
		var buf [8]byte
		unix.Read(w.wake, buf[:])
	}
}
