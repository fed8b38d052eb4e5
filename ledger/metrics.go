package ledger

import (
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Buckets are the bounds, in seconds, of every latency histogram here and in the hub, so that they
// can be added up across places.
var Buckets = []float64{.01, .05, .1, .25, .5, 1, 2, 3, 5, 8, 12, 20, 30, 60, 120, 300, 1200}

// Metrics are all series of the agent. None carries a pod's or a Service's name.
type Metrics struct {
	program       *prometheus.HistogramVec
	outcomes      *prometheus.CounterVec
	uncertainty   *prometheus.HistogramVec
	unbounded     *prometheus.CounterVec
	beforeSeen    *prometheus.CounterVec
	late          *prometheus.CounterVec
	resurrections *prometheus.CounterVec
	afterLanding  *prometheus.CounterVec
	dataplane     *prometheus.GaugeVec
	verify        prometheus.Histogram
	lost          *prometheus.CounterVec
	received      *prometheus.CounterVec
	synced        *prometheus.GaugeVec
	requests      *prometheus.CounterVec
	failures      *prometheus.CounterVec
	lag           *prometheus.GaugeVec
	open          *openCollector
	place         string
	backend       string
}

// NewMetrics registers the agent's metrics for one place kind. clockMaxError is the kernel's bound on the error of
// this node's clock, in seconds.
func NewMetrics(reg prometheus.Registerer, place string, clockMaxError func() float64) *Metrics {
	m := &Metrics{place: place, open: newOpenCollector()}
	m.program = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "lastcall_removal_program_duration_seconds",
		Help: "Time from the receipt of the API event that removed a path from this place's expected set until no new connection could take it. " +
			"0 if the place was faster than our watch.",
		Buckets:                        Buckets,
		NativeHistogramBucketFactor:    1.1,
		NativeHistogramMaxBucketNumber: 160,
	}, []string{"place", "backend", "family"})
	m.outcomes = counter("lastcall_removals_total",
		"Removals by how they ended. Every removal ends in exactly one outcome.", "place", "family", "outcome")
	m.uncertainty = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "lastcall_removal_uncertainty_seconds",
		Help:    "Width of the interval within which a landed removal landed (slop). Those without a lower bound are in lastcall_landed_unbounded_total.",
		Buckets: []float64{.001, .005, .05, 1},
	}, []string{"place"})
	m.unbounded = counter("lastcall_landed_unbounded_total",
		"Landed removals of which only an upper bound is known, such as those that landed while no agent ran.", "place")
	m.beforeSeen = counter("lastcall_landed_before_seen_total",
		"Removals that had landed before this agent received the API event that caused them.", "place")
	m.late = counter("lastcall_late_landings_total",
		"Removals that landed after they had been counted as expired.", "place")
	m.resurrections = counter("lastcall_endpoint_resurrections_total",
		"Paths that were routed again after they had landed, although nothing expected them.", "place")
	m.afterLanding = counter("lastcall_connections_after_landing_total",
		"Connections that entered this place after all paths to an endpoint had landed and were still sent to it. new: a new conntrack entry, which must never be; "+
			"reused: the client revived an old entry, which keeps its translation.", "place", "kind")
	m.dataplane = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "lastcall_agent_dataplane_info",
		Help: "The dataplane found on this node. measured is false where this agent cannot time it.",
	}, []string{"backend", "family", "measured"})
	m.verify = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "lastcall_agent_verify_duration_seconds",
		Help:    "Duration of one pass over the rules of the pending removals.",
		Buckets: []float64{.001, .005, .02, .1},
	})
	m.lost = counter("lastcall_agent_events_lost_total",
		"Holes in what this agent could observe, by source: watch (a relist bridged it), malformed (an API object that could not be used), "+
			"kernel (the record of commits broke), dataplane (another one that cannot be measured took over), "+
			"conntrack (connections were not witnessed for a while), capacity (too many open removals).", "source")
	m.received = counter("lastcall_agent_watch_received_bytes_total",
		"Bytes received from the API server, by resource, as they came over the wire after TLS.", "resource")
	m.requests = counter("lastcall_consumer_requests_total",
		"Readings of replicas of ingress controllers, DNS servers and meshes on this node, by why: pending (a removal is open there), "+
			"look (endpoints were added). While neither is, there are none.", "place", "why")
	m.failures = counter("lastcall_consumer_failures_total",
		"Readings that failed, and so widened intervals or told nothing.", "place")
	m.lag = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "lastcall_consumer_lag_bound_seconds",
		Help: "How much later than what its replicas show a consumer may still act as before; it is in every interval. " +
			"fidelity is dataplane or config: what they show.",
	}, []string{"place", "fidelity"})
	m.synced = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "lastcall_agent_watch_synced",
		Help: "1 while the watch of the resource is established and synced, else 0.",
	}, []string{"resource"})
	reg.MustRegister(m.program, m.outcomes, m.uncertainty, m.unbounded, m.beforeSeen, m.late, m.resurrections,
		m.afterLanding, m.dataplane, m.verify, m.lost, m.received, m.synced, m.requests, m.failures, m.lag, m.open,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "lastcall_agent_clock_max_error_seconds",
			Help: "The kernel's own bound on this node's clock error (adjtimex maxerror). It grows without a time service.",
		}, clockMaxError))
	m.start()
	m.lost.WithLabelValues("watch") // the others are rarer than a series is worth, and what they cost is in outcomes and lines
	return m
}

