package probes

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

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
	// XtablesLock is the lock file of iptables-legacy's programs, watched where that is hooked. It may be missing; "" is no
	// file at all.
	XtablesLock string
}

const (
	// passGap is the least time between two passes, whatever commits.
	passGap = 5 * time.Millisecond
	// freshGap is the same for a path that was just armed: its first read tells whether it was still
	// routed when we learnt that it should not be.
	freshGap = time.Millisecond
	// passPatience is how long a path that was read as reachable is not read again with a long read, for a commit that seems to be
	// prepared: at 10,000 Services that takes kube-proxy's iptables 160 ms.
	passPatience = 200 * time.Millisecond
	// passShare caps the time spent in passes: after a pass of d, none for passShare x d.
	passShare = 9
	// passSlowest is the longest gap between two passes over a removal that stays pending.
	passSlowest = time.Second
	// readTries bounds the rereads of one path that a foreign program's commits keep interrupting. At
	// 4,000 commits/s a read of 0.1 ms survives 6 times in 10.
	readTries = 8
	// cold is the age from which a pending removal is polled like an idle node.
	cold = 30 * time.Second
	// detectGap is the least time between two looks for the dataplane.
	detectGap = 10 * time.Second
	// afterlife is how long a landed path is looked at again for a resurrection.
	afterlife = 30 * time.Second
	// maxAfterlife bounds how many are.
	maxAfterlife = 1024
	// shortWait is how long the runtime is not told of a wait: it would take the processor away from this thread, put its
	// monitor to sleep, and undo both, each time. Not telling takes half of what polling costs (3.2 % to 1.8 % of a core at 1 ms, Linux
	// 6.18, Go 1.26); a collection of garbage waits for us as long.
	shortWait = 2 * time.Millisecond
)

// KubeProxy watches when this node's kernel stops sending new connections on a path, whichever of
// kube-proxy's backends programs it: those of nf_tables, which have generations, and iptables-legacy, which is read when
// something points to a change. Its methods may be called from any goroutine.
type KubeProxy struct {
	cfg KubeProxyConfig

	mu   sync.Mutex
	told []order // since the last turn of the loop
	wake int     // eventfd

	err           atomic.Pointer[error] // why the kernel cannot be read
	strange       atomic.Pointer[error] // a layout of rules that the last pass did not understand
	legacyStrange atomic.Pointer[error] // the same of iptables-legacy

	// Owned by the loop.
	sock       *netfilterSocket // nil: this kernel has no nf_tables
	found      Found
	planes     []familyPlane  // of nf_tables
	legacy     []*legacyTable // of iptables-legacy
	lock       *lockWatch     // nil: not watched
	pending    map[uint8]int  // watched, by family
	baseChains map[memoKey][]string
	log        commitLog
	watched    map[ledger.Key]*watched
	landed     map[ledger.Key]*watched
	lastPass   time.Time
	nextPass   time.Time
	passedGen  uint64
	fresh      bool      // something was armed and has not been read yet
	lastArm    time.Time // of the youngest
	nextDue    time.Time // when the next read is due although nothing was committed; zero: none is
	detected   detection // when the dataplane was last looked for
	lookGap    time.Duration
	mover      string // see Mover
}

// order is what the loop was told: to watch a removal, or to forget one.
type order struct {
	ledger.Removal
	forget bool
}

// watched is one removal under observation.
type watched struct {
	ledger.Removal
	armedAt time.Time
	nft     sighting
	legacy  sighting
}

func (w *watched) family() uint8 { return protoFamily(w.Path.Family()) }

// NewKubeProxy returns a probe; it starts nothing.
func NewKubeProxy(cfg KubeProxyConfig) (*KubeProxy, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
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
	return &KubeProxy{cfg: cfg, wake: fd, lookGap: detectGap, pending: map[uint8]int{}, watched: map[ledger.Key]*watched{}, landed: map[ledger.Key]*watched{}}, nil
}

// Watch starts to observe removals, until each has been reported to Land or is forgotten.
func (k *KubeProxy) Watch(rs []ledger.Removal) {
	k.tell(len(rs), func(i int) order { return order{Removal: rs[i]} })
}

// Forget stops observing.
func (k *KubeProxy) Forget(keys []ledger.Key) {
	k.tell(len(keys), func(i int) order { return order{Removal: ledger.Removal{Key: keys[i]}, forget: true} })
}

// tell queues orders: a path that is forgotten and watched again must be, in that order.
func (k *KubeProxy) tell(n int, o func(int) order) {
	if n == 0 {
		return
	}
	k.mu.Lock()
	for i := range n {
		k.told = append(k.told, o(i))
	}
	k.mu.Unlock()
	k.kick()
}

