package probes

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lastcall-k8s/lastcall/ledger"
)

// KubeProxyConfig says where a KubeProxy reports to. Timing fields left zero take the defaults.
type KubeProxyConfig struct {
	// Land takes what a pass found, on the probe's own thread.
	Land func([]ledger.Landing)
	// Blind is told when the record of commits broke: what is pending can have no bound any more.
	Blind func(at time.Time)
	// Resurrected takes keys that had landed and are routed again.
	Resurrected func(keys []ledger.Key, at time.Time)
	// Verified takes the duration of each pass.
	Verified func(time.Duration)
	Log      *slog.Logger

	// Poll is how often the kernel is asked for the generation while something has been pending for less
	// than Hot. It is what slop is made of. Default 1 ms.
	Poll time.Duration
	// Hot is how long a removal is polled at Poll; then at 5 x Poll. Default 3 s: kube-proxy's
	// minSyncPeriod of 1 s, its sync, and the same again.
	Hot time.Duration
	// Idle is how often it is asked while nothing is pending, so that a removal that kube-proxy learnt of
	// before us still has a bound. Default 50 ms: 0.1 % of a core.
	Idle time.Duration
	// Subscribe wakes the probe by NFT_MSG_NEWGEN as well. The kernel then builds every
	// notification of every commit: restores of iptables-nft take 9 to 22 % longer. Default off.
	Subscribe bool
}

const (
	// passGap is the least time between two passes, whatever commits.
	passGap = 5 * time.Millisecond
	// freshGap is the same for a path that was just armed: its first read tells whether it was still
	// routed when we learnt that it should not be.
	freshGap = time.Millisecond
	// passShare caps the time spent in passes: after a pass of d, none for passShare x d.
	passShare = 9
	// passSlowest is the longest gap between two passes over a removal that stays pending.
	passSlowest = time.Second
	// readTries bounds the rereads of one path that a foreign program's commits keep interrupting. At
	// 4,000 commits/s a read of 0.1 ms survives 6 times in 10.
	readTries = 8
	// cold is the age from which a pending removal is polled like an idle node.
	cold = 30 * time.Second
	// afterlife is how long a landed path is looked at again for a resurrection.
	afterlife = 30 * time.Second
	// maxAfterlife bounds how many are.
	maxAfterlife = 1024
)

// KubeProxy watches when this node's kernel stops sending new connections on a path, whichever of
// kube-proxy's nf_tables backends programs it. Its methods may be called from any goroutine.
type KubeProxy struct {
	cfg KubeProxyConfig

	mu     sync.Mutex
	armed  []ledger.Removal // new since the last turn of the loop
	forgot []ledger.Key
	wake   int // eventfd

	// Owned by the loop.
	sock       *netfilterSocket
	planes     []familyPlane
	baseChains map[memoKey][]string
	log        commitLog
	watched    map[ledger.Key]*watched
	landed     map[ledger.Key]*watched
	lastPass   time.Time
	nextPass   time.Time
	passedGen  uint64
	fresh      bool // something was armed and has not been read yet
}

// watched is one removal under observation.
type watched struct {
	ledger.Removal
	armedAt   time.Time
	present   uint64    // last generation at which it was read as reachable; 0: never
	presentAt time.Time // when that read began
	due       time.Time // next read although nothing was committed
}

// NewKubeProxy returns a probe; it starts nothing.
func NewKubeProxy(cfg KubeProxyConfig) (*KubeProxy, error) {
	if cfg.Poll == 0 {
		cfg.Poll = time.Millisecond
	}
	if cfg.Hot == 0 {
		cfg.Hot = 3 * time.Second
	}
	if cfg.Idle == 0 {
		cfg.Idle = 50 * time.Millisecond
	}
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create eventfd: %w", err)
	}
	return &KubeProxy{cfg: cfg, wake: fd, watched: map[ledger.Key]*watched{}, landed: map[ledger.Key]*watched{}}, nil
}

// Watch starts to observe removals, until each has been reported to Land or is forgotten.
func (k *KubeProxy) Watch(rs []ledger.Removal) {
	k.mu.Lock()
	k.armed = append(k.armed, rs...)
	k.mu.Unlock()
	k.kick()
}

// Forget stops observing.
func (k *KubeProxy) Forget(keys []ledger.Key) {
	k.mu.Lock()
	k.forgot = append(k.forgot, keys...)
	k.mu.Unlock()
	k.kick()
}