// start begins the series that a place has from the first: a counter that appears with its first increment
// loses that increment in rate().
func (m *Metrics) start() {
	m.unbounded.WithLabelValues(m.place)
	m.beforeSeen.WithLabelValues(m.place)
	m.late.WithLabelValues(m.place)
	m.resurrections.WithLabelValues(m.place)
	m.uncertainty.WithLabelValues(m.place)
}

// For are the same metrics for another place kind of this node.
func (m *Metrics) For(place, backend string) *Metrics {
	c := *m
	c.place, c.backend = place, backend
	c.start()
	return &c
}

// Consumer says what the answers of this place are worth: its backend is what they show.
func (m *Metrics) Consumer(lagBound time.Duration, whys ...string) {
	m.lag.WithLabelValues(m.place, m.backend).Set(lagBound.Seconds())
	m.failures.WithLabelValues(m.place)
	for _, why := range whys {
		m.requests.WithLabelValues(m.place, why)
	}
}

// Asked counts a reading of a replica.
func (m *Metrics) Asked(why string, failed bool) {
	m.requests.WithLabelValues(m.place, why).Inc()
	if failed {
		m.failures.WithLabelValues(m.place).Inc()
	}
}

func counter(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
}

// Unmeasured says that no dataplane that can be measured was found, and which was found instead.
func (m *Metrics) Unmeasured(backend string) {
	m.dataplane.Reset()
	m.dataplane.WithLabelValues(backend, "", "false").Set(1)
}

// Dataplane says which dataplane was found, and which families of it are measured. Before any removal.
func (m *Metrics) Dataplane(backend string, measured []Family) {
	m.backend = backend
	m.dataplane.Reset()
	for _, f := range []Family{IPv4, IPv6} {
		m.dataplane.WithLabelValues(backend, string(f), strconv.FormatBool(slices.Contains(measured, f))).Set(1)
	}
}

// opened starts a family's series with its first removal, before any of them counts: kube-proxy programs
// both families everywhere, most clusters use one.
func (m *Metrics) opened(f Family) {
	m.program.WithLabelValues(m.place, m.backend, string(f))
	for _, o := range Outcomes {
		m.outcomes.WithLabelValues(m.place, string(f), string(o))
	}
}

// Lost counts a hole in what was observed.
func (m *Metrics) Lost(source string, n int) { m.lost.WithLabelValues(source).Add(float64(n)) }

// Received counts bytes that came from the API server for a resource.
func (m *Metrics) Received(resource string, n int) {
	m.received.WithLabelValues(resource).Add(float64(n))
}

// Synced says whether the watch of a resource is established.
func (m *Metrics) Synced(resource string, ok bool) {
	v := 0.0
	if ok {
		v = 1
	}
	m.synced.WithLabelValues(resource).Set(v)
}