func (k *KubeProxy) kick() {
	unix.Write(k.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // EAGAIN: it is awake already
}

// Run observes until ctx ends. found is what Detect found in this network namespace. What the kernel refuses or
// fails to answer is tried again: intervals grow meanwhile, and Ready says why. The only error is
// ErrDataplaneChanged: the agent must begin anew.
func (k *KubeProxy) Run(ctx context.Context, found Found) error {
	// Stamps are taken on a thread of its own: see netfilterSocket.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	shortSlice()
	stop := context.AfterFunc(ctx, k.kick) // ends the waits below
	defer stop()
	for ctx.Err() == nil {
		err := k.observe(ctx, found)
		if err == nil {
			break
		}
		if errors.Is(err, ErrDataplaneChanged) {
			return err
		}
		if known := k.err.Swap(&err); known == nil || (*known).Error() != err.Error() {
			k.cfg.Log.Warn("cannot read this node's rules, will try again", "reason", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
	return nil
}

// Ready is nil unless the kernel cannot be read, or its rules not understood; then it says why.
func (k *KubeProxy) Ready() error {
	for _, p := range []*error{k.err.Load(), k.strange.Load(), k.legacyStrange.Load()} {
		if p != nil {
			return *p
		}
	}
	return nil
}

// observe is one life of the sockets.
func (k *KubeProxy) observe(ctx context.Context, found Found) error {
	sock, err := openNFTables()
	if err != nil {
		return err
	}
	k.sock, k.found, k.planes, k.baseChains = sock, found, found.planes(sock), found.baseChains
	k.fresh, k.detected = true, detection{}
	defer k.closeAll()
	if err := k.openLegacy(); err != nil {
		return err
	}
	events := -1
	if k.cfg.Subscribe && sock != nil {
		if events, err = openGenerations(); err != nil {
			return err
		}
		defer unix.Close(events)
	}
	lock := -1
	if k.lock != nil {
		lock = k.lock.fd
	}
	for ctx.Err() == nil {
		if err := k.turn(); err != nil {
			return err
		}
		k.err.Store(nil)
		wait(k.wake, events, lock, k.pause(time.Now()))
	}
	return nil
}

// openLegacy opens what was found of iptables-legacy. Without its lock file there is polling.
func (k *KubeProxy) openLegacy() error {
	for _, family := range k.found.legacy {
		t, err := openLegacy(family)
		if err != nil {
			return err
		}
		t.fresh = true
		k.legacy = append(k.legacy, t)
	}
	if len(k.legacy) == 0 || k.cfg.XtablesLock == "" {
		return nil
	}
	var err error
	if k.lock, err = openLockWatch(k.cfg.XtablesLock); err != nil {
		k.cfg.Log.Warn("intervals of iptables-legacy will be wider", "reason", err)
	}
	return nil
}

func (k *KubeProxy) closeAll() {
	if k.sock != nil {
		k.sock.close()
	}
	for _, t := range k.legacy {
		t.close()
	}
	k.legacy = nil
	if k.lock != nil {
		k.lock.close()
		k.lock = nil
	}
}

// turn takes what is new, asks each kind of dataplane cheaply whether it changed, and reads the pending paths where
// that is due.
func (k *KubeProxy) turn() error {
	k.takeNew()
	if len(k.planes) > 0 {
		g, err := k.generation()
		if err != nil {
			return err
		}
		if read, onlyFresh := k.isDue(g.after); read {
			if err := k.pass(onlyFresh); err != nil {
				return err
			}
		}
	}
	if len(k.legacy) > 0 {
		if err := k.turnLegacy(); err != nil {
			return err
		}
	}
	return k.lookAgain(time.Now())
}

// isDue decides whether to read the pending paths of nf_tables now, and whether only those that were just armed.
func (k *KubeProxy) isDue(now time.Time) (read, onlyFresh bool) {
	switch {
	case k.fresh && now.Before(k.nextPass):
		return now.Sub(k.lastPass) >= freshGap, true
	case now.Before(k.nextPass):
		return false, false
	}
	return k.fresh ||
		len(k.watched) > 0 && k.log.gen != k.passedGen ||
		!k.nextDue.IsZero() && !now.Before(k.nextDue), false
}

func (k *KubeProxy) takeNew() {
	k.mu.Lock()
	told := k.told
	k.told = nil
	k.mu.Unlock()
	now := time.Now()
	for _, o := range told {
		delete(k.landed, o.Key)
		k.drop(o.Key)
		if o.forget {
			continue
		}
		w := &watched{Removal: o.Removal, armedAt: now, nft: sighting{due: now}}
		k.watched[o.Key] = w
		k.pending[w.family()]++
		k.fresh, k.lastArm = true, now
		for _, t := range k.legacy {
			t.fresh = t.fresh || t.family == w.family()
		}
	}
	if len(k.watched) == 0 {
		k.strange.Store(nil)
		k.legacyStrange.Store(nil)
	}
}

func (k *KubeProxy) drop(key ledger.Key) {
	if w := k.watched[key]; w != nil {
		delete(k.watched, key)
		k.pending[w.family()]--
	}
}

// generation asks the kernel and records the answer.
func (k *KubeProxy) generation() (stamped, error) {
	g, err := k.sock.generation()
	if err != nil {
		return g, err
	}
	if ok := k.log.observe(g.id, g.before, g.after); !ok {
		k.cfg.Blind(g.after)
	}
	return g, nil
}

// pause is how long the loop may sleep.
func (k *KubeProxy) pause(now time.Time) time.Duration {
	if len(k.watched) == 0 {
		return k.cfg.Idle
	}
	switch age := now.Sub(k.lastArm); {
	case age < k.cfg.Hot:
		return k.cfg.Poll
	case age < cold:
		return 5 * k.cfg.Poll
	}
	return k.cfg.Idle
}

// wait returns when one of the descriptors is readable, or after d. What the lock's says is left for lockWatch.
func wait(wake, events, lock int, d time.Duration) {
	fds := []unix.PollFd{{Fd: int32(wake), Events: unix.POLLIN}, {Fd: int32(events), Events: unix.POLLIN}, {Fd: int32(lock), Events: unix.POLLIN}}
	ts := unix.NsecToTimespec(int64(d))
	// EINTR: an early turn does no harm. A descriptor of -1 is passed over.
	if d <= shortWait && runtime.GOMAXPROCS(0) > 1 {
		unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&fds[0])), uintptr(len(fds)), uintptr(unsafe.Pointer(&ts)), 0, 0, 0)
	} else {
		unix.Ppoll(fds, &ts, nil)
	}
	var buf [4096]byte
	for _, fd := range fds[:2] {
		if fd.Revents != 0 {
			unix.Read(int(fd.Fd), buf[:])
		}
	}
}
