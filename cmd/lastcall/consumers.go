package main

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"

	"github.com/lastcall-k8s/lastcall/ledger"
	"github.com/lastcall-k8s/lastcall/probes/consumer"
	"github.com/lastcall-k8s/lastcall/watcher"
)

// consumers are the replicas of ingress controllers and meshes on this node, each with a ledger and a poller.
type consumers struct {
	cfg     consumer.Config
	metrics *ledger.Metrics
	events  *ledger.Ring
	horizon time.Duration
	log     *slog.Logger
	// announce writes which pods depart, before a line here names them; nil where nobody else does.
	announce func()

	mu       sync.Mutex
	ctx      context.Context // of Run; nil before it, cancelled after
	group    errgroup.Group
	own      []consumer.Pod
	places   map[string]*ledger.Metrics // by kind
	at       map[string]*replica        // by kind and name
	unread   []consumer.Replica
	notes    []string
	headless map[consumer.Want]bool // names that DNS is asked for
}

// replica is one that is read.
type replica struct {
	consumer.Replica
	poller *consumer.Poller
	books  *ledger.Ledger
	cancel context.CancelFunc
	named  bool // DNS: it is asked for headless Services, by name
}

// consumersOf reads the flag --consumers: "" for none, "auto" for what well-known labels find, or a file.
func consumersOf(flag string) (cfg consumer.Config, on bool, err error) {
	switch flag {
	case "":
		return cfg, false, nil
	case "auto":
		return cfg, true, nil
	}
	text, err := os.ReadFile(flag)
	if err != nil {
		return cfg, false, fmt.Errorf("--consumers: %w", err)
	}
	cfg, err = consumer.ParseConfig(text)
	if err != nil {
		return cfg, false, fmt.Errorf("--consumers %s: %w", flag, err)
	}
	return cfg, true, nil
}

// newOthers are the consumers that an agent reads besides kube-proxy, nil if none.
func newOthers(f agentFlags, metrics *ledger.Metrics, s *server, log *slog.Logger) (*consumers, error) {
	cfg, on, err := consumersOf(f.consumers)
	if err != nil || !on {
		return nil, err
	}
	if name := os.Getenv("POD_NAME"); name != "" {
		cfg.Self = os.Getenv("POD_NAMESPACE") + "/" + name
	}
	cfg.Namespaces = f.podNamespaces
	c := newConsumers(cfg, metrics, s.events, f.horizon, log)
	s.consumers.Store(c)
	return c, nil
}

// measureConsumers is what an agent does that runs beside a consumer, with --only-consumers: no kernel, no privilege.
func measureConsumers(ctx context.Context, f agentFlags, config *rest.Config, s *server, is *identity, metrics *ledger.Metrics, log *slog.Logger) error {
	c, err := newOthers(f, metrics, s, log)
	if err != nil {
		return err
	}
	watch, err := watcher.New(watcher.Config{
		Client: config, Node: f.node, Jitter: f.listJitter,
		Notify: func([]ledger.Change) {}, Ready: c.apply, Headless: true, Pods: c.pods, EndpointsAlone: c.cfg.Alone(),
		Received: metrics.Received, Synced: metrics.Synced, Lost: func(source string) { metrics.Lost(source, 1) }, Log: log,
	})
	if err != nil {
		return err
	}
	s.ready.set("kube-proxy", nil) // another agent's
	s.ready.check("kubernetes API", watch.Ready)
	is.watched(watch, c.tell)
	s.events.Started(time.Now(), ledger.Start{Node: f.node, Version: buildVersion()})
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return watch.Run(ctx) })
	g.Go(func() error { return c.Run(ctx) })
	return g.Wait()
}

func newConsumers(cfg consumer.Config, metrics *ledger.Metrics, events *ledger.Ring, horizon time.Duration, log *slog.Logger) *consumers {
	return &consumers{cfg: cfg, metrics: metrics, events: events, horizon: horizon, log: log,
		places: map[string]*ledger.Metrics{}, at: map[string]*replica{}, headless: map[consumer.Want]bool{}}
}

// Run lets pollers run until ctx ends, and waits for them.
func (c *consumers) Run(ctx context.Context) error {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	c.ctx = ctx
	c.reconcile(time.Now())
	c.mu.Unlock()
	every(ctx, time.Second, c.expire)
	c.mu.Lock()
	all := maps.Clone(c.at) // no other starts any more
	c.mu.Unlock()
	err := c.group.Wait() // without the lock: readers of the event lines ask who is read
	for _, r := range all {
		// Who starts here again has looked at no replica, and cannot take these up.
		if pending, _ := r.books.Open(); pending > 0 {
			r.books.Blind("consumer", time.Now())
		}
		r.books.Close()
	}
	return err
}

func (c *consumers) expire(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.at {
		r.books.Expire(now)
	}
}

// tell makes the ledgers write what they opened.
func (c *consumers) tell() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.at {
		r.books.Tell()
	}
}

// pods takes the pods of this node: replicas that are new are read from now on, those that went or were restarted
// are places that ended.
func (c *consumers) pods(own []watcher.OwnPod) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.own = consumerPods(own)
	if c.ctx != nil && c.ctx.Err() == nil {
		c.reconcile(time.Now())
	}
}