// Witnessing starts the series that must stay 0: its absence says that nobody looks.
func (m *Metrics) Witnessing() { m.afterLanding.WithLabelValues(m.place, string(NewConnection)) }

// ConnectionAfterLanding counts a connection that reached an endpoint after it had landed.
func (m *Metrics) ConnectionAfterLanding(kind AfterLanding) {
	m.afterLanding.WithLabelValues(m.place, string(kind)).Inc()
}

// Verified records the duration of one verify pass.
func (m *Metrics) Verified(d time.Duration) { m.verify.Observe(d.Seconds()) }

func (m *Metrics) outcome(f Family, o Outcome) {
	m.outcomes.WithLabelValues(m.place, string(f), string(o)).Inc()
}

func (m *Metrics) lateLanding()      { m.late.WithLabelValues(m.place).Inc() }
func (m *Metrics) resurrected(n int) { m.resurrections.WithLabelValues(m.place).Add(float64(n)) }

// landed counts a landing: its outcome, its latency where "seen" is known, and its slop.
func (m *Metrics) landed(r Removal, ld Landing) {
	f := string(r.Path.Family())
	m.outcomes.WithLabelValues(m.place, f, string(Landed)).Inc()
	if slop, ok := ld.Slop(); ok {
		m.uncertainty.WithLabelValues(m.place).Observe(slop.Seconds())
	} else {
		m.unbounded.WithLabelValues(m.place).Inc()
	}
	if r.Rearmed {
		return // seen is unknown: it left the expected set before this agent started
	}
	program := ld.Hi.Sub(r.Seen)
	if program < 0 {
		program = 0
		m.beforeSeen.WithLabelValues(m.place).Inc()
	}
	m.program.WithLabelValues(m.place, m.backend, f).Observe(program.Seconds())
}

// openCollector reads the ledgers at scrape time, so that the gauges cannot drift from them. A place kind
// may have several ledgers, one for each replica.
type openCollector struct {
	mu              sync.Mutex
	ledgers         []*Ledger
	pending, oldest *prometheus.Desc
}

func newOpenCollector() *openCollector {
	return &openCollector{
		pending: prometheus.NewDesc("lastcall_removals_pending",
			"Removals seen and not yet settled.", []string{"place", "family"}, nil),
		oldest: prometheus.NewDesc("lastcall_removal_oldest_pending_timestamp_seconds",
			"Unix time at which the oldest removal that is still routed here was seen; absent if there is none. "+
				"Expired removals count until they land.", []string{"place", "family"}, nil),
	}
}

// watch makes the gauges of open removals follow the ledger.
func (c *openCollector) watch(l *Ledger) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ledgers = append(c.ledgers, l)
}

func (c *openCollector) forget(l *Ledger) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ledgers = slices.DeleteFunc(c.ledgers, func(x *Ledger) bool { return x == l })
}

func (c *openCollector) Describe(ch chan<- *prometheus.Desc) { ch <- c.pending; ch <- c.oldest }

func (c *openCollector) Collect(ch chan<- prometheus.Metric) {
	type label struct{ place, family string }
	type open struct {
		n      int
		oldest time.Time
	}
	c.mu.Lock()
	ledgers := slices.Clone(c.ledgers)
	c.mu.Unlock()
	sum := map[label]open{}
	for _, l := range ledgers {
		for _, f := range []Family{IPv4, IPv6} {
			n, oldest, ever := l.pendingByFamily(f)
			if !ever {
				continue
			}
			k := label{l.cfg.Place, string(f)}
			o := sum[k]
			o.n += n
			if !oldest.IsZero() && (o.oldest.IsZero() || oldest.Before(o.oldest)) {
				o.oldest = oldest
			}
			sum[k] = o
		}
	}
	for k, o := range sum {
		ch <- prometheus.MustNewConstMetric(c.pending, prometheus.GaugeValue, float64(o.n), k.place, k.family)
		if !o.oldest.IsZero() {
			ch <- prometheus.MustNewConstMetric(c.oldest, prometheus.GaugeValue, float64(o.oldest.UnixMicro())/1e6, k.place, k.family)
		}
	}
}