func (k *KubeProxy) kick() {
	unix.Write(k.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // EAGAIN: it is awake already
}

// Run observes until ctx ends. found is what Detect found in this network namespace.
func (k *KubeProxy) Run(ctx context.Context, found Found) error {
	// Stamps are taken on a thread of its own: see netfilterSocket.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	shortSlice()
	sock, err := openNetfilter()
	if err != nil {
		return err
	}
	defer sock.close()
	k.sock, k.planes, k.baseChains = sock, found.planes(sock), found.baseChains
	events := -1
	if k.cfg.Subscribe {
		if events, err = openGenerations(); err != nil {
			return err
		}
		defer unix.Close(events)
	}
	stop := context.AfterFunc(ctx, k.kick) // ends the wait below
	defer stop()
	for ctx.Err() == nil {
		if err := k.turn(); err != nil {
			return err
		}
		wait(k.wake, events, k.pause(time.Now()))
	}
	return nil
}

// turn takes what is new, asks for the generation, and reads the pending paths if that is due.
func (k *KubeProxy) turn() error {
	k.takeNew()
	g, err := k.generation()
	if err != nil {
		return err
	}
	now := g.after
	switch {
	case k.fresh && now.Sub(k.lastPass) >= freshGap:
		return k.pass()
	case now.Before(k.nextPass):
	case len(k.watched) > 0 && k.log.gen != k.passedGen, k.anyDue(now):
		return k.pass()
	}
	return nil
}

func (k *KubeProxy) takeNew() {
	k.mu.Lock()
	armed, forgot := k.armed, k.forgot
	k.armed, k.forgot = nil, nil
	k.mu.Unlock()
	now := time.Now()
	for _, r := range armed {
		delete(k.landed, r.Key)
		k.watched[r.Key] = &watched{Removal: r, armedAt: now, due: now}
		k.fresh = true
	}
	for _, key := range forgot {
		delete(k.watched, key)
	}
}

// generation asks the kernel and records the answer.
func (k *KubeProxy) generation() (stamped, error) {
	g, err := k.sock.generation()
	if err != nil {
		return g, err
	}
	if _, ok := k.log.observe(g.id, g.before, g.after); !ok {
		k.cfg.Blind(g.after)
	}
	return g, nil
}

// pass reads every watched path that is due, each between two answers of the same generation.
func (k *KubeProxy) pass() error {
	start := time.Now()
	p := k.newPass()
	for _, w := range k.inOrder() {
		if w.present == k.log.gen && start.Before(w.due) {
			continue // read at this generation already
		}
		read, err := p.read(w.Removal)
		switch {
		case errors.Is(err, errInterrupted):
			continue // the next pass tries again; until then the interval grows
		case err != nil:
			return fmt.Errorf("verify %s -> %s: %w", w.Path.Service, w.Path.Endpoint, err)
		case read.reachable:
			w.present, w.presentAt = read.gen, read.before
			w.due = read.after.Add(min(passSlowest, max(passGap, read.after.Sub(w.armedAt)/8)))
			continue
		}
		ld := k.log.landing(w.present, read.gen, w.ExpectedSince, w.presentAt, read.after)
		ld.Key = w.Key
		p.landings = append(p.landings, ld)
		delete(k.watched, w.Key)
		if len(k.landed) < maxAfterlife {
			w.armedAt, w.due = read.after, read.after.Add(passSlowest)
			k.landed[w.Key] = w
		}
	}
	if err := k.revisit(p, start); err != nil {
		return err
	}
	end := time.Now()
	k.passedGen, k.lastPass, k.fresh = p.gen, end, false
	k.nextPass = end.Add(max(passGap-end.Sub(start), passShare*end.Sub(start)))
	k.cfg.Verified(end.Sub(start))
	if len(p.landings) > 0 {
		k.cfg.Land(p.landings)
	}
	return nil
}

// inOrder lists what is watched, the never read first.
func (k *KubeProxy) inOrder() []*watched {
	return slices.SortedFunc(maps.Values(k.watched), func(a, b *watched) int {
		return a.presentAt.Compare(b.presentAt)
	})
}

// revisit looks again at paths that landed a while ago: at +1 s and then at twice the age.
func (k *KubeProxy) revisit(p *pass, now time.Time) error {
	var back []ledger.Key
	for key, w := range k.landed {
		age := now.Sub(w.armedAt)
		switch {
		case age > afterlife:
			delete(k.landed, key)
		case !now.Before(w.due):
			w.due = now.Add(max(passSlowest, age))
			read, err := p.read(w.Removal)
			if err != nil && !errors.Is(err, errInterrupted) {
				return err
			}
			if err == nil && read.reachable {
				back = append(back, key)
				delete(k.landed, key)
			}
		}
	}
	if len(back) > 0 {
		k.cfg.Resurrected(back, now)
	}
	return nil
}

func (k *KubeProxy) anyDue(now time.Time) bool {
	for _, m := range []map[ledger.Key]*watched{k.watched, k.landed} {
		for _, w := range m {
			if !now.Before(w.due) {
				return true
			}
		}
	}
	return false
}

// pause is how long the loop may sleep.
func (k *KubeProxy) pause(now time.Time) time.Duration {
	if len(k.watched) == 0 {
		return k.cfg.Idle
	}
	youngest := cold
	for _, w := range k.watched {
		youngest = min(youngest, now.Sub(w.armedAt))
	}
	switch {
	case youngest < k.cfg.Hot:
		return k.cfg.Poll
	case youngest < cold:
		return 5 * k.cfg.Poll
	}
	return k.cfg.Idle
}

// wait returns when one of the descriptors is readable, or after d.
func wait(wake, events int, d time.Duration) {
	fds := []unix.PollFd{{Fd: int32(wake), Events: unix.POLLIN}, {Fd: int32(events), Events: unix.POLLIN}}
	ts := unix.NsecToTimespec(int64(d))
	unix.Ppoll(fds, &ts, nil) // EINTR: an early turn does no harm; a descriptor of -1 is passed over
	var buf [4096]byte
	for _, fd := range fds {
		if fd.Revents != 0 {
			unix.Read(int(fd.Fd), buf[:])
		}
	}
}