func (c *consumers) reconcile(now time.Time) {
	found, notes := c.cfg.Find(c.own)
	for _, n := range notes {
		if !slices.Contains(c.notes, n) {
			c.log.Warn("consumers", "note", n)
		}
	}
	c.notes, c.unread = notes, nil
	there := map[string]bool{}
	for _, f := range found {
		kind, _ := c.cfg.Kind(f.Kind) // Find knows no other
		if f.Unread != "" {
			c.unread = append(c.unread, f)
			continue
		}
		id := f.Kind + " " + f.Name
		there[id] = true
		if r := c.at[id]; r != nil && r.Instance == f.Instance && r.Source == f.Source {
			continue
		}
		c.end(id, now)
		c.begin(id, f, kind)
	}
	for id := range maps.Clone(c.at) {
		if !there[id] {
			c.end(id, now)
		}
	}
}

func (c *consumers) begin(id string, f consumer.Replica, kind consumer.Kind) {
	m := c.places[kind.Name]
	if m == nil {
		m = c.metrics.For(kind.Name, string(kind.Fidelity))
		m.Consumer(kind.Lag, string(consumer.Pending), string(consumer.Look))
		c.places[kind.Name] = m
	}
	r := &replica{Replica: f, named: kind.Named, books: ledger.New(ledger.Config{Place: kind.Name, Replica: f.Name, Backend: string(kind.Fidelity),
		Families: []ledger.Family{ledger.IPv4, ledger.IPv6}, Horizon: c.horizon, Metrics: m, Events: c.events})}
	poller, err := consumer.NewPoller(consumer.PollerConfig{Kind: kind, Replica: f, Log: c.log,
		Land:  r.books.Land,
		Blind: func(at time.Time) { r.books.Blind("consumer", at) },
		Asked: func(why consumer.Why, err error) { m.Asked(string(why), err != nil) },
	})
	if err != nil {
		r.books.Close()
		f.Unread = err.Error()
		c.unread = append(c.unread, f)
		return
	}
	r.poller = poller
	var ctx context.Context
	ctx, r.cancel = context.WithCancel(c.ctx)
	c.group.Go(func() error { return poller.Run(ctx) })
	poller.Look(slices.Collect(maps.Keys(c.headless))) // a kind that is not Named looks at everything
	c.at[id] = r
	c.log.Info("reads", "place", kind.Name, "replica", f.Name, "source", f.Source)
}

// end closes a place that has ended: what was open there is excluded.
func (c *consumers) end(id string, at time.Time) {
	r := c.at[id]
	if r == nil {
		return
	}
	r.cancel()
	r.books.Apply([]ledger.Change{{At: at, Excluded: true}})
	r.books.Close()
	delete(c.at, id)
	c.log.Info("has ended", "place", r.Kind, "replica", r.Name)
}

// apply takes what the watcher learnt of ready paths to every replica that sends to them.
func (c *consumers) apply(changes []ledger.Change) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx != nil && c.ctx.Err() != nil {
		return // what were opened now would have no outcome
	}
	entered, names := c.enter(changes)
	for _, r := range c.at {
		var own []ledger.Change
		for _, ch := range changes {
			if r.takes(ch) {
				own = append(own, ch)
			}
		}
		if c.announce != nil && slices.ContainsFunc(own, func(ch ledger.Change) bool { return ch.Left != nil }) {
			c.announce()
		}
		watch, forget := r.books.Apply(own)
		r.poller.Forget(forget)
		r.poller.Watch(watch)
		if entered && !r.named || len(names) > 0 {
			r.poller.Look(names)
		}
	}
}

// enter notes which endpoints were added: of Services with a cluster IP, and by name of headless ones.
func (c *consumers) enter(changes []ledger.Change) (entered bool, names []consumer.Want) {
	for _, ch := range changes {
		switch {
		case ch.Entered == nil:
		case ch.Headless:
			w := consumer.Want{Service: ch.Entered.Path.Service, Family: ch.Entered.Path.Family()}
			names = append(names, w)
			if len(c.headless) < maxHeadless {
				c.headless[w] = true
			}
		default:
			entered = true
		}
	}
	return entered, names
}

// maxHeadless bounds the names that a new DNS replica is asked for; those of later additions come by themselves.
const maxHeadless = 2000

// takes says whether a change concerns this replica. DNS is asked for headless Services only. Proxies send to the pods of
// those too where they are told to, HAProxy by its server-template for one, but to most they do not: so only where the
// pod was active.
func (r *replica) takes(ch ledger.Change) bool {
	switch {
	case ch.Excluded:
		return true
	case r.named && !ch.Headless:
		return false
	case ch.Left == nil:
		return true
	case ch.Headless && !r.named:
		active, _ := r.poller.Active(*ch.Left)
		return active
	}
	return r.sendsTo(*ch.Left)
}

// sendsTo says whether a removal concerns this replica: the path was active there when it was last looked at, or
// the endpoint is younger than that. Nothing is opened at a replica that was never read.
func (r *replica) sendsTo(rm ledger.Removal) bool {
	active, known := r.poller.Active(rm)
	return active || !known && !r.poller.Status().Read.IsZero()
}
